package cloudformation

import (
	"bytes"
	"maps"
	"slices"

	"lastwill/internal/localaws/awsapi"
)

// A target is what an operation shall make of a stack.
type target struct {
	input    Input
	template *Template
	// order has the template's resources, each after what it depends on.
	order []string
	// given are the parameters with the template's defaults, as stacks show them.
	given map[string]string
	// values of the parameters, pseudo parameters included.
	values     map[string]any
	conditions map[string]bool
}

// target checks an input and resolves its parameters.
func (s *Service) target(st *stack, in Input) (*target, error) {
	template, err := ParseTemplate(in.TemplateBody)
	if err != nil {
		return nil, awsapi.Errorf("ValidationError", "%v", err)
	}
	order, err := template.order()
	if err != nil {
		return nil, awsapi.Errorf("ValidationError", "%v", err)
	}
	values, err := s.parameters(template, in.Parameters, st)
	if err != nil {
		return nil, awsapi.Errorf("ValidationError", "%v", err)
	}
	t := &target{
		input: in, template: template, order: order, given: template.withDefaults(in.Parameters), values: values, conditions: map[string]bool{},
	}
	bare := &scope{template: template, parameters: values, conditions: t.conditions}
	for _, name := range slices.Sorted(maps.Keys(template.Conditions)) {
		if _, err := bare.condition(map[string]any{"Condition": name}); err != nil {
			return nil, awsapi.Errorf("ValidationError", "condition %s: %v", name, err)
		}
	}
	if err := bare.checkRules(); err != nil {
		return nil, awsapi.Errorf("ValidationError", "%v", err)
	}
	return t, nil
}

// has reports whether the target has a resource, its condition considered.
func (t *target) has(id string) bool {
	definition, ok := t.template.Resources[id]
	return ok && (definition.Condition == "" || t.conditions[definition.Condition])
}

// differs reports whether a target is not what the stack was made from.
func (st *stack) differs(t *target) bool {
	return !bytes.Equal([]byte(st.TemplateBody), t.input.TemplateBody) ||
		!maps.Equal(st.Parameters, t.given) || !maps.Equal(st.Tags, t.input.Tags) ||
		st.Status == "CREATE_FAILED" || st.Status == "UPDATE_FAILED"
}
