package iotsql

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// stringFunctions take Strings; other arguments are converted to String.
var stringFunctions = []function{
	{name: "chr", min: 1, max: 1, returns: maybeString, apply: chr},
	{name: "concat", max: -1, returns: setOf(stringKind, arrayKind, undefinedKind), apply: concat},
	{name: "endswith", min: 2, max: 2, returns: maybeBoolean, apply: strings2(func(s, t string) value { return boolean(strings.HasSuffix(s, t)) })},
	{name: "indexof", min: 2, max: 2, added: true, returns: maybeInt, apply: strings2(indexOf)},
	{name: "length", min: 1, max: 1, added: true, returns: maybeInt, apply: strings1(func(s string) value { return int64Value(int64(utf8.RuneCountInString(s))) })},
	{name: "lower", min: 1, max: 1, returns: maybeString, apply: strings1(func(s string) value { return stringValue(strings.ToLower(s)) })},
	{name: "lpad", min: 2, max: 2, returns: maybeString, apply: pad(func(s, spaces string) string { return spaces + s })},
	{name: "ltrim", min: 1, max: 1, returns: maybeString, apply: strings1(func(s string) value { return stringValue(strings.TrimLeft(s, " \t")) })},
	{name: "numbytes", min: 1, max: 1, added: true, returns: maybeInt, apply: strings1(func(s string) value { return int64Value(int64(len(s))) })},
	{name: "regexp_matches", min: 2, max: 2, returns: maybeBoolean, special: regexpMatches},
	{name: "regexp_replace", min: 3, max: 3, returns: maybeString, special: regexpReplace},
	{name: "regexp_substr", min: 2, max: 2, returns: maybeString, special: regexpSubstr},
	{name: "replace", min: 3, max: 3, returns: maybeString, apply: replace},
	{name: "rpad", min: 2, max: 2, returns: maybeString, apply: pad(func(s, spaces string) string { return s + spaces })},
	{name: "rtrim", min: 1, max: 1, returns: maybeString, apply: strings1(func(s string) value { return stringValue(strings.TrimRight(s, " \t")) })},
	{name: "startswith", min: 2, max: 2, returns: maybeBoolean, apply: strings2(func(s, t string) value { return boolean(strings.HasPrefix(s, t)) })},
	{name: "substring", min: 2, max: 3, returns: maybeString, apply: substring},
	{name: "trim", min: 1, max: 1, returns: maybeString, apply: strings1(func(s string) value { return stringValue(strings.Trim(s, " \t\r\n\v\f")) })},
	{name: "upper", min: 1, max: 1, returns: maybeString, apply: strings1(func(s string) value { return stringValue(strings.ToUpper(s)) })},
}

func strings1(f func(s string) value) func(*env, []value) value {
	return func(_ *env, args []value) value {
		s, ok := toString(args[0])
		if !ok {
			return undefined
		}
		return f(s)
	}
}

func strings2(f func(s, t string) value) func(*env, []value) value {
	return func(_ *env, args []value) value {
		s, ok := toString(args[0])
		t, ok2 := toString(args[1])
		if !ok || !ok2 {
			return undefined
		}
		return f(s, t)
	}
}

// chr is the ASCII character with this number.
func chr(e *env, args []value) value {
	if _, ok := toNumber(args[0], e.ver); !ok {
		return undefined
	}
	n := clampedInt(args[0], e.ver)
	if n < 0 || n > 127 {
		return undefined
	}
	return stringValue(string(rune(n)))
}

// concat joins Strings, or Arrays and what stands between them.
func concat(e *env, args []value) value {
	arrays, strs := false, len(args) == 1
	for _, v := range args {
		arrays = arrays || v.kind == arrayKind
		strs = strs || v.kind == stringKind
	}
	switch {
	case arrays:
		return concatArrays(e, args)
	case strs:
		return concatStrings(e, args)
	}
	return undefined
}

func concatArrays(e *env, args []value) value {
	var items []value
	for _, v := range args {
		switch v.kind {
		case arrayKind:
			items = append(items, e.elements(v)...)
		default:
			items = append(items, v)
		}
	}
	return e.newArray(items)
}

func concatStrings(e *env, args []value) value {
	parts, length := make([]string, len(args)), 0
	for i, v := range args {
		s, ok := toString(v)
		if !ok {
			return undefined
		}
		parts[i], length = s, length+len(s)
	}
	return e.newString(length, func() string { return strings.Join(parts, "") })
}

// indexOf counts characters from 0; -1 if t is not in s [LIVE].
func indexOf(s, t string) value {
	i := strings.Index(s, t)
	if i > 0 {
		i = utf8.RuneCountInString(s[:i])
	}
	return int64Value(int64(i))
}

