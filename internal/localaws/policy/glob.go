package policy

import "strings"

// vars are the values of policy variables such as ${iot:Connection.Thing.ThingName}.
type vars map[string]string

// get compares keys without regard to case.
func (v vars) get(key string) (string, bool) {
	if value, ok := v[key]; ok {
		return value, true
	}
	for k, value := range v {
		if strings.EqualFold(k, key) {
			return value, true
		}
	}
	return "", false
}

// A pattern is compiled once unless it has variables.
type pattern struct {
	text     string
	compiled []token // nil if text has variables
}

func newPattern(text string) pattern {
	if strings.Contains(text, "${") {
		return pattern{text: text}
	}
	tokens, _ := compile(text, nil) // only a variable could be unknown
	return pattern{text, tokens}
}

func newPatterns(texts []string) []pattern {
	patterns := make([]pattern, len(texts))
	for i, text := range texts {
		patterns[i] = newPattern(text)
	}
	return patterns
}

func (p pattern) tokens(vars vars) ([]token, bool) {
	if p.compiled != nil {
		return p.compiled, true
	}
	return compile(p.text, vars)
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
	if value, ok := v.get(strings.TrimSpace(key)); ok {
		return value, true
	}
	return strings.Trim(strings.TrimSpace(fallback), "'"), hasFallback
}

func globMatch(p pattern, s string, vars vars) bool {
	tokens, ok := p.tokens(vars)
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
