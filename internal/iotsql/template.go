package iotsql

import (
	"strings"
)

// A Template is a text with substitution templates ${expression}, as the
// fields of an action may have (developer guide, iot-substitution-templates).
// It is safe for concurrent use.
type Template struct {
	ver   Version
	set   []assignment
	paths *paths
	parts []templatePart
}

// A templatePart is text, or an expression if x is not nil.
type templatePart struct {
	text string
	x    expr
}

// CompileTemplate parses a text with substitution templates. $$ stands for one
// $, as in the republish topic $$aws/things/... (developer guide,
// republish-rule-action). Its error is a *SyntaxError; only an unknown version
// is an error of another type.
func CompileTemplate(s string, v Version) (*Template, error) {
	if err := CheckVersion(v); err != nil {
		return nil, err
	}
	return compileTemplate(s, v, nil, newPaths())
}

// CompileTemplate parses a text with substitution templates that may also use
// the variables of the rule's SET (developer guide, iot-sql-set).
func (r *Rule) CompileTemplate(s string) (*Template, error) {
	return compileTemplate(s, r.ver, r.stmt.set, r.stmt.paths.clone())
}

func compileTemplate(s string, v Version, set []assignment, paths *paths) (*Template, error) {
	t := &Template{ver: v, set: set, paths: paths}
	var text strings.Builder
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "$$"):
			text.WriteByte('$')
			i += 2
		case strings.HasPrefix(s[i:], "${"):
			end := templateEnd(s, i+2)
			if end < 0 {
				return nil, newSyntaxError(s, span{i, len(s)}, "${ is not closed: expected }")
			}
			x, err := t.parse(s, span{i + 2, end})
			if err != nil {
				return nil, err
			}
			t.parts = append(t.parts, templatePart{text: text.String()}, templatePart{x: x})
			text.Reset()
			i = end + 1
		default:
			text.WriteByte(s[i])
			i++
		}
	}
	t.parts = append(t.parts, templatePart{text: text.String()})
	return t, nil
}

// templateEnd returns the index of the brace that closes the expression that
// begins at i, or -1.
func templateEnd(s string, i int) int {
	depth := 0
	var quote byte
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '{':
			depth++
		case c == '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// parse parses the expression at a place of the template's text.
func (t *Template) parse(s string, at span) (expr, error) {
	x, fault := t.expression(s[at.start:at.end])
	if fault != nil {
		moved := newSyntaxError(s, span{at.start + fault.Offset, at.start + fault.Offset + fault.Length}, fault.Msg)
		moved.cause = fault.cause
		return nil, moved
	}
	return x, nil
}

func (t *Template) expression(sql string) (x expr, err *SyntaxError) {
	p, err := newParser(sql, t.ver)
	if err != nil {
		return nil, err
	}
	p.paths = t.paths
	for i, a := range t.set {
		p.declare(a, i)
	}
	defer catch(&err)
	x = p.expr()
	if p.peek().kind != tokEnd {
		p.unexpected("expected }")
	}
	return x, nil
}

// Eval evaluates the expressions over the original message and puts their
// values into the text, converted to String; an Undefined or Null one leaves
// nothing. Errors are as those of Rule.Eval.
func (t *Template) Eval(m *Message) (string, error) {
	e := env{m: m, ver: t.ver, set: t.set, paths: t.paths}
	var b strings.Builder
	for _, part := range t.parts {
		b.WriteString(part.text)
		if part.x == nil {
			continue
		}
		s, _ := toString(part.x.eval(&e))
		if e.err != nil {
			return "", e.err
		}
		b.WriteString(s)
	}
	if b.Len() > MaxOutputBytes {
		e.tooLarge(b.Len())
	}
	return b.String(), e.err
}