// maxPad is how many spaces lpad and rpad add at most.
const maxPad = 1000

func pad(join func(s, spaces string) string) func(*env, []value) value {
	return func(e *env, args []value) value {
		s, ok := toString(args[0])
		if _, ok2 := toNumber(args[1], e.ver); !ok || !ok2 {
			return undefined
		}
		spaces := strings.Repeat(" ", int(min(max(clampedInt(args[1], e.ver), 0), maxPad)))
		return e.newString(len(s)+len(spaces), func() string { return join(s, spaces) })
	}
}

func replace(e *env, args []value) value {
	var s [3]string
	for i, v := range args {
		text, ok := toString(v)
		if !ok {
			return undefined
		}
		s[i] = text
	}
	length := len(s[0]) + strings.Count(s[0], s[1])*(len(s[2])-len(s[1]))
	return e.newString(length, func() string { return strings.ReplaceAll(s[0], s[1], s[2]) })
}

func substring(e *env, args []value) value {
	s, ok := toString(args[0])
	if !ok {
		return undefined
	}
	chars := []rune(s)
	bounds := [2]int64{0, int64(len(chars))}
	for i, arg := range args[1:] {
		if _, ok := toNumber(arg, e.ver); !ok {
			return undefined
		}
		bounds[i] = min(max(clampedInt(arg, e.ver), 0), int64(len(chars)))
	}
	if bounds[0] >= bounds[1] {
		return stringValue("")
	}
	return stringValue(string(chars[bounds[0]:bounds[1]]))
}

// regexArgs evaluates the arguments of a regexp function to Strings and
// compiles the second one, unless the parser has done so. A pattern that does
// not compile makes the result Undefined.
func regexArgs(e *env, c *call) (args []string, re *pattern) {
	for _, x := range c.args {
		s, ok := toString(x.eval(e))
		if !ok || !e.spend(len(s)) {
			return nil, nil
		}
		args = append(args, s)
	}
	if re = c.regex; re == nil {
		var err error
		re, err = compilePattern(args[1])
		if errors.Is(err, ErrTooMuchWork) {
			e.fail(err)
		}
		if err != nil || !e.spend(compileWork*re.size) {
			return nil, nil
		}
	}
	if !e.spend(matchWork * len(args[0]) * re.size) {
		return nil, nil
	}
	return args, re
}

func regexpMatches(e *env, c *call) value {
	args, re := regexArgs(e, c)
	if re == nil {
		return undefined
	}
	return boolean(re.MatchString(args[0]))
}

// regexpSubstr is the first match; Undefined if there is none [LIVE].
func regexpSubstr(e *env, c *call) value {
	args, re := regexArgs(e, c)
	if re == nil {
		return undefined
	}
	at := re.FindStringIndex(args[0])
	if at == nil {
		return undefined
	}
	return stringValue(args[0][at[0]:at[1]])
}

func regexpReplace(e *env, c *call) value {
	args, re := regexArgs(e, c)
	if re == nil {
		return undefined
	}
	with, ok := replacement(args[2], re.NumSubexp())
	if !ok {
		return undefined
	}
	s, last := args[0], 0
	matches, ok := re.findAll(e, s)
	if !ok {
		return undefined
	}
	var out []byte
	for _, match := range matches {
		out = append(out, s[last:match[0]]...)
		out = re.ExpandString(out, with, s, match)
		last = match[1]
		if len(out) > MaxOutputBytes {
			return e.tooLarge(len(out))
		}
	}
	return e.newString(len(out)+len(s)-last, func() string { return string(out) + s[last:] })
}

// replacement turns Java's replacement text, with $1 for a group and \ before
// a character that stands for itself, into that of package regexp. It is not
// valid if a group does not exist.
func replacement(s string, groups int) (with string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 == len(s):
			return "", false
		case s[i] == '\\':
			i++
			b.WriteString(strings.ReplaceAll(s[i:i+1], "$", "$$"))
		case s[i] != '$':
			b.WriteByte(s[i])
		default:
			end := skipDigits(s, i+1)
			// As in Java, digits count as far as there is such a group.
			for end > i+2 && !isGroup(s[i+1:end], groups) {
				end--
			}
			if !isGroup(s[i+1:end], groups) {
				return "", false
			}
			b.WriteString("${" + s[i+1:end] + "}")
			i = end - 1
		}
	}
	return b.String(), true
}

func isGroup(digits string, groups int) bool {
	n, ok := smallInt(digits)
	return ok && n <= int64(groups)
}
