package cloudformation

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// noValue is what Ref AWS::NoValue resolves to: the property it is given to is
// left out.
type noValue struct{}

var pseudoParameters = []string{
	"AWS::AccountId", "AWS::Region", "AWS::Partition", "AWS::URLSuffix",
	"AWS::StackName", "AWS::StackId", "AWS::NoValue", "AWS::NotificationARNs",
}

func isPseudoParameter(name string) bool { return slices.Contains(pseudoParameters, name) }

// intrinsic returns name and argument of a function call: an object with the
// single key Ref, Condition or Fn::....
func intrinsic(v any) (name string, argument any, ok bool) {
	object, isObject := v.(map[string]any)
	if !isObject || len(object) != 1 {
		return "", nil, false
	}
	for key, value := range object {
		if key == "Ref" || strings.HasPrefix(key, "Fn::") {
			return key, value, true
		}
	}
	return "", nil, false
}

// references calls found with every name that v refers to by Ref, Fn::GetAtt or
// Fn::Sub.
func references(v any, found func(name string) error) error {
	if name, argument, ok := intrinsic(v); ok {
		switch name {
		case "Ref":
			target, isText := argument.(string)
			if !isText {
				return fmt.Errorf("the argument of Ref must be a name, is %v", argument)
			}
			return found(target)
		case "Fn::GetAtt":
			target, _, err := getAttArguments(argument)
			if err != nil {
				return err
			}
			return found(target)
		case "Fn::Sub":
			return subReferences(argument, found)
		}
		return references(argument, found)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := references(v[key], found); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range v {
			if err := references(item, found); err != nil {
				return err
			}
		}
	}
	return nil
}

func subReferences(argument any, found func(name string) error) error {
	text, variables, err := subArguments(argument)
	if err != nil {
		return err
	}
	for _, value := range variables {
		if err := references(value, found); err != nil {
			return err
		}
	}
	return subEach(text, func(string) {}, func(name string) error {
		if _, isVariable := variables[name]; isVariable {
			return nil
		}
		target, _, _ := strings.Cut(name, ".")
		return found(target)
	})
}

// A scope is what the intrinsics of one stack operation resolve against.
type scope struct {
	template   *Template
	parameters map[string]any // resolved, pseudo parameters included
	// conditions by name, those that were evaluated already.
	conditions map[string]bool
	// resource finds the state of a resource that exists by now. nil where only
	// parameters may be referred to: in conditions and rules.
	resource func(logicalID string) (*Resource, bool)
	// imported finds the value of another stack's export; nil as resource is.
	imported func(name string) (string, error)
}

// resolve returns v with all intrinsics replaced by their values.
func (s *scope) resolve(v any) (any, error) {
	if name, argument, ok := intrinsic(v); ok {
		value, err := s.call(name, argument)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return value, nil
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			value, err := s.resolve(item)
			if err != nil {
				return nil, err
			}
			if value != (noValue{}) {
				out[key] = value
			}
		}
		return out, nil
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			value, err := s.resolve(item)
			if err != nil {
				return nil, err
			}
			if value != (noValue{}) {
				out = append(out, value)
			}
		}
		return out, nil
	}
	return v, nil
}

// properties resolves the properties of a resource.
func (s *scope) properties(id string) (map[string]any, error) {
	in := s.template.Resources[id].Properties
	if in == nil {
		in = map[string]any{}
	}
	v, err := s.resolve(in)
	if err != nil {
		return nil, err
	}
	out, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("properties must be an object")
	}
	return out, nil
}

func (s *scope) call(name string, argument any) (any, error) {
	switch name {
	case "Ref":
		target, ok := argument.(string)
		if !ok {
			return nil, fmt.Errorf("the argument must be a name, is %v", argument)
		}
		return s.ref(target)
	case "Fn::GetAtt":
		target, attribute, err := getAttArguments(argument)
		if err != nil {
			return nil, err
		}
		return s.getAtt(target, attribute)
	case "Fn::Sub":
		return s.sub(argument)
	case "Fn::If":
		return s.ifElse(argument)
	case "Fn::Equals", "Fn::And", "Fn::Or", "Fn::Not", "Fn::Contains":
		return s.condition(map[string]any{name: argument})
	}
	resolved, err := s.resolve(argument)
	if err != nil {
		return nil, err
	}
	switch name {
	case "Fn::Join":
		return join(resolved)
	case "Fn::Select":
		return selectItem(resolved)
	case "Fn::Split":
		return split(resolved)
	case "Fn::FindInMap":
		return s.findInMap(resolved)
	case "Fn::Base64":
		text, err := scalarText(resolved)
		return base64.StdEncoding.EncodeToString([]byte(text)), err
	case "Fn::ImportValue":
		export, err := scalarText(resolved)
		if err != nil {
			return nil, err
		}
		if s.imported == nil {
			return nil, errors.New("conditions and rules may refer to parameters only")
		}
		return s.imported(export)
	}
	return nil, errors.New("this intrinsic function is not supported here")
}

