package cli

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
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
