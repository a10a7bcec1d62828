package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim string
		err   error
		code  int
		text  string
	}{
		{"success says nothing", nil, ExitOK, ""},
		{"asking for help is no error", flag.ErrHelp, ExitOK, ""},
		{"a failure", errors.New("no mail came"), ExitFailed, "lwt: error: no mail came\n"},
		{"a failure with a hint", WithHint(errors.New("no mail came"), "is the subscription confirmed?"), ExitFailed, "lwt: error: no mail came\nhint: is the subscription confirmed?\n"},
		{"a hint survives wrapping", fmt.Errorf("demo: %w", WithHint(errors.New("no mail"), "look")), ExitFailed, "lwt: error: demo: no mail\nhint: look\n"},
		{"wrong usage", Usagef("unknown flag %q", "-x"), ExitUsage, "lwt: error: unknown flag \"-x\"\n"},
		{"a code without a text", &ExitError{Code: 3}, 3, ""},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			if code := report("lwt", c.err, &out); code != c.code || out.String() != c.text {
				t.Errorf("exit %d with %q, want %d with %q", code, out.String(), c.code, c.text)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	parse := func(args ...string) (string, error) {
		flags := flag.NewFlagSet("lwt demo", flag.ContinueOnError)
		flags.Bool("json", false, "")
		var out strings.Builder
		err := Parse(flags, args, &out, "the usage\n")
		return out.String(), err
	}
	if out, err := parse("-h"); !errors.Is(err, flag.ErrHelp) || out != "the usage\n" {
		t.Errorf("-h gives %q, %v", out, err)
	}
	out, err := parse("-jsno")
	var stderr strings.Builder
	if code := report("lwt", err, &stderr); code != ExitUsage || out != "" {
		t.Errorf("a misspelled flag exits %d and prints %q", code, out)
	}
	if !strings.Contains(stderr.String(), "-jsno") || !strings.Contains(stderr.String(), "hint: lwt demo -h shows the flags") {
		t.Errorf("a misspelled flag says %q", stderr.String())
	}
}

func TestMistakesInFlagsSayWhatToWrite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		text string
	}{
		{[]string{"-for", "5"}, `invalid value "5" for flag -for: give a unit, such as 5s`},
		{[]string{"-for=1.5"}, `invalid value "1.5" for flag -for: give a unit, such as 1.5s`},
		{[]string{"--for", "+5 "}, `invalid value "+5 " for flag -for: give a unit, such as 5s`},
		{[]string{"-for", ".5"}, `invalid value ".5" for flag -for: give a unit, such as .5s`},
		{[]string{"-for", "-5"}, `invalid value "-5" for flag -for: give a unit, such as -5s`},
		{[]string{"-for", "soon"}, `invalid value "soon" for flag -for: give a time with its unit, such as 500ms, 30s, 5m or 1h30m`},
		{[]string{"-for", ""}, `invalid value "" for flag -for: give a time with its unit`},
		{[]string{"-for", "5 minutes"}, `invalid value "5 minutes" for flag -for: give a time with its unit`},
		{[]string{"-for", `a"b`}, `invalid value "a\"b" for flag -for: give a time`},
		{[]string{"-n", "30s"}, `invalid value "30s" for flag -n: give a whole number`},
		{[]string{"-rate", "fast"}, `invalid value "fast" for flag -rate: give a number`},
		{[]string{"-json=maybe"}, `invalid value "maybe" for flag -json: give true or false`},
		{[]string{"-c", "foo"}, `invalid value "foo" for flag -c: write KEY=VALUE`},
		{[]string{"-jsno"}, `flag provided but not defined: -jsno (did you mean -json?)`},
		{[]string{"-verbosity"}, `flag provided but not defined: -verbosity`},
		{[]string{"-n"}, `flag needs an argument: -n`},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			t.Parallel()
			flags := flag.NewFlagSet("lwt watch", flag.ContinueOnError)
			flags.Duration("for", time.Second, "")
			flags.Int("n", 0, "")
			flags.Float64("rate", 0, "")
			flags.Bool("json", false, "")
			flags.Func("c", "", func(string) error { return errors.New("write KEY=VALUE") })
			err := Parse(flags, c.args, &strings.Builder{}, "")
			if err == nil || !strings.HasPrefix(err.Error(), c.text) || Hint(err) != "lwt watch -h shows the flags" {
				t.Errorf("it says %v, hint %q", err, Hint(err))
			}
		})
	}
}

// A script that asked for JSON gets an object, whatever happened.
func TestAFailureIsAnObjectToo(t *testing.T) {
	t.Parallel()
	failed := WithHint(errors.New("no mail came"), "look & see")
	for _, c := range []struct {
		claim string
		args  []string
		err   error
		out   string
	}{
		{"without -json standard output is left alone", []string{"check"}, failed, ""},
		{"with it, error and hint", []string{"check", "-json"}, failed, `{"error":"no mail came","hint":"look & see"}` + "\n"},
		{"also with two hyphens", []string{"check", "--json=true"}, failed, `{"error":"no mail came","hint":"look & see"}` + "\n"},
		{"also after a flag that is wrong", []string{"check", "-x", "-json"}, Usagef("unknown flag -x"), `{"error":"unknown flag -x"}` + "\n"},
		{"not if it is switched off", []string{"check", "-json=false"}, failed, ""},
		{"not if it is no flag", []string{"check", "--", "-json"}, failed, ""},
		{"not twice", []string{"check", "-json"}, fmt.Errorf("it: %w", Told(failed)), ""},
		{"not for what is only an exit code", []string{"check", "-json"}, &ExitError{Code: 1}, ""},
		{"not for help", []string{"check", "-json", "-h"}, flag.ErrHelp, ""},
		{"not for success", []string{"check", "-json"}, nil, ""},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			var out, told strings.Builder
			code := Run(t.Context(), "lwt", c.args, Streams{Out: &out, Err: &told}, func(context.Context, []string, Streams) error { return c.err })
			if out.String() != c.out || (code == ExitOK) != (c.err == nil || errors.Is(c.err, flag.ErrHelp)) {
				t.Errorf("exit %d, standard output %q, want %q", code, out.String(), c.out)
			}
		})
	}
}

func TestEveryProgramKnowsItsVersion(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"version", "-version", "--version"} {
		var out strings.Builder
		code := Run(t.Context(), "simulator", []string{arg}, Streams{Out: &out}, nil)
		if code != ExitOK || !strings.HasPrefix(out.String(), "simulator ") || !strings.Contains(out.String(), "\ncommit ") || !strings.Contains(out.String(), "\ngo1.") {
			t.Errorf("%s: exit %d, %q", arg, code, out.String())
		}
	}
}

func TestHintsNameAProgramAsItWasCalled(t *testing.T) {
	t.Parallel()
	const hint = `lwt check -h shows the flags; for the local endpoint: eval "$(lwt local env)"`
	if got := asCalled("/usr/local/bin/lwt", hint); got != hint {
		t.Errorf("installed: %s", got)
	}
	want := `go run ./cmd/lwt check -h shows the flags; for the local endpoint: eval "$(go run ./cmd/lwt local env)"`
	if got := asCalled("/tmp/go-build123/b001/exe/lwt", hint); got != want {
		t.Errorf("by go run: %s", got)
	}
}
