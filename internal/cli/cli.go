// Package cli gives all commands the same manners: errors with a hint, exit
// codes, and a context that ends at SIGINT or SIGTERM.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes of every command. A command may add codes above these and then
// documents them.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// Streams are what a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// WithHint adds to an error what its reader can do about it.
func WithHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// Hint returns what WithHint added to an error; empty if nothing.
func Hint(err error) string {
	var h *hintError
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}

// ExitError ends a command with a code. With a nil Err nothing is printed: the
// command has said what there is to say.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}
func (e *ExitError) Unwrap() error { return e.Err }

// Usagef reports a mistake in how a command was called; it exits with ExitUsage.
func Usagef(format string, args ...any) error {
	return &ExitError{ExitUsage, fmt.Errorf(format, args...)}
}

// Parse parses a command's flags. A mistake becomes a usage error with the
// hint to ask for help; -h prints usage to out and returns flag.ErrHelp, which
// Main takes as success.
func Parse(flags *flag.FlagSet, args []string, out io.Writer, usage string) error {
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, usage)
		return err
	}
	if err != nil {
		return WithHint(Usagef("%w", err), "%s -h shows the flags", flags.Name())
	}
	return nil
}

// Main runs a command and exits the process. It prints errors as
// "name: error: ..." and, where there is one, a "hint: ..." line.
func Main(name string, run func(ctx context.Context, args []string, s Streams) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	streams := Streams{os.Stdin, os.Stdout, os.Stderr}
	err := run(ctx, os.Args[1:], streams)
	stop()
	os.Exit(report(name, err, streams.Err))
}

func report(name string, err error, w io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return ExitOK
	}
	code := ExitFailed
	var exit *ExitError
	if errors.As(err, &exit) {
		code = exit.Code
		if exit.Err == nil {
			return code
		}
	}
	fmt.Fprintf(w, "%s: error: %s\n", name, strings.TrimRight(err.Error(), "\n"))
	if hint := Hint(err); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
	return code
}
