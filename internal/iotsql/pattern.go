package iotsql

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// A pattern is a compiled regular expression. AWS takes Java's patterns, these
// are RE2's: one match needs time in proportion to text and pattern only, and
// there are no look-around, back-references or possessive quantifiers.
type pattern struct {
	*regexp.Regexp
	after *regexp.Regexp // any character, then the pattern as group 1
	size  int            // about how many steps a character of text may take
}

// Limits of a pattern: what matching takes in memory grows with size times
// groups.
const (
	maxPatternSize   = 5000
	maxPatternGroups = 100
)

// What compiling a pattern costs for each unit of its size, and matching for
// each unit and character of text, compared with reading a byte.
const (
	compileWork = 64
	matchWork   = 4
)

// compilePattern compiles a pattern. Its error wraps ErrTooMuchWork if the
// pattern is beyond a limit.
func compilePattern(s string) (*pattern, error) {
	if len(s) > maxPatternSize {
		return nil, patternTooLarge(len(s))
	}
	tree, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return nil, err
	}
	size := patternSize(tree)
	if size > maxPatternSize || tree.MaxCap() > maxPatternGroups {
		return nil, patternTooLarge(size)
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, err
	}
	after, err := regexp.Compile("(?s:.)(" + s + ")")
	return &pattern{re, after, size}, err
}

func patternTooLarge(size int) error {
	return fmt.Errorf("%w: a pattern of size %d, at most %d and %d groups are allowed", ErrTooMuchWork, size, maxPatternSize, maxPatternGroups)
}

// patternSize is about the length of the program that the pattern compiles to.
func patternSize(re *syntax.Regexp) int {
	size := 1
	if re.Op == syntax.OpLiteral {
		size = len(re.Rune)
	}
	for _, sub := range re.Sub {
		size = min(size+patternSize(sub), maxPatternSize+1)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min, re.Max, 1)
	}
	return size
}

// findAll returns all matches with their groups, as FindAllStringSubmatchIndex
// does. Each of them may take reading the text to its end, which is counted; it
// is not ok if that was too much.
func (p *pattern) findAll(e *env, s string) (matches [][]int, ok bool) {
	for pos, last := 0, -1; pos <= len(s); {
		match, read := p.next(s, pos)
		if !e.spend(matchWork * p.size * read) {
			return nil, false
		}
		if match == nil {
			break
		}
		if match[1] > pos || match[0] != last {
			matches = append(matches, match)
		}
		last = match[1]
		if pos = match[1]; match[0] == match[1] {
			_, width := utf8.DecodeRuneInString(s[pos:])
			pos += max(width, 1) // past the end of the text if nothing is left
		}
	}
	return matches, true
}

// next returns the first match that begins at pos or later, and how many bytes
// it took to find it.
func (p *pattern) next(s string, pos int) (match []int, read int) {
	re, from := p.Regexp, 0
	if pos > 0 {
		_, width := utf8.DecodeLastRuneInString(s[:pos])
		re, from = p.after, pos-width
	}
	r := strings.NewReader(s[from:])
	match = re.FindReaderSubmatchIndex(r)
	if match != nil && pos > 0 {
		match = match[2:]
	}
	for i := range match {
		if match[i] >= 0 {
			match[i] += from
		}
	}
	return match, len(s) - from - r.Len()
}
