package cloudformation

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"lastwill/internal/localaws/awsapi"
)

// A target is what an operation shall make of a stack.
type target struct {
	input    Input
	template *Template
	// given are the parameters with the template's defaults, as stacks show them.
	given map[string]string
	// values of the parameters, pseudo parameters included.
	values     map[string]any
	conditions map[string]bool
	// drifted are the stack's resources to be made what the template says.
	drifted map[string]Drift
}

// target checks an input and resolves its parameters. Whatever can be known before
// something is made is found here.
func (s *Service) target(st *stack, in Input) (*target, error) {
	t, err := s.resolveTarget(st, in)
	if err == nil || errors.As(err, new(*awsapi.Error)) {
		return t, err
	}
	return nil, awsapi.Errorf("ValidationError", "%v", err)
}

func (s *Service) resolveTarget(st *stack, in Input) (*target, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	template, err := ParseTemplate(in.TemplateBody)
	if err != nil {
		return nil, err
	}
	if err := in.checkCapabilities(template); err != nil {
		return nil, err
	}
	if len(template.unsupported) > 0 {
		return nil, s.checkSupported(&target{template: template, conditions: allTrue(template.Conditions)})
	}
	values, err := s.parameters(template, in.Parameters, st)
	if err != nil {
		return nil, err
	}
	t := &target{input: in, template: template, given: template.withDefaults(in.Parameters), values: values, conditions: map[string]bool{}}
	bare := &scope{template: template, parameters: values, conditions: t.conditions}
	for _, name := range slices.Sorted(maps.Keys(template.Conditions)) {
		if _, err := bare.condition(map[string]any{"Condition": name}); err != nil {
			return nil, err
		}
	}
	if err := s.checkSupported(t); err != nil {
		return nil, err
	}
	if err := bare.checkRules(); err != nil {
		return nil, err
	}
	if err := t.rehearse(); err != nil || !in.RevertDrift {
		return t, err
	}
	t.drifted, err = s.drifted(st)
	return t, err
}

// drifted finds the resources of a stack that are not what they were made.
func (s *Service) drifted(st *stack) (map[string]Drift, error) {
	found := map[string]Drift{}
	for id, r := range st.Resources {
		kind, ok := s.options.kind(r.Type)
		if !ok || kind.Drift == nil {
			continue
		}
		drift, err := kind.Drift(st.request(r, nil))
		if err != nil {
			return nil, fmt.Errorf("drift of %s: %w", id, err)
		}
		if drift == Modified && kind.Update == nil {
			drift = Deleted // it is made once more
		}
		if drift != "" {
			found[id] = drift
		}
	}
	return found, nil
}

// rehearse evaluates all functions without what resources will give.
func (t *target) rehearse() error {
	dry := &scope{template: t.template, parameters: t.values, conditions: t.conditions, dry: true}
	for _, id := range t.template.order {
		if !t.has(id) {
			continue
		}
		if _, err := dry.properties(id); err != nil {
			return err
		}
	}
	if err := unresolved(dry.absent, "Resources", "Template format error: "); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t.template.Outputs)) {
		output := t.template.Outputs[name]
		if output.Condition != "" && !t.conditions[output.Condition] {
			continue
		}
		if _, err := dry.resolve([]any{output.Value, output.Export.Name}); err != nil {
			return err
		}
	}
	return unresolved(dry.absent, "Outputs", "")
}

// allTrue stands for conditions that are not known yet: no resource is left out.
func allTrue(conditions map[string]any) map[string]bool {
	known := map[string]bool{}
	for name := range conditions {
		known[name] = true
	}
	return known
}

// checkSupported names all that this endpoint does not have at once: AWS would take it.
// What a condition leaves out may be anything, as in the template of cdk bootstrap.
func (s *Service) checkSupported(t *target) error {
	missing := slices.Clone(t.template.unsupported)
	var unrecognized []string
	for _, id := range slices.Sorted(maps.Keys(t.template.Resources)) {
		if !t.has(id) {
			continue
		}
		r := t.template.Resources[id]
		kind, ok := s.options.kind(r.Type)
		if !ok {
			unrecognized = append(unrecognized, r.Type)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(r.Properties)) {
			if slices.Contains(kind.Others, name) {
				missing = append(missing, fmt.Sprintf("property %s of %s (%s)", name, id, r.Type))
			}
		}
	}
	slices.Sort(unrecognized)
	slices.Sort(missing)
	var problems []string
	if len(unrecognized) > 0 {
		problems = append(problems, fmt.Sprintf("Template format error: Unrecognized resource types: [%s]", strings.Join(slices.Compact(unrecognized), ", ")))
	}
	if len(missing) > 0 {
		problems = append(problems, "not supported by this local endpoint: "+strings.Join(slices.Compact(missing), "; "))
	}
	if len(problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(problems, "; "))
}

// Limits of a stack's tags (general reference, "Tagging AWS resources").
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

func checkTags(tags awsapi.Tags) error {
	if len(tags) > maxTags {
		return fmt.Errorf("Number of tags, %d, is greater than maximum allowed, %d", len(tags), maxTags) //nolint:staticcheck // AWS's words
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		switch {
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return errors.New("aws: prefixed tag key names are not allowed for external use.") //nolint:staticcheck // AWS's words
		case key == "" || utf8.RuneCountInString(key) > maxTagKey || utf8.RuneCountInString(tags[key]) > maxTagValue:
			return fmt.Errorf("tag %q must have a key of 1 to %d characters and a value of at most %d", key, maxTagKey, maxTagValue)
		}
	}
	return nil
}

// checkCapabilities wants to hear that IAM resources are known to be among the
// resources (API reference, CreateStack, Capabilities).
func (in Input) checkCapabilities(t *Template) error {
	needed := t.Capability()
	if needed == "" || in.Capabilities == nil || slices.Contains(in.Capabilities, needed) || slices.Contains(in.Capabilities, "CAPABILITY_NAMED_IAM") {
		return nil
	}
	return awsapi.Errorf("InsufficientCapabilitiesException", "Requires capabilities : [%s]", needed)
}

// Capability is what a template needs: none without IAM resources, and another one for
// those with names.
func (t *Template) Capability() string {
	needed := ""
	for _, r := range t.Resources {
		if !strings.HasPrefix(r.Type, "AWS::IAM::") {
			continue
		}
		needed = cmp.Or(needed, "CAPABILITY_IAM")
		if _, named := r.Properties["RoleName"]; named {
			needed = "CAPABILITY_NAMED_IAM"
		}
	}
	return needed
}

// has reports whether the target has a resource, its condition considered.
func (t *target) has(id string) bool {
	definition, ok := t.template.Resources[id]
	return ok && (definition.Condition == "" || t.conditions[definition.Condition])
}

// differs reports whether a target is not what the stack was made from.
func (st *stack) differs(t *target) bool {
	return !bytes.Equal([]byte(st.TemplateBody), t.input.TemplateBody) ||
		len(t.drifted) > 0 || !maps.Equal(st.Parameters, t.given) || !maps.Equal(st.Tags, t.input.Tags) ||
		st.Status == "CREATE_FAILED" || st.Status == "UPDATE_FAILED"
}
