package iotsql

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A SyntaxError is a statement that cannot be compiled, with the place of the
// fault.
type SyntaxError struct {
	// SQL is the whole statement.
	SQL string
	// Offset is the place of the fault in bytes from the beginning, Length how
	// many bytes it covers (0 at the end of the statement).
	Offset, Length int
	// Line and Column count from 1; Column counts characters.
	Line, Column int
	// Msg says what is wrong or what was expected.
	Msg string

	cause error
}

func newSyntaxError(sql string, at span, msg string) *SyntaxError {
	line, column := position(sql, at.start)
	return &SyntaxError{SQL: sql, Offset: at.start, Length: at.end - at.start, Line: line, Column: column, Msg: oneLine(msg)}
}

// oneLine makes text from a statement or a payload fit for a line of output.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// Error is one line: place and message.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

// Unwrap returns the limit that the statement exceeds, or nil.
func (e *SyntaxError) Unwrap() error { return e.cause }

// Snippet shows the line of the statement with carets under the fault.
func (e *SyntaxError) Snippet() string { return snippet(e.SQL, e.Offset, e.Length) }

func position(sql string, offset int) (line, column int) {
	before := sql[:offset]
	lineStart := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[lineStart:]) + 1
}

// maxSnippet bounds how much of a long line a snippet shows on each side.
const maxSnippet = 60

func snippet(sql string, offset, length int) string {
	start := strings.LastIndexByte(sql[:offset], '\n') + 1
	end := len(sql)
	if i := strings.IndexByte(sql[offset:], '\n'); i >= 0 {
		end = offset + i
	}
	marked := []rune(sql[offset:min(offset+length, end)])
	before, after := []rune(sql[start:offset]), []rune(sql[offset:end])
	if len(before) > maxSnippet {
		before = append([]rune("..."), before[len(before)-maxSnippet:]...)
	}
	if len(after) > maxSnippet {
		after = append(after[:maxSnippet:maxSnippet], []rune("...")...)
	}
	carets := max(1, min(len(marked), maxSnippet))
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string(before))
	return string(before) + string(after) + "\n" + indent + strings.Repeat("^", carets)
}
