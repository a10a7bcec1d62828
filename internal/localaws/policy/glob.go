package policy

import "strings"

// vars resolves policy variables such as ${iot:Connection.Thing.ThingName}.
type vars map[string]string

func newVars(context map[string]string) vars {
	v := make(vars, len(context))
	for key, value := range context {
		v[strings.ToLower(key)] = value
	}
	return v
}

// A token of a pattern: one literal byte, ? or *.
type token struct {
	literal byte
	kind    tokenKind
}

type tokenKind uint8

const (
	literal tokenKind = iota
	anyOne
	anyRun
)

// compile turns a pattern into tokens. The values of variables are literal:
// a client that calls itself "*" gains nothing by it. ${*}, ${?} and ${$} stand
// for the characters themselves (IAM user guide, "Policy variables"). A
// variable without a value makes the whole pattern match nothing.
func compile(pattern string, vars vars) ([]token, bool) {
	tokens := make([]token, 0, len(pattern))
	add := func(s string) {
		for i := range len(s) {
			tokens = append(tokens, token{literal: s[i]})
		}
	}
	for len(pattern) > 0 {
		if name, rest, ok := variable(pattern); ok {
			value, known := name, true
			if name != "*" && name != "?" && name != "$" {
				value, known = vars.lookup(name)
			}
			if !known {
				return nil, false
			}
			add(value)
			pattern = rest
			continue
		}
		switch pattern[0] {
		case '*':
			tokens = append(tokens, token{kind: anyRun})
		case '?':
			tokens = append(tokens, token{kind: anyOne})
		default:
			add(pattern[:1])
		}
		pattern = pattern[1:]
	}
	return tokens, true
}

func variable(s string) (name, rest string, ok bool) {
	if !strings.HasPrefix(s, "${") {
		return "", "", false
	}
	name, rest, ok = strings.Cut(s[2:], "}")
	return name, rest, ok
}

// lookup resolves a variable; ${key, 'default'} has a default.
func (v vars) lookup(name string) (string, bool) {
	key, fallback, hasFallback := strings.Cut(name, ",")
	if value, ok := v[strings.ToLower(strings.TrimSpace(key))]; ok {
		return value, true
	}
	return strings.Trim(strings.TrimSpace(fallback), "'"), hasFallback
}

func globMatch(pattern, s string, vars vars) bool {
	tokens, ok := compile(pattern, vars)
	return ok && matchTokens(tokens, s)
}

// matchTokens goes back to the last star only, so its time is bounded by the
// product of both lengths.
func matchTokens(tokens []token, s string) bool {
	t, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case t < len(tokens) && tokens[t].kind == anyRun:
			star, mark = t, i
			t++
		case t < len(tokens) && (tokens[t].kind == anyOne || tokens[t].kind == literal && tokens[t].literal == s[i]):
			t++
			i++
		case star >= 0:
			mark++
			t, i = star+1, mark
		default:
			return false
		}
	}
	for t < len(tokens) && tokens[t].kind == anyRun {
		t++
	}
	return t == len(tokens)
}
