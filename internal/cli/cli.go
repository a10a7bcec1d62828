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
	"path/filepath"
	"regexp"
	"slices"
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

// Main runs a command and exits the process. It prints errors as
// "name: error: ..." and, where there is one, a "hint: ..." line. With -json it also
// prints the error as a JSON object to standard output, unless the command has Told it.
// The command "version" is every program's.
func Main(name string, run func(ctx context.Context, args []string, s Streams) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Run(ctx, name, os.Args[1:], Streams{os.Stdin, os.Stdout, os.Stderr}, run)
	stop()
	os.Exit(code)
}

// Run is Main without the process: it returns the exit code.
func Run(ctx context.Context, name string, args []string, s Streams, run func(ctx context.Context, args []string, s Streams) error) int {
	if len(args) == 1 && slices.Contains([]string{"version", "-version", "--version"}, args[0]) {
		fmt.Fprint(s.Out, version(name))
		return ExitOK
	}
	err := run(ctx, args, s)
	if err != nil && wantsJSON(args) && !errors.Is(err, flag.ErrHelp) && !silent(err) && !errors.As(err, new(*toldError)) {
		_ = WriteJSON(s.Out, FailureOf(err)) // standard error says the same
	}
	return report(name, err, s.Err)
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
		fmt.Fprintf(w, "hint: %s\n", asCalled(os.Args[0], hint))
	}
	return code
}

var ownCommand = regexp.MustCompile(`(^|[\s"(])(lwt|simulator) (-h|[a-z]+)`)

// asCalled writes this project's commands in a hint as they can be pasted: a program that
// go run has built is on no path.
func asCalled(program, hint string) string {
	if !strings.Contains(filepath.ToSlash(program), "/go-build") || strings.HasSuffix(program, ".test") {
		return hint
	}
	return ownCommand.ReplaceAllString(hint, "${1}go run ./cmd/$2 $3")
}
