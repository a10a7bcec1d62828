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
	"strings"
)

// Limits of a template (CloudFormation user guide, "Understand CloudFormation
// quotas"), and of how deep this package reads one.
const (
	maxTemplateBytes = 1 << 20
	maxResources     = 500
	maxParameters    = 200
	maxOutputs       = 200
	maxDescription   = 1024
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

	// order has the resources, each after what it depends on.
	order []string
	// unsupported is what CloudFormation has and this endpoint does not.
	unsupported []string
}

// A Parameter of a template.
type Parameter struct {
	Type          string
	Default       *scalar
	Description   string
	AllowedValues []scalar
	// AllowedPattern must match the whole value. AWS reads Java's patterns, this
	// package RE2's.
	AllowedPattern                           string
	ConstraintDescription                    string
	NoEcho                                   truth
	MinLength, MaxLength, MinValue, MaxValue *scalar
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

// truth is a Boolean, or text that says so.
type truth bool

func (t *truth) UnmarshalJSON(b []byte) error {
	var s scalar
	if err := s.UnmarshalJSON(b); err != nil || s != "true" && s != "false" {
		return errors.New("it is neither true nor false")
	}
	*t = s == "true"
	return nil
}

var (
	alphanumeric = regexp.MustCompile(`^[A-Za-z0-9]{1,255}$`)
	// Policies of a resource (template reference, DeletionPolicy and
	// UpdateReplacePolicy). No resource type here can be snapshotted: that fails as a
	// DeletionPolicy, and means Delete as an UpdateReplacePolicy.
	deletionPolicies = []string{"", "Delete", "Retain", "RetainExceptOnCreate"}
	replacePolicies  = []string{"", "Delete", "Retain", "Snapshot"}
)

// What a template may have (user guide, "Template sections"; template reference,
// "Resource attribute reference"). The last of each are not supported here.
var (
	sections = []string{
		"AWSTemplateFormatVersion", "Conditions", "Description", "Mappings", "Metadata", "Outputs", "Parameters", "Resources", "Rules",
	}
	otherSections      = []string{"Globals", "Hooks", "Transform"}
	parameterMembers   = []string{"AllowedPattern", "AllowedValues", "ConstraintDescription", "Default", "Description", "MaxLength", "MaxValue", "MinLength", "MinValue", "NoEcho", "Type"}
	resourceAttributes = []string{"Condition", "DeletionPolicy", "DependsOn", "Metadata", "Properties", "Type", "UpdateReplacePolicy"}
	otherAttributes    = []string{"CreationPolicy", "UpdatePolicy"}
	outputMembers      = []string{"Condition", "Description", "Export", "Value"}
)

// A formatError is what CloudFormation says of a template that it cannot read, in its
// words where they are known.
func formatError(format string, args ...any) error {
	return fmt.Errorf("Template format error: "+format, args...)
}

// ParseTemplate reads a template in JSON or YAML and checks all of it that can be checked
// without its parameters: elements, references, cycles.
func ParseTemplate(body []byte) (*Template, error) {
	if len(body) > maxTemplateBytes {
		return nil, formatError("the template has %d bytes, at most %d are allowed", len(body), maxTemplateBytes)
	}
	document, err := readDocument(body)
	if err != nil {
		return nil, err
	}
	t := &Template{}
	if err := t.read(document); err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	t.order, err = t.sort()
	return t, err
}

// readDocument reads the object that a template is.
func readDocument(body []byte) (map[string]any, error) {
	if err := checkDepth(body); err != nil {
		return nil, err
	}
	var v any
	var err error
	if trimmed := bytes.TrimSpace(body); len(trimmed) > 0 && trimmed[0] == '{' {
		v, err = readJSON(body)
	} else {
		v, err = readYAML(body)
	}
	if err != nil {
		return nil, err
	}
	document, ok := v.(map[string]any)
	if !ok {
		return nil, formatError("unsupported structure.")
	}
	return document, findNull("", document)
}

func readJSON(body []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	err = dec.Decode(&v)
	at := dec.InputOffset()
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return v, nil
		}
	} else if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = syntax.Offset
	}
	read := string(body[:min(int(at), len(body))])
	line := strings.Count(read, "\n") + 1
	return nil, formatError("JSON not well-formed. (line %d, column %d)", line, len(read)-strings.LastIndex(read, "\n"))
}

