package iotsql

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the rules engine knows all time zones, wherever it runs
	"unicode/utf8"
)

// A patternPart is a run of one pattern letter, or text to be taken as it is.
type patternPart struct {
	letter byte // 0 for text
	count  int
	text   string
	quoted bool
}

// maxTimePattern is how long a date pattern may be.
const maxTimePattern = 1000

// splitPattern splits a date pattern as Joda-Time and Java do: letters have
// meaning, text stands in single quotes and a quote is written twice.
func splitPattern(pattern string) (parts []patternPart, ok bool) {
	if len(pattern) > maxTimePattern {
		return nil, false
	}
	for i := 0; i < len(pattern); {
		c := pattern[i]
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			n := 1
			for i+n < len(pattern) && pattern[i+n] == c {
				n++
			}
			parts = append(parts, patternPart{letter: c, count: n})
			i += n
		case c == '\'':
			text, n := quotedText(pattern[i:])
			if n < 0 {
				return nil, false
			}
			parts = append(parts, patternPart{text: text, quoted: true})
			i += n
		default:
			_, n := utf8.DecodeRuneInString(pattern[i:])
			parts = append(parts, patternPart{text: pattern[i : i+n]})
			i += n
		}
	}
	return parts, true
}

// quotedText reads 'text' and returns how many bytes it takes, -1 if it is not
// closed.
func quotedText(s string) (text string, n int) {
	if strings.HasPrefix(s, "''") {
		return "'", 2
	}
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			continue
		}
		if !strings.HasPrefix(s[i:], "''") {
			return strings.ReplaceAll(s[1:i], "''", "'"), i + 1
		}
		i++
	}
	return "", -1
}

// formatTime writes a time by a pattern of Joda-Time's DateTimeFormat. It is
// not ok for letters that Joda-Time does not have.
func formatTime(t time.Time, pattern string) (s string, ok bool) {
	parts, ok := splitPattern(pattern)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for _, part := range parts {
		if part.letter == 0 {
			b.WriteString(part.text)
			continue
		}
		text, ok := formatField(t, part.letter, part.count)
		if !ok {
			return "", false
		}
		b.WriteString(text)
	}
	return b.String(), true
}

func formatField(t time.Time, letter byte, count int) (s string, ok bool) {
	if n, ok := numericField(t, letter, count); ok {
		return fmt.Sprintf("%0*d", min(count, maxPad), n), true
	}
	long := count >= 4
	switch letter {
	case 'G':
		return "AD", true // minEpoch is the year 1
	case 'M':
		return shortened(t.Month().String(), long), true
	case 'E':
		return shortened(t.Weekday().String(), long), true
	case 'a':
		return strings.ToUpper(t.Format("pm")), true
	case 'S':
		digits := fmt.Sprintf("%03d", t.Nanosecond()/int(time.Millisecond))
		return digits[:min(count, 3)] + strings.Repeat("0", min(max(count-3, 0), maxPad)), true
	case 'z':
		return zoneName(t), true
	case 'Z':
		return zoneOffset(t, count), true
	}
	return "", false
}

// numericField is what a letter stands for if that is a number.
func numericField(t time.Time, letter byte, count int) (n int, ok bool) {
	weekYear, week := t.ISOWeek()
	switch letter {
	case 'C':
		return t.Year() / 100, true
	case 'Y', 'y':
		return yearField(t.Year(), count), true
	case 'x':
		return yearField(weekYear, count), true
	case 'w':
		return week, true
	case 'e':
		return (int(t.Weekday())+6)%7 + 1, true
	case 'D':
		return t.YearDay(), true
	case 'M':
		return int(t.Month()), count < 3
	case 'd':
		return t.Day(), true
	case 'K':
		return t.Hour() % 12, true
	case 'h':
		return (t.Hour()+11)%12 + 1, true
	case 'H':
		return t.Hour(), true
	case 'k':
		return (t.Hour()+23)%24 + 1, true
	case 'm':
		return t.Minute(), true
	case 's':
		return t.Second(), true
	}
	return 0, false
}

// yearField is a year; two letters ask for its last two digits.
func yearField(year, count int) int {
	if count == 2 {
		return year % 100
	}
	return year
}

func shortened(name string, long bool) string {
	if long {
		return name
	}
	return name[:3]
}

// zoneName is the abbreviation of the time zone, also where Joda-Time would
// write its long name.
func zoneName(t time.Time) string {
	name, offset := t.Zone()
	if name == "" || strings.ContainsAny(name, "+-") {
		return offsetText(offset, ":")
	}
	return name
}

func zoneOffset(t time.Time, count int) string {
	_, offset := t.Zone()
	switch count {
	case 1:
		return offsetText(offset, "")
	case 2:
		return offsetText(offset, ":")
	}
	return t.Location().String()
}

func offsetText(seconds int, separator string) string {
	sign := '+'
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	return fmt.Sprintf("%c%02d%s%02d", sign, seconds/3600, separator, seconds/60%60)
}

// zoneNamed finds a time zone by its ID, such as America/Belize, UTC, +05:30
// or UTC+01:00. It returns nil if there is none.
func zoneNamed(id string) *time.Location {
	if id == "Z" {
		return time.UTC
	}
	rest := id
	for _, prefix := range []string{"UTC", "GMT", "UT"} {
		if after, ok := strings.CutPrefix(rest, prefix); ok {
			rest = after
			break
		}
	}
	if rest == "" && id != "" {
		return time.UTC
	}
	if seconds, n := readOffset(rest); n > 0 && n == len(rest) {
		return time.FixedZone(id, seconds)
	}
	if id == "" || id == "Local" {
		return nil
	}
	zone, err := time.LoadLocation(id)
	if err != nil {
		return nil
	}
	return zone
}

// readOffset reads +h, +hh, +hhmm, +hh:mm or +hh:mm:ss at the beginning of s
// and returns how many bytes it takes, 0 if there is no offset.
func readOffset(s string) (seconds, n int) {
	if s == "" || s[0] != '+' && s[0] != '-' {
		return 0, 0
	}
	i := 1
	unit := 3600
	for ; unit > 0; unit /= 60 {
		start := i
		if unit < 3600 && strings.HasPrefix(s[i:], ":") {
			start++
		}
		end := min(skipDigits(s, start), start+2)
		if end == start || unit < 3600 && end != start+2 {
			break
		}
		value, _ := strconv.Atoi(s[start:end])
		seconds += value * unit
		i = end
	}
	if i == 1 || seconds > 18*3600 {
		return 0, 0
	}
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, i
}
