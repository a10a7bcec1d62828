package monitoring

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Problem is something wrong with a setting, or with the file that has it.
type Problem struct {
	// Origin is the file that has the setting, and which environment in it. Default:
	// the command line, or nothing has it.
	Origin string
	// Key of the setting. Default: the problem is with all of the file.
	Key  string
	Text string
}

func (p Problem) String() string {
	parts := slices.DeleteFunc([]string{p.Origin, p.Key, p.Text}, func(part string) bool { return part == "" })
	return strings.Join(parts, ": ")
}

// Problems are all that is wrong with a configuration.
type Problems []Problem

func (p Problems) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "problems with the configuration: %d", len(p))
	for _, problem := range p {
		fmt.Fprintf(&b, "\n  %s", problem)
	}
	return b.String()
}

func (p Problems) about(key string) bool {
	return slices.ContainsFunc(p, func(p Problem) bool { return p.Key == key })
}

// add is for a setting of the configuration, wherever it is set.
func (p *Problems) add(key string, err error) { p.addOf("", key, err) }

// addOf takes an error apart that joins several.
func (p *Problems) addOf(origin, key string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			p.addOf(origin, key, e)
		}
	} else if err != nil {
		p.join(Problems{{origin, key, err.Error()}})
	}
}

// Include takes over the problems that are an error, or makes one of it.
func (p *Problems) Include(err error) {
	var more Problems
	if errors.As(err, &more) {
		p.join(more)
	} else {
		p.addOf("", "", err)
	}
}

// Err is nil if there is no problem.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// join tells each problem once.
func (p *Problems) join(more Problems) {
	for _, problem := range more {
		if !slices.Contains(*p, problem) {
			*p = append(*p, problem)
		}
	}
}
