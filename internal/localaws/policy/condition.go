package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// conditionValues are the values of one condition key: a string, a Boolean, a
// number or an array of them.
type conditionValues []string

func (v *conditionValues) UnmarshalJSON(b []byte) error {
	var many []json.RawMessage
	if json.Unmarshal(b, &many) != nil {
		many = []json.RawMessage{b}
	}
	*v = conditionValues{}
	for _, raw := range many {
		var text string
		if json.Unmarshal(raw, &text) == nil {
			*v = append(*v, text)
			continue
		}
		var number json.Number
		var truth bool
		if json.Unmarshal(raw, &truth) != nil && json.Unmarshal(raw, &number) != nil || string(raw) == "null" {
			return fmt.Errorf("a condition value must be a string, a Boolean or a number, is %.40s", raw)
		}
		*v = append(*v, string(raw))
	}
	return nil
}

type condition struct {
	key      string
	values   []pattern
	compare  func(p pattern, value string, vars vars) bool
	negate   bool
	ifExists bool
	null     bool
	set      setQualifier
}

// A setQualifier says how the several values of a key count.
type setQualifier string

// The qualifiers (IAM user guide, "Set operators for multivalued context keys").
const (
	forAllValues setQualifier = "ForAllValues:"
	forAnyValue  setQualifier = "ForAnyValue:"
)

// A comparison is a condition operator.
type comparison struct {
	holds func(p pattern, value string, vars vars) bool
	// valid reports whether a value without variables makes sense. Default: any does.
	valid func(value string) bool
}

// comparisons are the condition operators (IAM user guide, "IAM JSON policy
// elements: Condition operators").
var comparisons = map[string]comparison{
	"StringEquals": {holds: equal},
	"StringEqualsIgnoreCase": {holds: func(p pattern, v string, vars vars) bool {
		return equal(newPattern(strings.ToLower(p.text)), strings.ToLower(v), vars)
	}},
	"StringLike": {holds: globMatch},
	// ArnEquals and ArnLike behave identically.
	"ArnEquals":                {holds: globMatch},
	"ArnLike":                  {holds: globMatch},
	"BinaryEquals":             {holds: equal},
	"Bool":                     {func(p pattern, v string, _ vars) bool { return strings.EqualFold(p.text, v) }, isBool},
	"NumericEquals":            numeric(func(c int) bool { return c == 0 }),
	"NumericLessThan":          numeric(func(c int) bool { return c < 0 }),
	"NumericLessThanEquals":    numeric(func(c int) bool { return c <= 0 }),
	"NumericGreaterThan":       numeric(func(c int) bool { return c > 0 }),
	"NumericGreaterThanEquals": numeric(func(c int) bool { return c >= 0 }),
	"DateEquals":               date(func(c int) bool { return c == 0 }),
	"DateLessThan":             date(func(c int) bool { return c < 0 }),
	"DateLessThanEquals":       date(func(c int) bool { return c <= 0 }),
	"DateGreaterThan":          date(func(c int) bool { return c > 0 }),
	"DateGreaterThanEquals":    date(func(c int) bool { return c >= 0 }),
	"IpAddress":                {inNetwork, func(v string) bool { _, ok := network(v); return ok }},
}

var negations = map[string]string{
	"StringNotEquals":           "StringEquals",
	"StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
	"StringNotLike":             "StringLike",
	"ArnNotEquals":              "ArnEquals",
	"ArnNotLike":                "ArnLike",
	"NumericNotEquals":          "NumericEquals",
	"DateNotEquals":             "DateEquals",
	"NotIpAddress":              "IpAddress",
}

func isBool(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }

// numeric compares numbers; with what is none it does not hold.
func numeric(holds func(compared int) bool) comparison {
	parse := func(s string) (float64, bool) {
		n, err := strconv.ParseFloat(s, 64)
		return n, err == nil && n-n == 0 // neither infinite nor NaN
	}
	return ordered(parse, func(a, b float64) int {
		switch {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	}, holds)
}

// date compares times, written as ISO 8601 or as seconds since 1970.
func date(holds func(compared int) bool) comparison {
	return ordered(instant, time.Time.Compare, holds)
}

func instant(s string) (time.Time, bool) {
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) > len("2006") {
		return time.Unix(seconds, 0), true
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func ordered[T any](parse func(string) (T, bool), compare func(a, b T) int, holds func(compared int) bool) comparison {
	return comparison{
		holds: func(p pattern, value string, vars vars) bool {
			text, ok := p.resolved(vars)
			if !ok {
				return false
			}
			want, ok := parse(text)
			got, ok2 := parse(value)
			return ok && ok2 && holds(compare(got, want))
		},
		valid: func(v string) bool { _, ok := parse(v); return ok },
	}
}

func inNetwork(p pattern, value string, vars vars) bool {
	text, ok := p.resolved(vars)
	if !ok {
		return false
	}
	prefix, ok := network(text)
	address, err := netip.ParseAddr(value)
	return ok && err == nil && prefix.Contains(address.Unmap())
}

// network is an address range, 10.0.0.0/8, or one address.
func network(s string) (netip.Prefix, bool) {
	if prefix, err := netip.ParsePrefix(s); err == nil {
		return prefix.Masked(), true
	}
	address, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(address, address.BitLen()), true
}

func parseCondition(operator, key string, values conditionValues) (condition, error) {
	c := condition{key: key, values: newPatterns(values)}
	name := operator
	for _, q := range []setQualifier{forAllValues, forAnyValue} {
		if rest, ok := strings.CutPrefix(name, string(q)); ok {
			c.set, name = q, rest
		}
	}
	name, c.ifExists = strings.CutSuffix(name, "IfExists")
	if name == "Null" && !c.ifExists {
		c.null = true
		for _, value := range values {
			if !isBool(value) {
				return c, fmt.Errorf("the condition Null of %s takes true or false, not %q", key, value)
			}
		}
		return c, nil
	}
	if positive, ok := negations[name]; ok {
		c.negate, name = true, positive
	}
	compare, ok := comparisons[name]
	if !ok {
		return c, fmt.Errorf("the condition operator %q does not exist or is not supported here", operator)
	}
	for _, value := range values {
		if compare.valid != nil && !strings.Contains(value, "${") && !compare.valid(value) {
			return c, fmt.Errorf("the condition %s of %s cannot have the value %q", operator, key, value)
		}
	}
	c.compare = compare.holds
	return c, nil
}

// holds evaluates the condition. Values of one key are alternatives; a key that
// the request does not have fails a positive operator and satisfies a negated one.
func (c condition) holds(r *Request) bool {
	values := r.values(c.key)
	if c.null {
		absent := len(values) == 0
		return slices.ContainsFunc(c.values, func(p pattern) bool { return strings.EqualFold(p.text, strconv.FormatBool(absent)) })
	}
	one := func(value string) bool { return c.holdsFor(value, r.Context) }
	switch {
	case c.set == forAllValues: // also without any
		return !slices.ContainsFunc(values, func(v string) bool { return !one(v) })
	case len(values) == 0 && c.ifExists:
		return true
	case c.set == forAnyValue:
		return slices.ContainsFunc(values, one)
	case c.negate: // no value of the key is one of these; true without the key
		return !slices.ContainsFunc(values, func(v string) bool { return !one(v) })
	}
	return slices.ContainsFunc(values, one)
}

// holdsFor evaluates the condition for one value of the key.
func (c condition) holdsFor(value string, vars vars) bool {
	for _, p := range c.values {
		if c.compare(p, value, vars) {
			return !c.negate
		}
	}
	return c.negate
}

// equal compares with variables resolved, but without wildcards.
func equal(p pattern, value string, vars vars) bool {
	text, ok := p.resolved(vars)
	return ok && text == value
}

// resolved is the text of a pattern that has no wildcards, with its variables
// replaced; false if one has no value.
func (p pattern) resolved(vars vars) (string, bool) {
	tokens, ok := p.tokens(vars)
	if !ok {
		return "", false
	}
	b := make([]byte, len(tokens))
	for i, t := range tokens {
		switch t.kind {
		case literal:
			b[i] = t.literal
		case anyRun:
			b[i] = '*'
		case anyOne:
			b[i] = '?'
		}
	}
	return string(b), true
}