func (s *scope) ref(name string) (any, error) {
	if name == "AWS::NoValue" {
		return noValue{}, nil
	}
	if value, ok := s.parameters[name]; ok {
		return value, nil
	}
	r, err := s.existing(name)
	if err != nil {
		return nil, err
	}
	return r.PhysicalID, nil
}

func (s *scope) existing(name string) (*Resource, error) {
	if s.resource == nil {
		return nil, fmt.Errorf("conditions and rules may refer to parameters only, %s is none", name)
	}
	r, ok := s.resource(name)
	if !ok {
		return nil, fmt.Errorf("%s does not exist (or its condition is false)", name)
	}
	return r, nil
}

func (s *scope) getAtt(name, attribute string) (any, error) {
	r, err := s.existing(name)
	if err != nil {
		return nil, err
	}
	value, ok := r.Attributes[attribute]
	if !ok {
		return nil, fmt.Errorf("%s is a %s, which has no attribute %q here", name, r.Type, attribute)
	}
	return value, nil
}

func getAttArguments(argument any) (target, attribute string, err error) {
	switch a := argument.(type) {
	case string:
		target, attribute, ok := strings.Cut(a, ".")
		if ok {
			return target, attribute, nil
		}
	case []any:
		if len(a) == 2 {
			target, isText := a[0].(string)
			attribute, isToo := a[1].(string)
			if isText && isToo {
				return target, attribute, nil
			}
		}
	}
	return "", "", fmt.Errorf("the arguments of Fn::GetAtt must be a resource and an attribute, are %v", argument)
}

func subArguments(argument any) (text string, variables map[string]any, err error) {
	switch a := argument.(type) {
	case string:
		return a, nil, nil
	case []any:
		if len(a) == 2 {
			text, isText := a[0].(string)
			variables, isMap := a[1].(map[string]any)
			if isText && isMap {
				return text, variables, nil
			}
		}
	}
	return "", nil, fmt.Errorf("the argument of Fn::Sub must be a string, or a string and a map, is %v", argument)
}

// subEach walks a Fn::Sub text: plain parts and ${names}; ${!literal} is plain.
func subEach(text string, plain func(string), name func(string) error) error {
	for {
		before, rest, found := strings.Cut(text, "${")
		plain(before)
		if !found {
			return nil
		}
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			return fmt.Errorf("the text of Fn::Sub has ${ without }: %q", text)
		}
		if literal, ok := strings.CutPrefix(inner, "!"); ok {
			plain("${" + literal + "}")
		} else if err := name(strings.TrimSpace(inner)); err != nil {
			return err
		}
		text = after
	}
}

func (s *scope) sub(argument any) (any, error) {
	text, variables, err := subArguments(argument)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	err = subEach(text, func(part string) { out.WriteString(part) }, func(name string) error {
		value, err := s.subValue(name, variables)
		if err != nil {
			return err
		}
		part, err := scalarText(value)
		if err != nil {
			return fmt.Errorf("${%s}: %w", name, err)
		}
		out.WriteString(part)
		return checkText(out.Len())
	})
	return out.String(), err
}

func (s *scope) subValue(name string, variables map[string]any) (any, error) {
	if value, ok := variables[name]; ok {
		return s.resolve(value)
	}
	if target, attribute, ok := strings.Cut(name, "."); ok {
		return s.getAtt(target, attribute)
	}
	return s.ref(name)
}

func (s *scope) ifElse(argument any) (any, error) {
	a, ok := argument.([]any)
	if !ok || len(a) != 3 {
		return nil, errors.New("it takes a condition and two values")
	}
	holds, err := s.condition(map[string]any{"Condition": a[0]})
	if err != nil {
		return nil, err
	}
	if holds {
		return s.resolve(a[1])
	}
	return s.resolve(a[2])
}

