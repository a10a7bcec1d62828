package iotsql

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxPayloadDepth bounds how deep a payload's arrays and objects nest.
const maxPayloadDepth = 512

// The functions here read JSON (RFC 8259) in place: a payload is checked once
// from end to end, then paths are looked up in its text, and nothing is decoded
// but what a rule asks for.

// skipSpace returns the first index from i on that is no white space.
func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\r' || s[i] == '\t') {
		i++
	}
	return i
}

// trimJSON returns a JSON text without the white space around it; ok is false
// if s is not one JSON text.
func trimJSON(s string) (text string, ok bool) {
	start := skipSpace(s, 0)
	end := checkValue(s, start, 0)
	if end < 0 || skipSpace(s, end) != len(s) {
		return "", false
	}
	return s[start:end], true
}

// checkValue returns the end of the JSON value that begins at i, or -1 if
// there is none.
func checkValue(s string, i, depth int) int {
	if i >= len(s) || depth > maxPayloadDepth {
		return -1
	}
	switch c := s[i]; {
	case c == '"':
		return checkString(s, i)
	case c == '{':
		return checkObject(s, i, depth)
	case c == '[':
		return checkArray(s, i, depth)
	case c == '-' || c >= '0' && c <= '9':
		return checkNumber(s, i)
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(s[i:], word) {
			return i + len(word)
		}
	}
	return -1
}

func checkObject(s string, i, depth int) int {
	i = skipSpace(s, i+1)
	if i < len(s) && s[i] == '}' {
		return i + 1
	}
	for i < len(s) && s[i] == '"' {
		if i = checkString(s, i); i < 0 {
			return -1
		}
		if i = skipSpace(s, i); i >= len(s) || s[i] != ':' {
			return -1
		}
		if i = checkValue(s, skipSpace(s, i+1), depth+1); i < 0 {
			return -1
		}
		if i = skipSpace(s, i); i >= len(s) {
			return -1
		}
		if s[i] == '}' {
			return i + 1
		}
		if s[i] != ',' {
			return -1
		}
		i = skipSpace(s, i+1)
	}
	return -1
}

func checkArray(s string, i, depth int) int {
	i = skipSpace(s, i+1)
	if i < len(s) && s[i] == ']' {
		return i + 1
	}
	for {
		if i = checkValue(s, i, depth+1); i < 0 {
			return -1
		}
		if i = skipSpace(s, i); i >= len(s) {
			return -1
		}
		if s[i] == ']' {
			return i + 1
		}
		if s[i] != ',' {
			return -1
		}
		i = skipSpace(s, i+1)
	}
}

func checkString(s string, i int) int {
	start, ascii := i, true
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if !ascii && !utf8.ValidString(s[start:i]) {
				return -1
			}
			return i + 1
		case c == '\\':
			if i = checkEscape(s, i); i < 0 {
				return -1
			}
		case c < 0x20:
			return -1
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return -1
}

// checkEscape returns the last index of the escape that begins at i.
func checkEscape(s string, i int) int {
	if i+1 >= len(s) {
		return -1
	}
	if s[i+1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, s[i+1]) < 0 {
			return -1
		}
		return i + 1
	}
	if i+5 >= len(s) {
		return -1
	}
	for _, c := range []byte(s[i+2 : i+6]) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return -1
		}
	}
	return i + 5
}

func checkNumber(s string, i int) int {
	if s[i] == '-' {
		i++
	}
	start := i
	if i = skipDigits(s, i); i == start || i > start+1 && s[start] == '0' {
		return -1
	}
	if i < len(s) && s[i] == '.' {
		start = i + 1
		if i = skipDigits(s, start); i == start {
			return -1
		}
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		start = i
		if i = skipDigits(s, start); i == start {
			return -1
		}
	}
	return i
}

func skipDigits(s string, i int) int {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}

