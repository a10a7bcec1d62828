package cli

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// A Failure is the part of a JSON object that says why a command failed. Both fields are
// left out of the object of a command that did not.
type Failure struct {
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// FailureOf returns the Failure of an error.
func FailureOf(err error) Failure {
	if err == nil || silent(err) {
		return Failure{}
	}
	return Failure{Error: strings.TrimRight(err.Error(), "\n"), Hint: Hint(err)}
}

// silent tells whether an error says no more than an exit code.
func silent(err error) bool {
	exit, ok := errors.AsType[*ExitError](err)
	return ok && exit.Err == nil
}

type toldError struct{ error }

func (e *toldError) Unwrap() error { return e.error }

// Told marks an error that is in the JSON object which the command has printed, so that
// Main prints no other. Nil stays nil.
func Told(err error) error {
	if err == nil {
		return nil
	}
	return &toldError{err}
}

// WriteJSON writes a value as one line of JSON.
func WriteJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // commands have && and >
	return encoder.Encode(v)
}

// wantsJSON tells whether the flag -json is among arguments, also among those that cannot
// be parsed.
func wantsJSON(args []string) bool {
	for _, arg := range args {
		switch name, value, given := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "="); {
		case arg == "--":
			return false
		case strings.HasPrefix(arg, "-") && name == "json":
			return !given || value == "true" || value == "1"
		}
	}
	return false
}
