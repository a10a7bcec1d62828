package cloudformation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
)

// Limits of a template (CloudFormation user guide, "Understand CloudFormation
// quotas"), and of how deep this package reads one.
const (
	maxTemplateBytes = 1 << 20
	maxResources     = 500
	maxDepth         = 100
)

// A Template is a parsed CloudFormation template.
type Template struct {
	Description string
	Parameters  map[string]Parameter
	Mappings    map[string]map[string]map[string]any
	Conditions  map[string]any
	Rules       map[string]Rule
	Resources   map[string]ResourceDefinition
	Outputs     map[string]OutputDefinition
}

// A Parameter of a template.
type Parameter struct {
	Type          string
	Default       *scalar
	Description   string
	AllowedValues []scalar
	// AllowedPattern must match the whole value. AWS reads Java's patterns, this
	// package RE2's.
	AllowedPattern        string
	ConstraintDescription string
	NoEcho                bool
}

// A Rule is checked against the parameters before anything is created.
type Rule struct {
	RuleCondition any
	Assertions    []struct {
		Assert            any
		AssertDescription string
	}
}

// A ResourceDefinition is a resource as the template writes it.
type ResourceDefinition struct {
	Type                string
	Properties          map[string]any
	DependsOn           names
	Condition           string
	DeletionPolicy      string
	UpdateReplacePolicy string
	Metadata            any
}

// An OutputDefinition is an output as the template writes it.
type OutputDefinition struct {
	Description string
	Value       any
	Condition   string
	Export      struct{ Name any }
}

// names is a string or an array of strings, as DependsOn may be.
type names []string

func (n *names) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*n = names{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(n))
}

// scalar is a string, number or Boolean that CloudFormation treats as text.
type scalar string

func (s *scalar) UnmarshalJSON(b []byte) error {
	var v any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return err
	}
	text, err := scalarText(v)
	*s = scalar(text)
	return err
}

var (
	logicalID = regexp.MustCompile(`^[A-Za-z0-9]{1,255}$`)
	// Policies of a resource (template reference, DeletionPolicy and
	// UpdateReplacePolicy). No resource type here can be snapshotted: that fails as a
	// DeletionPolicy, and means Delete as an UpdateReplacePolicy.
	deletionPolicies = []string{"", "Delete", "Retain", "RetainExceptOnCreate"}
	replacePolicies  = []string{"", "Delete", "Retain", "Snapshot"}
)

