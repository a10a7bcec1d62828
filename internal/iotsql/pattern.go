package iotsql

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"time"
)

// A pattern is a compiled regular expression. AWS takes Java's patterns, these
// are RE2's: one match needs time in proportion to text and pattern only, and
// there are no look-around, back-references or possessive quantifiers.
type pattern struct {
	*regexp.Regexp
	size int // about how many steps a character of text may take
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
	return &pattern{re, size}, err
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

// patternTime bounds how long one replacement looks for matches. Each match
// takes time in proportion to the text, all of them may take its square.
const patternTime = time.Second

// findAll returns all matches with their groups; it is not ok if that takes too
// long. It asks for four times as many until there are no more, to be able to
// stop.
func (p *pattern) findAll(s string) (matches [][]int, ok bool) {
	start := time.Now()
	for n := 1; time.Since(start) < patternTime; n *= 4 {
		if matches = p.FindAllStringSubmatchIndex(s, n); len(matches) < n {
			return matches, true
		}
	}
	return nil, false
}