// condition evaluates {"Condition": name} or a condition function.
func (s *scope) condition(v any) (bool, error) {
	object, ok := v.(map[string]any)
	if !ok || len(object) != 1 {
		return false, fmt.Errorf("%v is no condition", v)
	}
	for name, argument := range object {
		switch name {
		case "Condition":
			key, isText := argument.(string)
			definition, ok := s.template.Conditions[key]
			if !isText || !ok {
				return false, fmt.Errorf("condition %v is not in the template", argument)
			}
			if holds, known := s.conditions[key]; known {
				return holds, nil
			}
			holds, err := s.condition(definition)
			if err == nil {
				s.conditions[key] = holds
			}
			return holds, err
		case "Fn::Equals", "Fn::Contains":
			return s.compare(name, argument)
		case "Fn::And", "Fn::Or", "Fn::Not":
			return s.combine(name, argument)
		default:
			return false, fmt.Errorf("%s is no condition function that is supported here", name)
		}
	}
	return false, nil
}

func (s *scope) compare(name string, argument any) (bool, error) {
	resolved, err := s.resolve(argument)
	if err != nil {
		return false, err
	}
	a, ok := resolved.([]any)
	if !ok || len(a) != 2 {
		return false, fmt.Errorf("%s takes two values", name)
	}
	if name == "Fn::Equals" {
		return reflect.DeepEqual(comparable(a[0]), comparable(a[1])), nil
	}
	options, ok := a[0].([]any)
	if !ok {
		return false, errors.New("the first value of Fn::Contains must be a list")
	}
	return slices.ContainsFunc(options, func(option any) bool {
		return reflect.DeepEqual(comparable(option), comparable(a[1]))
	}), nil
}

// comparable makes 1 and "1" equal, as CloudFormation does.
func comparable(v any) any {
	if text, err := scalarText(v); err == nil {
		return text
	}
	return v
}

func (s *scope) combine(name string, argument any) (bool, error) {
	items, ok := argument.([]any)
	if !ok || len(items) == 0 || name == "Fn::Not" && len(items) != 1 {
		return false, fmt.Errorf("%s has the wrong number of conditions", name)
	}
	for _, item := range items {
		holds, err := s.condition(item)
		if err != nil {
			return false, err
		}
		switch {
		case name == "Fn::Not":
			return !holds, nil
		case name == "Fn::And" && !holds:
			return false, nil
		case name == "Fn::Or" && holds:
			return true, nil
		}
	}
	return name == "Fn::And", nil
}

func (s *scope) findInMap(argument any) (any, error) {
	a, ok := argument.([]any)
	if !ok || len(a) != 3 {
		return nil, errors.New("it takes a map and two keys")
	}
	var key [3]string
	for i := range a {
		text, err := scalarText(a[i])
		if err != nil {
			return nil, err
		}
		key[i] = text
	}
	value, ok := s.template.Mappings[key[0]][key[1]][key[2]]
	if !ok {
		return nil, fmt.Errorf("mapping %s has no value for %s, %s", key[0], key[1], key[2])
	}
	return value, nil
}

func join(argument any) (any, error) {
	a, ok := argument.([]any)
	if !ok || len(a) != 2 {
		return nil, errors.New("it takes a separator and a list")
	}
	separator, isText := a[0].(string)
	items, isList := a[1].([]any)
	if !isText || !isList {
		return nil, errors.New("it takes a separator and a list")
	}
	parts := make([]string, len(items))
	size := len(separator) * len(items)
	for i, item := range items {
		text, err := scalarText(item)
		if err != nil {
			return nil, err
		}
		parts[i] = text
		size += len(text)
	}
	if err := checkText(size); err != nil {
		return nil, err
	}
	return strings.Join(parts, separator), nil
}

// checkText refuses texts that are larger than a whole template may be: a few
// intrinsics within each other make very large ones.
func checkText(size int) error {
	if size > maxTemplateBytes {
		return fmt.Errorf("the result has more than %d bytes", maxTemplateBytes)
	}
	return nil
}

func selectItem(argument any) (any, error) {
	a, ok := argument.([]any)
	if !ok || len(a) != 2 {
		return nil, errors.New("it takes an index and a list")
	}
	text, err := scalarText(a[0])
	if err != nil {
		return nil, err
	}
	index, err := strconv.Atoi(text)
	items, isList := a[1].([]any)
	if err != nil || !isList || index < 0 || index >= len(items) {
		return nil, fmt.Errorf("index %s is outside the list", text)
	}
	return items[index], nil
}

func split(argument any) (any, error) {
	a, ok := argument.([]any)
	if !ok || len(a) != 2 {
		return nil, errors.New("it takes a separator and a string")
	}
	separator, isText := a[0].(string)
	text, isToo := a[1].(string)
	if !isText || !isToo || separator == "" {
		return nil, errors.New("it takes a separator and a string")
	}
	var out []any
	for part := range strings.SplitSeq(text, separator) {
		out = append(out, part)
	}
	return out, nil
}

// scalarText is the text of a string, number or Boolean.
func scalarText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", fmt.Errorf("a string was expected, not %v", v)
}
