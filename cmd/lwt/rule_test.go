package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"lastwill/internal/cli"
)

func TestRuleExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, args, payload string
		code                 int
	}{
		{"0: the rule fires", "eval -topic a -payload - -sql SELECT * FROM 'a' WHERE x = 1", `{"x":1}`, 0},
		{"3: WHERE is false", "eval -topic a -payload - -sql SELECT * FROM 'a' WHERE x = 1", `{"x":2}`, exitNoMatch},
		{"3: WHERE is Undefined", "eval -topic a -payload - -sql SELECT * FROM 'a' WHERE x = 1", `{}`, exitNoMatch},
		{"3: another topic", "eval -topic b -payload - -sql SELECT * FROM 'a'", `{}`, exitNoMatch},
		{"2: a wrong statement", "eval -topic a -sql SELECT", ``, cli.ExitUsage},
		{"2: no statement", "eval -topic a", ``, cli.ExitUsage},
		{"2: no time", "eval -topic a -timestamp x -sql SELECT * FROM 'a'", ``, cli.ExitUsage},
		{"0: a time before 1970", "eval -topic a -timestamp -5 -sql SELECT * FROM 'a' WHERE timestamp() = -5", ``, 0},
		{"2: an unknown flag", "eval -nope", ``, cli.ExitUsage},
		{"1: the payload is no JSON", "eval -topic a -payload - -sql SELECT x FROM 'a'", `x`, cli.ExitFailed},
		{"1: the payload cannot be read", "eval -topic a -payload /nowhere/x -sql SELECT x FROM 'a'", ``, cli.ExitFailed},
		{"1: problems are found", "explain -sql SELECT topic(1, 2) FROM 'a'", ``, cli.ExitFailed},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			flags, sql, hasSQL := strings.Cut(c.args, " -sql ")
			args := strings.Fields(flags)
			if hasSQL {
				args = append(args, "-sql", sql)
			}
			err := runRule(t.Context(), args, cli.Streams{In: strings.NewReader(c.payload), Out: io.Discard, Err: io.Discard})
			if got := exitCode(err); got != c.code {
				t.Errorf("exit code %d (%v), want %d", got, err, c.code)
			}
		})
	}
}

// exitCode is what cli.Main makes of an error.
func exitCode(err error) int {
	var exit *cli.ExitError
	switch {
	case err == nil:
		return cli.ExitOK
	case errors.As(err, &exit):
		return exit.Code
	}
	return cli.ExitFailed
}