// skipValue returns the end of the value that begins at i of checked JSON.
func skipValue(s string, i int) int {
	switch s[i] {
	case '"':
		return skipString(s, i)
	case '{', '[':
		return skipNested(s, i)
	}
	for i < len(s) && strings.IndexByte(",]} \n\r\t", s[i]) < 0 {
		i++
	}
	return i
}

func skipString(s string, i int) int {
	for i++; s[i] != '"'; i++ {
		if s[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func skipNested(s string, i int) int {
	for depth := 0; ; i++ {
		switch s[i] {
		case '"':
			i = skipString(s, i) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
}

// jsonMember returns the text of the value under key in a checked JSON object,
// or "" if it has none. Of several equal keys the last counts.
func jsonMember(object, key string) string {
	found := ""
	for name, text := range jsonMembers(object) {
		if nameIs(name, key) {
			found = text
		}
	}
	return found
}

// nameIs reports whether a key in its quotes is this key.
func nameIs(name, key string) bool {
	inner := name[1 : len(name)-1]
	return inner == key || strings.IndexByte(inner, '\\') >= 0 && unquoteJSON(name) == key
}

// jsonMembers yields the keys, in their quotes, and value texts of a checked
// JSON object.
func jsonMembers(object string) func(yield func(name, text string) bool) {
	return func(yield func(name, text string) bool) {
		for i := skipSpace(object, 1); object[i] == '"'; {
			end := skipString(object, i)
			name := object[i:end]
			start := skipSpace(object, skipSpace(object, end)+1)
			end = skipValue(object, start)
			if !yield(name, object[start:end]) {
				return
			}
			if i = skipSpace(object, end); object[i] == ',' {
				i = skipSpace(object, i+1)
			}
		}
	}
}

// jsonElements yields the value texts of a checked JSON array.
func jsonElements(array string) func(yield func(text string) bool) {
	return func(yield func(text string) bool) {
		for i := skipSpace(array, 1); array[i] != ']'; {
			end := skipValue(array, i)
			if !yield(array[i:end]) {
				return
			}
			if i = skipSpace(array, end); array[i] == ',' {
				i = skipSpace(array, i+1)
			}
		}
	}
}

// unquoteJSON returns the characters of a checked JSON string. A lone half of
// a surrogate pair becomes U+FFFD.
func unquoteJSON(quoted string) string {
	s := quoted[1 : len(quoted)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'u':
			r := hexRune(s[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if strings.HasPrefix(s[i+1:], `\u`) {
					pair = utf16.DecodeRune(r, hexRune(s[i+3:]))
				}
				if pair != utf8.RuneError {
					i += 6
				}
				r = pair
			}
			b.WriteRune(r)
		case 'b', 'f', 'n', 'r', 't':
			b.WriteByte("\b\f\n\r\t"[strings.IndexByte("bfnrt", s[i])])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func hexRune(s string) rune {
	n, _ := strconv.ParseUint(s[:4], 16, 32) // four hexadecimal digits, checked before
	return rune(n)
}

// appendString writes a JSON string with no more escapes than JSON requires.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case strings.IndexByte("\b\f\n\r\t", c) >= 0:
			b = append(b, '\\', "bfnrt"[strings.IndexByte("\b\f\n\r\t", c)])
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}

// appendCompact writes checked JSON without its insignificant white space.
// Numbers, strings and the order of keys stay as they are.
func appendCompact(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		switch s[i] {
		case '"':
			i = skipString(s, i)
		case ' ', '\n', '\r', '\t':
			b = append(b, s[start:i]...)
			i = skipSpace(s, i)
			start = i
		default:
			i++
		}
	}
	return append(b, s[start:]...)
}

// isCompact reports whether checked JSON has no insignificant white space.
func isCompact(s string) bool {
	for i := 0; i < len(s); {
		switch s[i] {
		case '"':
			i = skipString(s, i)
		case ' ', '\n', '\r', '\t':
			return false
		default:
			i++
		}
	}
	return true
}
