package cloudformation

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const ssmParameter = "AWS::SSM::Parameter::Value<String>"

// parameters resolves the parameters of a template, pseudo parameters included.
func (s *Service) parameters(t *Template, given map[string]string, st *stack) (map[string]any, error) {
	account := s.options.Account
	out := map[string]any{
		"AWS::AccountId": account.ID, "AWS::Region": account.Region, "AWS::Partition": "aws",
		"AWS::URLSuffix": "amazonaws.com", "AWS::StackName": st.Name, "AWS::StackId": st.ID,
		"AWS::NotificationARNs": []any{},
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := t.Parameters[name]; !ok {
			return nil, fmt.Errorf("parameter %s is not in the template", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Parameters)) {
		value, err := s.parameter(t.Parameters[name], name, given)
		if err != nil {
			return nil, err
		}
		out[name] = value
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

func (s *Service) parameter(p Parameter, name string, given map[string]string) (any, error) {
	text, ok := given[name]
	if !ok {
		if p.Default == nil {
			return nil, fmt.Errorf("parameter %s must have a value: the template gives no default", name)
		}
		text = string(*p.Default)
	}
	if len(p.AllowedValues) > 0 && !slices.Contains(p.AllowedValues, scalar(text)) {
		return nil, fmt.Errorf("parameter %s is %q, which is not one of the allowed values", name, text)
	}
	if p.AllowedPattern != "" {
		pattern, err := regexp.Compile(`^(?:` + p.AllowedPattern + `)$`)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: allowed pattern: %w", name, err)
		}
		if !pattern.MatchString(text) {
			return nil, fmt.Errorf("parameter %s is %q, which does not match %s: %s", name, text, p.AllowedPattern, p.ConstraintDescription)
		}
	}
	switch p.Type {
	case "String", "Number":
		return text, nil
	case "CommaDelimitedList":
		var items []any
		for item := range strings.SplitSeq(text, ",") {
			items = append(items, strings.TrimSpace(item))
		}
		return items, nil
	case ssmParameter:
		value, err := s.options.Parameter(text)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		return value, nil
	}
	return nil, fmt.Errorf("parameter %s has type %q, which is not supported here", name, p.Type)
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

// imports reports whether the template imports one of the exports by a plain name.
func (t *Template) imports(exports map[string]bool) bool {
	var found bool
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if name, ok := v["Fn::ImportValue"].(string); ok && exports[name] {
				found = true
			}
			for _, item := range v {
				visit(item)
			}
		case []any:
			for _, item := range v {
				visit(item)
			}
		}
	}
	for _, r := range t.Resources {
		visit(r.Properties)
	}
	return found
}
