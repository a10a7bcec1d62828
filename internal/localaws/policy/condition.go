package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// conditionValues are the values of one condition key: a string, a Boolean or
// an array of them.
type conditionValues []string

func (v *conditionValues) UnmarshalJSON(b []byte) error {
	var many []json.RawMessage
	if json.Unmarshal(b, &many) != nil {
		many = []json.RawMessage{b}
	}
	for _, raw := range many {
		var value any
		if err := json.Unmarshal(raw, &value); err != nil {
			return err
		}
		switch value := value.(type) {
		case string:
			*v = append(*v, value)
		case bool:
			*v = append(*v, fmt.Sprint(value))
		default:
			return fmt.Errorf("a condition value must be a string or a Boolean, is %.40s", raw)
		}
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
}

// comparisons are the condition operators this package evaluates (IAM user
// guide, "IAM JSON policy elements: Condition operators").
var comparisons = map[string]func(p pattern, value string, vars vars) bool{
	"StringEquals": equal,
	"StringEqualsIgnoreCase": func(p pattern, v string, vars vars) bool {
		return equal(newPattern(strings.ToLower(p.text)), strings.ToLower(v), vars)
	},
	"StringLike": globMatch,
	// ArnEquals and ArnLike behave identically.
	"ArnEquals": globMatch,
	"ArnLike":   globMatch,
	"Bool":      func(p pattern, v string, _ vars) bool { return strings.EqualFold(p.text, v) },
}

var negations = map[string]string{
	"StringNotEquals":           "StringEquals",
	"StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
	"StringNotLike":             "StringLike",
	"ArnNotEquals":              "ArnEquals",
	"ArnNotLike":                "ArnLike",
}

func parseCondition(operator, key string, values conditionValues) (condition, error) {
	c := condition{key: key, values: newPatterns(values)}
	name, ifExists := strings.CutSuffix(operator, "IfExists")
	c.ifExists = ifExists
	if name == "Null" && !ifExists {
		for _, value := range values {
			if value != "true" && value != "false" {
				return c, fmt.Errorf("the condition Null of %s takes true or false, not %q", key, value)
			}
		}
		c.null = true
		return c, nil
	}
	if positive, ok := negations[name]; ok {
		c.negate, name = true, positive
	}
	compare, ok := comparisons[name]
	if !ok {
		return c, fmt.Errorf("the condition operator %q is not supported here", operator)
	}
	c.compare = compare
	return c, nil
}

// holds evaluates the condition. Values of one key are alternatives; a key that
// the request does not have fails a positive operator and satisfies a negated one.
func (c condition) holds(vars vars) bool {
	value, present := vars.get(c.key)
	if c.null {
		absent := strconv.FormatBool(!present)
		return slices.ContainsFunc(c.values, func(p pattern) bool { return p.text == absent })
	}
	if !present {
		return c.ifExists || c.negate
	}
	for _, p := range c.values {
		if c.compare(p, value, vars) {
			return !c.negate
		}
	}
	return c.negate
}

// equal compares with variables resolved, but without wildcards.
func equal(p pattern, value string, vars vars) bool {
	tokens, ok := p.tokens(vars)
	if !ok || len(tokens) != len(value) {
		return false
	}
	for i, t := range tokens {
		want := t.literal
		switch t.kind {
		case anyRun:
			want = '*'
		case anyOne:
			want = '?'
		}
		if want != value[i] {
			return false
		}
	}
	return true
}