// ParseTemplate reads a template in JSON or YAML and checks all of it that can be checked
// without creating anything: elements, resource references, cycles.
func ParseTemplate(body []byte) (*Template, error) {
	if len(body) > maxTemplateBytes {
		return nil, fmt.Errorf("template has %d bytes, at most %d are allowed", len(body), maxTemplateBytes)
	}
	body, err := toJSON(body)
	if err != nil {
		return nil, err
	}
	if err := checkDepth(body); err != nil {
		return nil, err
	}
	var raw struct {
		Template
		AWSTemplateFormatVersion string
		Metadata                 any
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(&raw); err != nil {
		return nil, fmt.Errorf("template is not valid: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("template is not valid: something follows its end")
	}
	t := &raw.Template
	if err := t.check(); err != nil {
		return nil, err
	}
	return t, nil
}

// checkDepth refuses nesting that would cost more than it can mean.
func checkDepth(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	depth := 0
	for {
		token, err := dec.Token()
		if err != nil {
			return nil //nolint:nilerr // the decoder proper reports it with its place
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return fmt.Errorf("template nests deeper than %d levels", maxDepth)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

func (t *Template) check() error {
	if len(t.Resources) == 0 {
		return errors.New("template has no Resources: at least one is required")
	}
	if len(t.Resources) > maxResources {
		return fmt.Errorf("template has %d resources, at most %d are allowed", len(t.Resources), maxResources)
	}
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		if err := t.checkResource(id); err != nil {
			return fmt.Errorf("resource %s: %w", id, err)
		}
	}
	if err := t.checkConditions(); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(t.Outputs)) {
		output := t.Outputs[id]
		if err := t.checkReferences([]any{output.Value, output.Export.Name}); err != nil {
			return fmt.Errorf("output %s: %w", id, err)
		}
		if err := t.checkCondition(output.Condition); err != nil {
			return fmt.Errorf("output %s: %w", id, err)
		}
	}
	_, err := t.order()
	return err
}

func (t *Template) checkResource(id string) error {
	r := t.Resources[id]
	if !logicalID.MatchString(id) {
		return errors.New("a logical id has letters and digits only, at most 255")
	}
	if r.Type == "" {
		return errors.New("it has no Type")
	}
	switch {
	case r.DeletionPolicy == "Snapshot":
		return fmt.Errorf("resource type %s does not support deletion policy Snapshot", r.Type)
	case !slices.Contains(deletionPolicies, r.DeletionPolicy):
		return fmt.Errorf("DeletionPolicy %q is not one of Delete, Retain, RetainExceptOnCreate, Snapshot", r.DeletionPolicy)
	case !slices.Contains(replacePolicies, r.UpdateReplacePolicy):
		return fmt.Errorf("UpdateReplacePolicy %q is not one of Delete, Retain, Snapshot", r.UpdateReplacePolicy)
	}
	for _, dependency := range r.DependsOn {
		if _, ok := t.Resources[dependency]; !ok {
			return fmt.Errorf("DependsOn names %q, which the template does not have", dependency)
		}
	}
	if err := t.checkCondition(r.Condition); err != nil {
		return err
	}
	return t.checkReferences(r.Properties)
}

func (t *Template) checkCondition(name string) error {
	if _, ok := t.Conditions[name]; name != "" && !ok {
		return fmt.Errorf("condition %q is not in the template", name)
	}
	return nil
}

// checkConditions refuses conditions that need themselves.
func (t *Template) checkConditions() error {
	checked := map[string]bool{}
	var visit func(v any, path []string) error
	visit = func(v any, path []string) error {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				if err := visit(item, path); err != nil {
					return err
				}
			}
		case map[string]any:
			for key, value := range v {
				name, isText := value.(string)
				if key != "Condition" || !isText {
					if err := visit(value, path); err != nil {
						return err
					}
					continue
				}
				if slices.Contains(path, name) {
					return fmt.Errorf("condition %s needs itself: %v", name, append(path, name))
				}
				if checked[name] {
					continue
				}
				if err := visit(t.Conditions[name], append(slices.Clip(path), name)); err != nil {
					return err
				}
				checked[name] = true
			}
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(t.Conditions)) {
		if err := visit(t.Conditions[name], []string{name}); err != nil {
			return err
		}
	}
	return nil
}

// checkReferences makes sure that every reference in v has a target.
func (t *Template) checkReferences(v any) error {
	return references(v, func(name string) error {
		_, isParameter := t.Parameters[name]
		_, isResource := t.Resources[name]
		if isParameter || isResource || isPseudoParameter(name) {
			return nil
		}
		return fmt.Errorf("unresolved reference to %q: the template has no such resource or parameter", name)
	})
}

// dependencies are the resources that one resource needs: its DependsOn and
// whatever its properties refer to.
func (t *Template) dependencies(id string) []string {
	r := t.Resources[id]
	found := slices.Clone([]string(r.DependsOn))
	_ = references(r.Properties, func(name string) error { // the walk itself cannot fail on a checked template
		if _, ok := t.Resources[name]; ok {
			found = append(found, name)
		}
		return nil
	})
	slices.Sort(found)
	return slices.Compact(found)
}

// order sorts the resources so that each comes after what it depends on.
func (t *Template) order() ([]string, error) {
	const visiting, done = 1, 2
	state := map[string]int{}
	var sorted, path []string
	var visit func(id string) error
	visit = func(id string) error {
		switch state[id] {
		case done:
			return nil
		case visiting:
			cycle := append(path[slices.Index(path, id):], id)
			return fmt.Errorf("circular dependency between resources: %v", cycle)
		}
		state[id] = visiting
		path = append(path, id)
		for _, dependency := range t.dependencies(id) {
			if err := visit(dependency); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		state[id] = done
		sorted = append(sorted, id)
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		if err := visit(id); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}
