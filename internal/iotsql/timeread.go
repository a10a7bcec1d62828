package iotsql

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// A timeReader reads a text by a pattern of Java's DateTimeFormatter.
type timeReader struct {
	text string

	year, month, day, yearDay int
	hour, minute, second      int
	nanos                     int
	afternoon, halfDay        bool
	zone                      *time.Location
}

// readTime reads a point in time; it is not ok if the text does not fit the
// pattern or names no day.
func readTime(text, pattern string) (t time.Time, ok bool) {
	parts, ok := splitPattern(pattern)
	optional := 0
	for _, part := range parts {
		if part.opens() {
			optional++
		}
	}
	if !ok || optional > maxOptional {
		return t, false
	}
	for _, variant := range variants(parts) {
		if t, ok := readParts(text, variant); ok {
			return t, true
		}
	}
	return t, false
}

// maxOptional bounds how many optional sections a pattern has: each doubles the
// ways to read it.
const maxOptional = 6

// variants are what a pattern stands for, as [ and ] enclose an optional
// section: with each section first, then without. There are none if the
// brackets do not fit together.
func variants(parts []patternPart) [][]patternPart {
	open := slices.IndexFunc(parts, patternPart.opens)
	if open < 0 {
		if slices.ContainsFunc(parts, patternPart.closes) {
			return nil
		}
		return [][]patternPart{parts}
	}
	depth := 0
	for i := open; i < len(parts); i++ {
		switch {
		case parts[i].opens():
			depth++
		case parts[i].closes():
			depth--
		}
		if depth == 0 {
			with := slices.Concat(parts[:open], parts[open+1:i], parts[i+1:])
			without := slices.Concat(parts[:open], parts[i+1:])
			return append(variants(with), variants(without)...)
		}
	}
	return nil
}

func (p patternPart) opens() bool { return p.letter == 0 && p.text == "[" && !p.quoted }

func (p patternPart) closes() bool { return p.letter == 0 && p.text == "]" && !p.quoted }

func readParts(text string, parts []patternPart) (t time.Time, ok bool) {
	r := &timeReader{text: text, year: -1, month: 1, day: 1, zone: time.UTC}
	for i, part := range parts {
		// Digits belong to this field alone if other digits follow at once.
		adjacent := i+1 < len(parts) && isNumberPart(parts[i+1])
		if !r.part(part, adjacent) {
			return t, false
		}
	}
	if r.text != "" || r.year < 0 {
		return t, false
	}
	return r.time()
}

func isNumberPart(p patternPart) bool {
	switch p.letter {
	case 'u', 'y', 'd', 'D', 'H', 'h', 'k', 'K', 'm', 's', 'S', 'n':
		return true
	case 'M', 'L':
		return p.count < 3
	}
	return false
}

func (r *timeReader) time() (t time.Time, ok bool) {
	hour := r.hour
	if r.halfDay {
		hour %= 12
		if r.afternoon {
			hour += 12
		}
	}
	if r.yearDay > 0 {
		t = time.Date(r.year, 1, r.yearDay, hour, r.minute, r.second, r.nanos, r.zone)
		return t, t.YearDay() == r.yearDay
	}
	// Java's smart resolving: a day that its month does not have is the last one.
	last := time.Date(r.year, time.Month(r.month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return time.Date(r.year, time.Month(r.month), min(r.day, last), hour, r.minute, r.second, r.nanos, r.zone), true
}

func (r *timeReader) part(p patternPart, adjacent bool) bool {
	if p.letter == 0 {
		rest, ok := strings.CutPrefix(r.text, p.text)
		r.text = rest
		return ok
	}
	if isNumberPart(p) {
		return r.number(p, adjacent)
	}
	switch p.letter {
	case 'M', 'L':
		return r.monthName(p.count)
	case 'E':
		return r.weekday(p.count)
	case 'G':
		return r.oneOf("AD") == 0
	case 'a':
		half := r.oneOf("AM", "PM")
		r.halfDay, r.afternoon = true, half == 1
		return half >= 0
	case 'V', 'z', 'v', 'O':
		return r.zoneID()
	case 'X', 'x', 'Z':
		return r.offset(p.letter)
	}
	return false
}

func (r *timeReader) oneOf(words ...string) int {
	for i, word := range words {
		if rest, ok := strings.CutPrefix(r.text, word); ok {
			r.text = rest
			return i
		}
	}
	return -1
}

// number reads digits: as many as there are letters if other digits follow at
// once or there is more than one letter, otherwise as many as there are.
func (r *timeReader) number(p patternPart, adjacent bool) bool {
	most := p.count
	switch {
	case p.letter == 'S' || p.letter == 'y' && p.count == 2 || p.letter == 'u' && p.count == 2:
	case p.count == 1 && !adjacent, (p.letter == 'y' || p.letter == 'u') && !adjacent:
		most = 9
	}
	end := min(skipDigits(r.text, 0), most)
	if end < p.count {
		return false
	}
	n, err := strconv.Atoi(r.text[:end])
	if err != nil {
		return false
	}
	r.text = r.text[end:]
	return r.set(p, n)
}

func (r *timeReader) set(p patternPart, n int) bool {
	within := func(field *int, from, to int) bool {
		*field = n
		return n >= from && n <= to
	}
	switch p.letter {
	case 'u', 'y':
		if p.count == 2 {
			n += 2000
		}
		return within(&r.year, 0, 9999)
	case 'M', 'L':
		return within(&r.month, 1, 12)
	case 'd':
		return within(&r.day, 1, 31)
	case 'D':
		return within(&r.yearDay, 1, 366)
	case 'H':
		return within(&r.hour, 0, 23)
	case 'k':
		ok := within(&r.hour, 1, 24)
		r.hour %= 24
		return ok
	case 'h':
		return within(&r.hour, 1, 12)
	case 'K':
		return within(&r.hour, 0, 11)
	case 'm':
		return within(&r.minute, 0, 59)
	case 's':
		return within(&r.second, 0, 59)
	case 'n':
		return within(&r.nanos, 0, 999999999)
	}
	for range 9 - p.count { // S: a fraction of a second
		n *= 10
	}
	return p.count <= 9 && within(&r.nanos, 0, 999999999)
}

func (r *timeReader) monthName(count int) bool {
	names := make([]string, 12)
	for i := range names {
		names[i] = shortened(time.Month(i+1).String(), count >= 4)
	}
	i := r.oneOf(names...)
	r.month = i + 1
	return i >= 0
}

func (r *timeReader) weekday(count int) bool {
	names := make([]string, 7)
	for i := range names {
		names[i] = shortened(time.Weekday(i).String(), count >= 4)
	}
	return r.oneOf(names...) >= 0
}

// zoneID reads the ID of a time zone, as far as such IDs go.
func (r *timeReader) zoneID() bool {
	end := 0
	for end < len(r.text) && (isWordPart(rune(r.text[end])) || strings.IndexByte("/+-:", r.text[end]) >= 0) {
		end++
	}
	zone := zoneNamed(r.text[:end])
	if zone == nil {
		return false
	}
	r.zone, r.text = zone, r.text[end:]
	return true
}

func (r *timeReader) offset(letter byte) bool {
	if letter == 'X' && strings.HasPrefix(r.text, "Z") {
		r.text = r.text[1:]
		return true
	}
	seconds, n := readOffset(r.text)
	r.zone, r.text = time.FixedZone("", seconds), r.text[n:]
	return n > 0
}
