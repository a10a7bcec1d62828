package cloudformation

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Types of parameters: those of this package, and how those begin that are AWS's alone.
const (
	ssmParameter     = "AWS::SSM::Parameter::Value<String>"
	ssmListParameter = "AWS::SSM::Parameter::Value<List<String>>"
)

var parameterTypes = []string{"String", "Number", "List<Number>", "CommaDelimitedList", ssmParameter, ssmListParameter}

// maxParameterBytes is the longest value (user guide, "Understand CloudFormation quotas").
const maxParameterBytes = 4096

// checkParameter checks what a template says of a parameter.
func (t *Template) checkParameter(p Parameter, name string) error {
	switch {
	case p.Type == "":
		return formatError("Every Parameters object must contain a Type member.")
	case slices.Contains(parameterTypes, p.Type):
	case strings.HasPrefix(p.Type, "AWS::"), strings.HasPrefix(p.Type, "List<AWS::"):
		t.lacks("parameter type %s of %s", p.Type, name)
	default:
		return formatError("Unrecognized parameter type: %s", p.Type)
	}
	if _, err := regexp.Compile(p.AllowedPattern); err != nil {
		t.lacks("the pattern %s of %s", p.AllowedPattern, name)
	}
	for _, limit := range []*scalar{p.MinLength, p.MaxLength, p.MinValue, p.MaxValue} {
		if limit == nil {
			continue
		}
		if _, err := strconv.ParseFloat(string(*limit), 64); err != nil {
			return formatError("Parameter '%s' has a limit that is not a number: %s", name, *limit)
		}
	}
	return nil
}

// parameters resolves the parameters of a template, pseudo parameters included.
func (s *Service) parameters(t *Template, given map[string]string, st *stack) (map[string]any, error) {
	account := s.options.Account
	out := map[string]any{
		"AWS::AccountId": account.ID, "AWS::Region": account.Region, "AWS::Partition": "aws",
		"AWS::URLSuffix": "amazonaws.com", "AWS::StackName": st.Name, "AWS::StackId": st.ID,
		"AWS::NotificationARNs": []any{},
	}
	var foreign, valueless, unstored []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := t.Parameters[name]; !ok {
			foreign = append(foreign, name)
		}
	}
	all := t.withDefaults(given)
	for _, name := range slices.Sorted(maps.Keys(t.Parameters)) {
		if _, ok := all[name]; !ok {
			valueless = append(valueless, name)
		}
	}
	switch {
	case len(foreign) > 0:
		return nil, fmt.Errorf("Parameters: [%s] do not exist in the template", strings.Join(foreign, ", ")) //nolint:staticcheck // AWS's words
	case len(valueless) > 0:
		return nil, fmt.Errorf("Parameters: [%s] must have values", strings.Join(valueless, ", ")) //nolint:staticcheck // AWS's words
	}
	for _, name := range slices.Sorted(maps.Keys(t.Parameters)) {
		p, text := t.Parameters[name], all[name]
		if err := p.check(name, text); err != nil {
			return nil, err
		}
		out[name] = text
		if strings.HasPrefix(p.Type, "AWS::SSM::") {
			value, err := s.options.Parameter(text)
			if err != nil {
				unstored = append(unstored, text)
			}
			out[name] = value
			text = value
		}
		if strings.Contains(p.Type, "List") {
			var items []any
			for item := range strings.SplitSeq(text, ",") {
				items = append(items, strings.TrimSpace(item))
			}
			out[name] = items
		}
	}
	if len(unstored) > 0 {
		return nil, missingParameters(unstored...)
	}
	return out, nil
}

// withDefaults adds the defaults of the parameters that are not given.
func (t *Template) withDefaults(given map[string]string) map[string]string {
	all := maps.Clone(given)
	if all == nil {
		all = map[string]string{}
	}
	for name, p := range t.Parameters {
		if _, ok := all[name]; !ok && p.Default != nil {
			all[name] = string(*p.Default)
		}
	}
	return all
}

// hidden are the parameters whose values nobody may see.
func (t *Template) hidden() (names []string) {
	for name, p := range t.Parameters {
		if p.NoEcho {
			names = append(names, name)
		}
	}
	return names
}

// check refuses a value that the template does not allow, in AWS's words.
func (p Parameter) check(name, text string) error {
	values := []string{text}
	if strings.Contains(p.Type, "List") {
		values = strings.Split(text, ",")
	}
	for _, value := range values {
		value = strings.TrimSpace(value)
		if len(values) == 1 {
			value = text
		}
		wrong := p.wrong(value)
		switch {
		case wrong == "":
		case p.ConstraintDescription != "":
			return fmt.Errorf("Parameter '%s' failed to satisfy constraint: %s", name, p.ConstraintDescription)
		default:
			return fmt.Errorf("Parameter '%s' must %s", name, wrong)
		}
	}
	return nil
}

// wrong says what a value must be and is not.
func (p Parameter) wrong(value string) string {
	outside := func(limit *scalar, v float64, sign float64) bool {
		if limit == nil {
			return false
		}
		l, _ := strconv.ParseFloat(string(*limit), 64) // checkParameter has looked at it
		return sign*v > sign*l
	}
	number, notNumber := strconv.ParseFloat(value, 64)
	length := float64(utf8.RuneCountInString(value))
	switch {
	case strings.Contains(p.Type, "Number") && notNumber != nil:
		return "be a number."
	case strings.Contains(p.Type, "Number") && outside(p.MinValue, number, -1):
		return "be a number not less than " + string(*p.MinValue)
	case strings.Contains(p.Type, "Number") && outside(p.MaxValue, number, 1):
		return "be a number not greater than " + string(*p.MaxValue)
	case outside(p.MinLength, length, -1):
		return "contain at least " + string(*p.MinLength) + " characters"
	case outside(p.MaxLength, length, 1):
		return "contain at most " + string(*p.MaxLength) + " characters"
	case len(value) > maxParameterBytes:
		return fmt.Sprintf("contain at most %d bytes", maxParameterBytes)
	case len(p.AllowedValues) > 0 && !slices.Contains(p.AllowedValues, scalar(value)):
		return "be one of AllowedValues"
	}
	if p.AllowedPattern != "" {
		pattern, err := regexp.Compile(`^(?:` + p.AllowedPattern + `)$`)
		if err == nil && !pattern.MatchString(value) {
			return "match pattern " + p.AllowedPattern
		}
	}
	return ""
}

// checkRules evaluates the template's Rules section.
func (s *scope) checkRules() error {
	for _, name := range slices.Sorted(maps.Keys(s.template.Rules)) {
		rule := s.template.Rules[name]
		if rule.RuleCondition != nil {
			applies, err := s.condition(rule.RuleCondition)
			if err != nil {
				return fmt.Errorf("rule %s: %w", name, err)
			}
			if !applies {
				continue
			}
		}
		for _, a := range rule.Assertions {
			holds, err := s.condition(a.Assert)
			if err != nil {
				return fmt.Errorf("rule %s: %w", name, err)
			}
			if !holds {
				return fmt.Errorf("rule %s does not hold: %s", name, a.AssertDescription)
			}
		}
	}
	return nil
}
