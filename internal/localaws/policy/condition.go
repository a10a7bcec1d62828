package policy

import (
	"encoding/json"
	"fmt"
	"slices"
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
	values   []string
	compare  func(pattern, value string, vars vars) bool
	negate   bool
	ifExists bool
	null     bool
}

// comparisons are the condition operators this package evaluates (IAM user
// guide, "IAM JSON policy elements: Condition operators").
var comparisons = map[string]func(pattern, value string, vars vars) bool{
	"StringEquals":           equal,
	"StringEqualsIgnoreCase": func(p, v string, vars vars) bool { return equal(strings.ToLower(p), strings.ToLower(v), vars) },
	"StringLike":             globMatch,
	// ArnEquals and ArnLike behave identically.
	"ArnEquals": globMatch,
	"ArnLike":   globMatch,
	"Bool":      func(p, v string, _ vars) bool { return strings.EqualFold(p, v) },
}

var negations = map[string]string{
	"StringNotEquals":           "StringEquals",
	"StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
	"StringNotLike":             "StringLike",
	"ArnNotEquals":              "ArnEquals",
	"ArnNotLike":                "ArnLike",
}

func parseCondition(operator, key string, values conditionValues) (condition, error) {
	c := condition{key: key, values: values}
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
	value, present := vars[strings.ToLower(c.key)]
	if c.null {
		return slices.Contains(c.values, fmt.Sprint(!present))
	}
	if !present {
		return c.ifExists || c.negate
	}
	for _, pattern := range c.values {
		if c.compare(pattern, value, vars) {
			return !c.negate
		}
	}
	return c.negate
}

// equal compares with variables resolved, but without wildcards.
func equal(pattern, value string, vars vars) bool {
	tokens, ok := compile(pattern, vars)
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
