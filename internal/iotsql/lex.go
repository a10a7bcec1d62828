package iotsql

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A span is a place in a statement, in bytes from its beginning.
type span struct{ start, end int }

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokWord
	tokVariable // @name; text is the name
	tokNumber
	tokString // text is the characters, without quotes
	tokSymbol
)

type token struct {
	kind  tokenKind
	text  string
	quote byte // of a tokString
	span
}

// String names the token as error messages do.
func (t token) String() string {
	switch t.kind {
	case tokEnd:
		return "the end of the statement"
	case tokString:
		return fmt.Sprintf("the string %s", quoteSQL(t.text))
	case tokVariable:
		return "@" + t.text
	default:
		return t.text
	}
}

// is reports whether the token is this keyword or symbol. Keywords have no case.
func (t token) is(text string) bool {
	return (t.kind == tokWord || t.kind == tokSymbol) && strings.EqualFold(t.text, text)
}

// lex splits a statement into tokens. The last one is always tokEnd.
func lex(sql string) ([]token, *SyntaxError) {
	l := &lexer{sql: sql}
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		l.tokens = append(l.tokens, t)
		if t.kind == tokEnd {
			return l.tokens, nil
		}
	}
}

type lexer struct {
	sql    string
	pos    int
	tokens []token
}

func (l *lexer) next() (token, *SyntaxError) {
	for l.pos < len(l.sql) && strings.IndexByte(" \t\r\n", l.sql[l.pos]) >= 0 {
		l.pos++
	}
	start := l.pos
	if start == len(l.sql) {
		return token{kind: tokEnd, span: span{start, start}}, nil
	}
	r, size := utf8.DecodeRuneInString(l.sql[start:])
	switch {
	case r == '\'' || r == '"':
		return l.quoted(byte(r))
	case r >= '0' && r <= '9':
		return l.number()
	case r == '@':
		return l.variable()
	case isWordStart(r):
		l.word()
		return token{kind: tokWord, text: l.sql[start:l.pos], span: span{start, l.pos}}, nil
	case strings.HasPrefix(l.sql[start:], "--") || strings.HasPrefix(l.sql[start:], "/*"):
		return token{}, l.fail(span{start, start + 2}, "AWS IoT SQL has no comments")
	}
	if text := l.symbol(); text != "" {
		l.pos += len(text)
		return token{kind: tokSymbol, text: text, span: span{start, l.pos}}, nil
	}
	return token{}, l.fail(span{start, start + size}, badCharacter(r))
}

func (l *lexer) symbol() string {
	rest := l.sql[l.pos:]
	for _, two := range []string{"<>", "<=", ">="} {
		if strings.HasPrefix(rest, two) {
			return two
		}
	}
	if strings.IndexByte("=<>+-*/%().,[]{}:", rest[0]) >= 0 {
		return rest[:1]
	}
	return ""
}

func badCharacter(r rune) string {
	switch {
	case r == '!':
		return "unexpected !: not equal is written <>"
	case unicode.Is(unicode.Pd, r):
		return fmt.Sprintf("unexpected %q (%U): minus is written -", r, r)
	case strings.ContainsRune("‘’“”", r):
		return fmt.Sprintf("unexpected typographic quote %q: strings are written 'text' or \"text\"", r)
	case r == '$':
		return "unexpected $: ${...} stands in the fields of an action, not in a statement"
	case r == ';':
		return "unexpected ;: a statement has no terminator"
	case r == utf8.RuneError:
		return "the statement is not valid UTF-8 here"
	}
	return fmt.Sprintf("unexpected character %q", r)
}

func isWordStart(r rune) bool { return r == '_' || unicode.IsLetter(r) }

func isWordPart(r rune) bool { return isWordStart(r) || unicode.IsDigit(r) }

func (l *lexer) word() {
	for l.pos < len(l.sql) {
		r, size := utf8.DecodeRuneInString(l.sql[l.pos:])
		if !isWordPart(r) {
			return
		}
		l.pos += size
	}
}

// quoted reads a string; its quote is written twice to stand for itself.
func (l *lexer) quoted(quote byte) (token, *SyntaxError) {
	start := l.pos
	for i := start + 1; i < len(l.sql); i++ {
		if l.sql[i] != quote {
			continue
		}
		if i+1 < len(l.sql) && l.sql[i+1] == quote {
			i++
			continue
		}
		l.pos = i + 1
		text := l.sql[start+1 : i]
		if !utf8.ValidString(text) {
			return token{}, l.fail(span{start, l.pos}, "the string is not valid UTF-8")
		}
		q := string(quote)
		return token{tokString, strings.ReplaceAll(text, q+q, q), quote, span{start, l.pos}}, nil
	}
	return token{}, l.fail(span{start, len(l.sql)}, fmt.Sprintf("the string is not closed: expected %c", quote))
}

func (l *lexer) number() (token, *SyntaxError) {
	start := l.pos
	l.digits()
	if l.at(0, ".") && l.at(1, "0123456789") {
		l.pos++
		l.digits()
	}
	if l.at(0, "eE") && (l.at(1, "0123456789") || l.at(1, "+-") && l.at(2, "0123456789")) {
		l.pos += 2
		l.digits()
	}
	if r, _ := utf8.DecodeRuneInString(l.sql[l.pos:]); l.pos < len(l.sql) && isWordStart(r) {
		l.word()
		return token{}, l.fail(span{start, l.pos}, fmt.Sprintf("%s is neither a number nor a name", l.sql[start:l.pos]))
	}
	return token{kind: tokNumber, text: l.sql[start:l.pos], span: span{start, l.pos}}, nil
}

func (l *lexer) digits() {
	for l.at(0, "0123456789") {
		l.pos++
	}
}

// at reports whether the byte at this distance is one of set.
func (l *lexer) at(distance int, set string) bool {
	i := l.pos + distance
	return i < len(l.sql) && strings.IndexByte(set, l.sql[i]) >= 0
}

// maxVariableName is from the developer guide, iot-sql-set.
const maxVariableName = 64

func (l *lexer) variable() (token, *SyntaxError) {
	start := l.pos
	l.pos++
	l.word()
	at := span{start, l.pos}
	name := l.sql[start+1 : l.pos]
	if name == "" {
		return token{}, l.fail(at, "expected a variable's name after @")
	}
	if utf8.RuneCountInString(name) > maxVariableName {
		return token{}, l.fail(at, fmt.Sprintf("a variable's name has at most %d characters", maxVariableName))
	}
	return token{kind: tokVariable, text: name, span: at}, nil
}

func (l *lexer) fail(at span, msg string) *SyntaxError { return newSyntaxError(l.sql, at, msg) }

// quoteSQL writes a string literal.
func quoteSQL(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
