package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/nearest"
)

// Parse parses a command's flags. A mistake becomes a usage error that says how the flag
// is written or which one was meant; -h prints usage to out and returns flag.ErrHelp,
// which Main takes as success.
func Parse(flags *flag.FlagSet, args []string, out io.Writer, usage string) error {
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, usage)
		return err
	}
	if err != nil {
		return WithHint(Usagef("%w", explain(flags, err)), "%s -h shows the flags", flags.Name())
	}
	return nil
}

// Meant returns the words that name what somebody probably meant; empty if nothing is
// like it.
func Meant(word string, candidates []string) string {
	if meant := nearest.Of(word, candidates); meant != "" {
		return fmt.Sprintf(" (did you mean %s?)", meant)
	}
	return ""
}

var (
	badValue    = regexp.MustCompile(`(?s)^invalid (?:boolean )?value ("(?:.*)") for (?:flag )?-([^\s:]+): (.*)$`)
	unknownFlag = regexp.MustCompile(`^flag provided but not defined: -(.*)$`)
	number      = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$`)
)

// explain says of an error of the flag package what to write instead.
func explain(flags *flag.FlagSet, err error) error {
	if m := unknownFlag.FindStringSubmatch(err.Error()); m != nil {
		var names []string
		flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		if meant := nearest.Of(m[1], names); meant != "" {
			return fmt.Errorf("%w (did you mean -%s?)", err, meant)
		}
		return err
	}
	m := badValue.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	name, why := m[2], m[3]
	value, malformed := strconv.Unquote(m[1])
	f := flags.Lookup(name)
	if f == nil || malformed != nil {
		return err
	}
	getter, ok := f.Value.(flag.Getter)
	if !ok { // one of the command's own, whose error says what to write
		return err
	}
	write := why
	switch getter.Get().(type) {
	case time.Duration:
		write = "give a time with its unit, such as 500ms, 30s, 5m or 1h30m"
		if trimmed := strings.TrimSpace(value); number.MatchString(trimmed) {
			write = fmt.Sprintf("give a unit, such as %ss", strings.TrimPrefix(trimmed, "+"))
		}
	case int, int64, uint, uint64:
		write = "give a whole number"
	case float64:
		write = "give a number"
	case bool:
		write = "give true or false"
	}
	return fmt.Errorf("invalid value %s for flag -%s: %s", m[1], name, write)
}