// findNull refuses null, which CloudFormation takes in Metadata only.
func findNull(path string, v any) error {
	switch v := v.(type) {
	case nil:
		return fmt.Errorf("[%s] 'null' values are not allowed in templates", path)
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if key == "Metadata" {
				continue
			}
			if err := findNull(path+"/"+key, v[key]); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range v {
			if err := findNull(fmt.Sprintf("%s/%d", path, i), item); err != nil {
				return err
			}
		}
	}
	return nil
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
				return formatError("the template nests deeper than %d levels", maxDepth)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// read fills the template from its document.
func (t *Template) read(document map[string]any) error {
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(document)) {
		switch {
		case slices.Contains(sections, name):
		case slices.Contains(otherSections, name):
			t.lacks("%s", strings.TrimSpace(name+" "+fmt.Sprint(scalarOr(document[name]))))
		default:
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("Invalid template property or properties [%s]", strings.Join(unknown, ", ")) //nolint:staticcheck // AWS's words
	}
	if version, ok := document["AWSTemplateFormatVersion"]; ok && version != "2010-09-09" {
		return formatError("%v is not a supported value for AWSTemplateFormatVersion.", version)
	}
	if description, ok := document["Description"]; ok {
		if t.Description, ok = description.(string); !ok {
			return formatError("Every Description member must be a string.")
		}
		if len(t.Description) > maxDescription {
			return formatError("'Description' length is greater than %d.", maxDescription)
		}
	}
	if err := t.readMappings(document["Mappings"]); err != nil {
		return err
	}
	for _, read := range []func() error{
		func() error {
			return section(document, "Parameters", "Parameters", parameterMembers, nil, t, &t.Parameters)
		},
		func() error { return section(document, "Conditions", "", nil, nil, t, &t.Conditions) },
		func() error { return section(document, "Rules", "Rules", nil, nil, t, &t.Rules) },
		func() error {
			return section(document, "Resources", "Resources", resourceAttributes, otherAttributes, t, &t.Resources)
		},
		func() error { return section(document, "Outputs", "Outputs", outputMembers, nil, t, &t.Outputs) },
	} {
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

// lacks notes what this endpoint does not support.
func (t *Template) lacks(format string, args ...any) {
	t.unsupported = append(t.unsupported, fmt.Sprintf(format, args...))
}

func scalarOr(v any) string {
	text, _ := scalarText(v)
	return text
}

// section reads one: its members, if they have a kind, are objects with known members
// of their own; others, which only AWS has, are noted.
func section[V any](document map[string]any, name, kind string, known, others []string, t *Template, to *map[string]V) error {
	v, ok := document[name]
	if !ok {
		return nil
	}
	members, ok := v.(map[string]any)
	if !ok {
		return formatError("%s must be an object.", name)
	}
	*to = map[string]V{}
	for _, id := range slices.Sorted(maps.Keys(members)) {
		if object, ok := members[id].(map[string]any); kind != "" && !ok {
			return formatError("Any %s member must be an object.", kind)
		} else if known != nil {
			for _, member := range slices.Sorted(maps.Keys(object)) {
				switch {
				case slices.Contains(known, member):
				case slices.Contains(others, member):
					t.lacks("%s of %s", member, id)
				default:
					return fmt.Errorf("Invalid template %s property '%s'", strings.ToLower(strings.TrimSuffix(kind, "s")), member) //nolint:staticcheck // AWS's words
				}
			}
		}
		b, err := json.Marshal(members[id])
		if err != nil {
			return err
		}
		var member V
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		if err := dec.Decode(&member); err != nil {
			return formatError("[/%s/%s] %s", name, id, wrongMember(err))
		}
		(*to)[id] = member
	}
	return nil
}

// wrongMember says what JSON's error means in a template.
func wrongMember(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s must not be a %s.", wrong.Field, wrong.Value)
	}
	return err.Error() + "."
}

func (t *Template) readMappings(v any) error {
	wrong := formatError("Every Mappings attribute must be a String or a List.")
	if v == nil {
		return nil
	}
	mappings, ok := v.(map[string]any)
	if !ok {
		return formatError("Mappings must be an object.")
	}
	t.Mappings = map[string]map[string]map[string]any{}
	for name, keys := range mappings {
		first, ok := keys.(map[string]any)
		if !ok {
			return formatError("Every Mappings member %s must be a map", name)
		}
		t.Mappings[name] = map[string]map[string]any{}
		for key, values := range first {
			second, ok := values.(map[string]any)
			if !ok {
				return formatError("Every Mappings member %s must be a map", name)
			}
			for _, value := range second {
				if list, isList := value.([]any); isList {
					for _, item := range list {
						if _, err := scalarText(item); err != nil {
							return wrong
						}
					}
				} else if _, err := scalarText(value); err != nil {
					return wrong
				}
			}
			t.Mappings[name][key] = second
		}
	}
	return nil
}

func (t *Template) check() error {
	switch {
	case len(t.Resources) == 0:
		return formatError("At least one Resources member must be defined.")
	case len(t.Resources) > maxResources:
		return formatError("Number of resources, %d, is greater than maximum allowed, %d", len(t.Resources), maxResources)
	case len(t.Parameters) > maxParameters:
		return formatError("Number of parameters, %d, is greater than maximum allowed, %d", len(t.Parameters), maxParameters)
	case len(t.Outputs) > maxOutputs:
		return formatError("Number of outputs, %d, is greater than maximum allowed, %d", len(t.Outputs), maxOutputs)
	}
	for kind, ids := range map[string][]string{
		"Parameter": slices.Sorted(maps.Keys(t.Parameters)), "Resource": slices.Sorted(maps.Keys(t.Resources)), "Output": slices.Sorted(maps.Keys(t.Outputs)),
	} {
		for _, id := range ids {
			if !alphanumeric.MatchString(id) {
				return formatError("%s name %s is non alphanumeric.", kind, id)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.Parameters)) {
		if err := t.checkParameter(t.Parameters[id], id); err != nil {
			return err
		}
	}
	inResources, inOutputs := references{template: t}, references{template: t}
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		if err := t.checkResource(id, &inResources); err != nil {
			return err
		}
	}
	if err := t.checkConditions(); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(t.Outputs)) {
		output := t.Outputs[id]
		if output.Value == nil {
			return formatError("Every Outputs member must contain a Value object")
		}
		if _, ok := t.Conditions[output.Condition]; output.Condition != "" && !ok {
			return formatError("Unresolved condition dependency %s in the Outputs block of the template", output.Condition)
		}
		if err := inOutputs.visit([]any{output.Value, output.Export.Name}); err != nil {
			return err
		}
	}
	if err := unresolved(inResources.missing, "Resources", "Template format error: "); err != nil {
		return err
	}
	return unresolved(inOutputs.missing, "Outputs", "Template format error: ")
}

// unresolved refuses references to what is not there.
func unresolved(missing []string, block, prefix string) error {
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("%sUnresolved resource dependencies [%s] in the %s block of the template", prefix, strings.Join(slices.Compact(missing), ", "), block)
}

func (t *Template) checkResource(id string, found *references) error {
	r := t.Resources[id]
	switch {
	case r.Type == "":
		return formatError("[/Resources/%s] Every Resources object must contain a Type member.", id)
	case r.DeletionPolicy == "Snapshot":
		return formatError("resource type %s does not support deletion policy Snapshot", r.Type)
	case !slices.Contains(deletionPolicies, r.DeletionPolicy):
		return formatError("Unrecognized DeletionPolicy %s for resource %s", r.DeletionPolicy, id)
	case !slices.Contains(replacePolicies, r.UpdateReplacePolicy):
		return formatError("Unrecognized UpdateReplacePolicy %s for resource %s", r.UpdateReplacePolicy, id)
	}
	for _, dependency := range r.DependsOn {
		if _, ok := t.Resources[dependency]; !ok {
			found.missing = append(found.missing, dependency)
		}
	}
	if _, ok := t.Conditions[r.Condition]; r.Condition != "" && !ok {
		return formatError("Unresolved condition dependency %s in the Resources block of the template", r.Condition)
	}
	return found.visit(r.Properties)
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
					return formatError("Circular dependency between conditions: [%s]", strings.Join(append(path, name), ", "))
				}
				if checked[name] {
					continue
				}
				definition, ok := t.Conditions[name]
				if !ok {
					return formatError("Unresolved condition dependency %s in the Conditions block of the template", name)
				}
				if err := visit(definition, append(slices.Clip(path), name)); err != nil {
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

// dependencies are the resources that one resource needs: its DependsOn and
// whatever its properties refer to.
func (t *Template) dependencies(id string) []string {
	r := t.Resources[id]
	found := references{template: t}
	_ = found.visit(r.Properties) // the walk cannot fail on a checked template
	all := append(slices.Clone([]string(r.DependsOn)), found.resources...)
	slices.Sort(all)
	return slices.Compact(all)
}

// sort sorts the resources so that each comes after what it depends on.
func (t *Template) sort() ([]string, error) {
	const visiting, done = 1, 2
	state := map[string]int{}
	var sorted, path []string
	var visit func(id string) error
	visit = func(id string) error {
		switch state[id] {
		case done:
			return nil
		case visiting:
			cycle := slices.Sorted(slices.Values(path[slices.Index(path, id):]))
			return fmt.Errorf("Circular dependency between resources: [%s]", strings.Join(cycle, ", ")) //nolint:staticcheck // AWS's words
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
