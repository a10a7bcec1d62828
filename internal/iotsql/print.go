package iotsql

import (
	"slices"
	"strings"
)

func (s *statement) appendSQL(b []byte) []byte {
	for i, a := range s.set {
		b = append(b, [...]string{"SET @", ", @"}[min(i, 1)]...)
		b = append(append(b, a.name...), " = "...)
		b = a.x.appendSQL(b)
	}
	if len(s.set) > 0 {
		b = append(b, ' ')
	}
	return s.query.appendSQL(b)
}

func (q *query) appendSQL(b []byte) []byte {
	b = append(b, "SELECT "...)
	if q.value {
		b = append(b, "VALUE "...)
	}
	for i, c := range q.items {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = c.expr.appendSQL(b)
		if c.alias != nil {
			b = append(append(b, " AS "...), strings.Join(c.alias, ".")...)
		}
	}
	b = q.from.appendSQL(b)
	if q.where != nil {
		b = q.where.appendSQL(append(b, " WHERE "...))
	}
	return b
}

func (s source) appendSQL(b []byte) []byte {
	switch {
	case s.filter != "":
		return append(append(b, " FROM "...), quoteSQL(s.filter)...)
	case s.over == nil:
		return b
	}
	b = appendOperand(append(b, " FROM "...), s.over)
	if s.alias != "" {
		b = append(append(b, " AS "...), s.alias...)
	}
	return b
}

// strength is the row of precedence that a node stands in; what is no operator
// binds strongest.
func strength(x expr) int {
	op := ""
	switch x := x.(type) {
	case *binary:
		op = x.op
	case *unary:
		if x.op == "NOT" {
			return notLevel
		}
	}
	for i, row := range precedence {
		if slices.Contains(row, op) {
			return i
		}
	}
	return len(precedence)
}

// appendAt writes x, in parentheses if it binds weaker than level.
func appendAt(b []byte, x expr, level int) []byte {
	if strength(x) >= level {
		return x.appendSQL(b)
	}
	return append(x.appendSQL(append(b, '(')), ')')
}

// appendOperand writes what a dot or a minus may follow or precede.
func appendOperand(b []byte, x expr) []byte {
	switch x := x.(type) {
	case *literal:
		if !x.value.isNumber() || x.sql[0] != '-' {
			return x.appendSQL(b)
		}
	case *unary:
	default:
		return appendAt(b, x, len(precedence))
	}
	return append(x.appendSQL(append(b, '(')), ')')
}

func (x *literal) appendSQL(b []byte) []byte { return append(b, x.sql...) }

func (x *path) appendSQL(b []byte) []byte {
	if isLiteralWord(x.names[0]) {
		b = append(b, "*."...)
	}
	return append(b, strings.Join(x.names, ".")...)
}

// isLiteralWord reports whether a path must be written *.name, as its first
// name alone would be read as something else.
func isLiteralWord(name string) bool {
	is := func(word string) bool { return strings.EqualFold(word, name) }
	return slices.ContainsFunc(reserved, is) || slices.ContainsFunc([]string{"TRUE", "FALSE", "NULL", "UNDEFINED"}, is)
}

func (x *member) appendSQL(b []byte) []byte {
	b = appendOperand(b, x.of)
	return append(append(b, '.'), strings.Join(x.names, ".")...)
}

func (x *star) appendSQL(b []byte) []byte { return append(b, '*') }

func (x *spread) appendSQL(b []byte) []byte { return append(appendOperand(b, x.of), ".*"...) }

func (x *variable) appendSQL(b []byte) []byte { return append(append(b, '@'), x.name...) }

func (x *unary) appendSQL(b []byte) []byte {
	if x.op == "NOT" {
		return appendAt(append(b, "NOT "...), x.x, notLevel)
	}
	// A digit right after the minus would make it a part of the number.
	operand := appendOperand(nil, x.x)
	if operand[0] >= '0' && operand[0] <= '9' {
		return append(append(append(b, "-("...), operand...), ')')
	}
	return append(append(b, '-'), operand...)
}

func (x *binary) appendSQL(b []byte) []byte {
	level := strength(x)
	b = appendAt(b, x.l, level)
	b = append(append(append(b, ' '), x.op...), ' ')
	return appendAt(b, x.r, level+1)
}

func (x *call) appendSQL(b []byte) []byte {
	return append(appendList(append(append(b, x.name...), '('), x.args), ')')
}

func appendList(b []byte, list []expr) []byte {
	for i, x := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = x.appendSQL(b)
	}
	return b
}

func (x *cast) appendSQL(b []byte) []byte {
	b = x.x.appendSQL(append(b, "cast("...))
	return append(append(append(b, " AS "...), x.typ...), ')')
}

func (x *caseOf) appendSQL(b []byte) []byte {
	b = x.of.appendSQL(append(b, "CASE "...))
	for _, w := range x.whens {
		b = w.match.appendSQL(append(b, " WHEN "...))
		b = w.then.appendSQL(append(b, " THEN "...))
	}
	if x.orElse != nil {
		b = x.orElse.appendSQL(append(b, " ELSE "...))
	}
	return append(b, " END"...)
}

func (x *exists) appendSQL(b []byte) []byte { return x.sub.appendSQL(append(b, "EXISTS "...)) }

func (x *subquery) appendSQL(b []byte) []byte {
	return append(x.query.appendSQL(append(b, '(')), ')')
}

func (x *arrayLiteral) appendSQL(b []byte) []byte {
	return append(appendList(append(b, '['), x.items), ']')
}

func (x *objectLiteral) appendSQL(b []byte) []byte {
	b = append(b, '{')
	for i, item := range x.items {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, quoteSQL(x.keys[i])...), ": "...)
		b = item.appendSQL(b)
	}
	return append(b, '}')
}
