package iotsql

import (
	"strings"
	"time"
)

// timeFunctions tell the time and translate it.
var timeFunctions = []function{
	{name: "parse_time", min: 2, max: 3, added: true, returns: maybeString, apply: parseTime},
	{name: "time_to_epoch", min: 2, max: 2, added: true, returns: maybeInt, apply: timeToEpoch},
	{name: "timestamp", returns: setOf(intKind), apply: timestamp},
}

// timestamp is the time of the evaluation in milliseconds since 1970, the same
// at every call.
func timestamp(e *env, _ []value) value {
	if e.now.IsZero() {
		e.now = e.m.Time
	}
	if e.now.IsZero() {
		e.now = time.Now()
	}
	return int64Value(e.now.UnixMilli())
}

// parseTime writes milliseconds since 1970 by a pattern of Joda-Time, in a time
// zone that is UTC unless given.
func parseTime(e *env, args []value) value {
	pattern, ok := toString(args[0])
	if _, ok2 := toNumber(args[1], e.ver); !ok || !ok2 {
		return undefined
	}
	if !e.spend(zoneWork + fieldWork*len(pattern)) {
		return undefined
	}
	zone := time.UTC
	if len(args) == 3 {
		name, _ := toString(args[2])
		if zone = zoneNamed(name); zone == nil {
			return undefined
		}
	}
	ms := clampedInt(args[1], e.ver)
	if ms < minEpoch || ms > maxEpoch {
		return undefined
	}
	s, ok := formatTime(time.UnixMilli(ms).In(zone), pattern)
	if !ok {
		return undefined
	}
	return e.newString(len(s), func() string { return s })
}

// What finding a time zone costs, and reading or writing a field of a time,
// compared with reading bytes.
const (
	zoneWork  = 4096
	fieldWork = 32
)

// The years 1 to 9999, in milliseconds since 1970. Beyond them the calendars of
// Joda-Time and Go differ.
const (
	minEpoch = -62135596800000
	maxEpoch = 253402300799999
)

// timeToEpoch reads a text by a pattern of Java's DateTimeFormatter into
// milliseconds since 1970. Without a time zone in the text it is UTC.
func timeToEpoch(e *env, args []value) value {
	text, ok := toString(args[0])
	pattern, ok2 := toString(args[1])
	if !ok || !ok2 {
		return undefined
	}
	ways := 1 << min(strings.Count(pattern, "["), maxOptional)
	if len(pattern) > maxTimePattern || !e.spend(zoneWork+fieldWork*len(pattern)*ways) {
		return undefined
	}
	t, ok := readTime(text, pattern)
	if !ok {
		return undefined
	}
	return int64Value(t.UnixMilli())
}
