package cloudformation

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
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

// functions are the intrinsic functions of this package.
var functions = []string{
	"Ref", "Fn::And", "Fn::Base64", "Fn::Contains", "Fn::Equals", "Fn::FindInMap", "Fn::GetAtt", "Fn::If", "Fn::ImportValue", "Fn::Join", "Fn::Not",
	"Fn::Or", "Fn::Select", "Fn::Split", "Fn::Sub",
}

// templateError is what CloudFormation says of a function that is used wrongly, in its
// words where they are known.
func templateError(format string, args ...any) error {
	return fmt.Errorf("Template error: "+format, args...)
}

// references are what a part of a template refers to by Ref, Fn::GetAtt and Fn::Sub.
type references struct {
	template *Template
	// resources and parameters that are there, and names that are not.
	resources, parameters, missing []string
}

func (r *references) visit(v any) error {
	if name, argument, ok := intrinsic(v); ok {
		return r.call(name, argument)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := r.visit(v[key]); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range v {
			if err := r.visit(item); err != nil {
				return err
			}
		}
	case string:
		if strings.Contains(v, "{{resolve:ssm-secure:") || strings.Contains(v, "{{resolve:secretsmanager:") {
			r.template.lacks("dynamic reference %s", v)
		}
	}
	return nil
}

func (r *references) call(name string, argument any) error {
	switch name {
	case "Ref":
		target, isText := argument.(string)
		if !isText {
			return templateError("every Ref object must have a single String value.")
		}
		r.found(target)
		return nil
	case "Fn::GetAtt":
		target, attribute, err := getAttArguments(argument)
		if err != nil {
			return err
		}
		if _, ok := r.template.Resources[target]; !ok {
			return templateError("instance of Fn::GetAtt references undefined resource %s", target)
		}
		r.found(target)
		return r.visit(attribute)
	case "Fn::Sub":
		return r.sub(argument)
	case "Fn::If":
		if a, ok := argument.([]any); ok && len(a) > 0 {
			if condition, isText := a[0].(string); isText {
				if _, ok := r.template.Conditions[condition]; !ok {
					return templateError("unresolved condition dependency %s in Fn::If", condition)
				}
			}
		}
	}
	if !slices.Contains(functions, name) {
		r.template.lacks("intrinsic function %s", name)
	}
	return r.visit(argument)
}

func (r *references) found(name string) {
	_, isParameter := r.template.Parameters[name]
	_, isResource := r.template.Resources[name]
	switch {
	case isResource:
		r.resources = append(r.resources, name)
	case isParameter:
		r.parameters = append(r.parameters, name)
	case !isPseudoParameter(name):
		r.missing = append(r.missing, name)
	}
}

func (r *references) sub(argument any) error {
	text, variables, err := subArguments(argument)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if err := r.visit(variables[name]); err != nil {
			return err
		}
	}
	return subEach(text, func(string) {}, func(name string) error {
		if _, isVariable := variables[name]; isVariable {
			return nil
		}
		target, _, isAttribute := strings.Cut(name, ".")
		if _, ok := r.template.Resources[target]; isAttribute && !ok {
			return templateError("instance of Fn::Sub references invalid resource attribute %s", name)
		}
		r.found(target)
		return nil
	})
}

// unknown is what a resource will give once it exists.
type unknown struct{}

// errUnknown says that a value needs what is unknown.
var errUnknown = errors.New("it depends on a resource that does not exist yet")

// maxWork bounds what one template may cost: bytes that its functions make, and calls.
const maxWork = 64 << 20

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
	// stored finds an SSM parameter, for dynamic references.
	stored func(name string) (string, error)
	// dry is true before anything is made: what resources will give is unknown.
	dry bool
	// absent are the resources that are referred to, but whose condition is false.
	absent []string
	work   atomic.Int64
}

// spend counts work, and ends what would never end.
func (s *scope) spend(n int) error {
	if s.work.Add(int64(n)) > maxWork {
		return fmt.Errorf("the template's functions take more work than %d bytes of results", maxWork)
	}
	return nil
}

// resolve returns v with all intrinsics replaced by their values.
func (s *scope) resolve(v any) (any, error) {
	if name, argument, ok := intrinsic(v); ok {
		if err := s.spend(100); err != nil {
			return nil, err
		}
		value, err := s.call(name, argument)
		if errors.Is(err, errUnknown) {
			return unknown{}, nil
		}
		return value, err
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
	if s.dry {
		return out, nil
	}
	if v, err = s.dynamic(out); err != nil {
		return nil, err
	}
	return v.(map[string]any), nil
}

// dynamicReference is one to an SSM parameter (user guide, "Get values stored in other
// services using dynamic references"). Parameters have no versions here.
var dynamicReference = regexp.MustCompile(`\{\{resolve:ssm:([^}]*)\}\}`)

// dynamic replaces the dynamic references in texts.
func (s *scope) dynamic(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			value, err := s.dynamic(item)
			if err != nil {
				return nil, err
			}
			v[key] = value
		}
	case []any:
		for i, item := range v {
			value, err := s.dynamic(item)
			if err != nil {
				return nil, err
			}
			v[i] = value
		}
	case string:
		var failed error
		text := dynamicReference.ReplaceAllStringFunc(v, func(reference string) string {
			name := dynamicReference.FindStringSubmatch(reference)[1]
			value, err := s.stored(name)
			if err != nil {
				failed = missingParameters(name)
			}
			return value
		})
		return text, failed
	}
	return v, nil
}

// missingParameters is what AWS says of SSM parameters that are not there.
func missingParameters(names ...string) error {
	return fmt.Errorf("Unable to fetch parameters [%s] from parameter store for this account.", strings.Join(names, ",")) //nolint:staticcheck // AWS's words
}

func (s *scope) call(name string, argument any) (any, error) {
	switch name {
	case "Ref":
		target, ok := argument.(string)
		if !ok {
			return nil, templateError("every Ref object must have a single String value.")
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
		return s.join(resolved)
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
		switch {
		case s.dry:
			return unknown{}, nil
		case s.imported == nil:
			return nil, errOnlyParameters
		}
		return s.imported(export)
	}
	return nil, fmt.Errorf("intrinsic function %s is not supported by this local endpoint", name)
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

var errOnlyParameters = formatError("conditions and rules may refer to parameters only")

func (s *scope) existing(name string) (*Resource, error) {
	if s.dry {
		if condition := s.template.Resources[name].Condition; condition != "" && !s.conditions[condition] {
			s.absent = append(s.absent, name)
		}
		return nil, errUnknown
	}
	if s.resource == nil {
		return nil, errOnlyParameters
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
		return nil, templateError("resource %s does not support attribute type %s in Fn::GetAtt", name, attribute)
	}
	return value, nil
}

func getAttArguments(argument any) (target, attribute string, err error) {
	switch a := argument.(type) {
	case string:
		target, attribute, _ = strings.Cut(a, ".")
		if target != "" && attribute != "" {
			return target, attribute, nil
		}
	case []any:
		if len(a) == 2 {
			target, isText := a[0].(string)
			attribute, isToo := a[1].(string)
			if isText && isToo && target != "" && attribute != "" {
				return target, attribute, nil
			}
		}
	}
	return "", "", templateError("every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute")
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
	return "", nil, templateError("One or more Fn::Sub intrinsic functions don't specify expected arguments. Specify a string as first argument, " +
		"and an optional second argument to specify a mapping of values to replace in the string")
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
			return templateError("String: %q has ${ without } in Fn::Sub", text)
		}
		if literal, ok := strings.CutPrefix(inner, "!"); ok {
			plain("${" + literal + "}")
		} else if err := name(strings.TrimSpace(inner)); err != nil {
			return err
		}
		text = after
	}
}

// sub evaluates each variable once, however often the text has it.
func (s *scope) sub(argument any) (any, error) {
	text, variables, err := subArguments(argument)
	if err != nil {
		return nil, err
	}
	known := map[string]string{}
	var out strings.Builder
	err = subEach(text, func(part string) { out.WriteString(part) }, func(name string) error {
		part, ok := known[name]
		if !ok {
			value, err := s.subValue(name, variables)
			if err != nil {
				return err
			}
			if part, err = scalarText(value); err != nil {
				return fmt.Errorf("${%s}: %w", name, err)
			}
			known[name] = part
		}
		out.WriteString(part)
		return checkText(out.Len())
	})
	if err != nil {
		return nil, err
	}
	return out.String(), s.spend(out.Len())
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
		return nil, templateError("Fn::If requires a list argument with three elements")
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
		return false, formatError("Every Condition member must be a string or a condition function.")
	}
	for name, argument := range object {
		switch name {
		case "Condition":
			key, isText := argument.(string)
			definition, ok := s.template.Conditions[key]
			if !isText || !ok {
				return false, templateError("unresolved condition dependency %v in Fn::If", argument)
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
			return false, formatError("%s is not a condition function", name)
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
		return false, templateError("every %s object requires a list of 2 string parameters.", name)
	}
	if name == "Fn::Equals" {
		return reflect.DeepEqual(comparable(a[0]), comparable(a[1])), nil
	}
	options, ok := a[0].([]any)
	if !ok {
		return false, templateError("the first value of Fn::Contains must be a list")
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
		return false, templateError("every %s object requires a list of boolean parameters.", name)
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
		return nil, templateError("every Fn::FindInMap object requires three parameters, the map name, map key and the attribute for return value")
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
		return nil, templateError("Unable to get mapping for %s::%s::%s", key[0], key[1], key[2])
	}
	return value, nil
}

func (s *scope) join(argument any) (any, error) {
	wrong := templateError("every Fn::Join object requires two parameters, (1) a string delimiter and (2) a list of strings to be joined " +
		"or a function that returns a list of strings (such as Fn::GetAZs) to be joined.")
	a, ok := argument.([]any)
	if !ok || len(a) != 2 {
		return nil, wrong
	}
	if slices.Contains(a, any(unknown{})) {
		return nil, errUnknown
	}
	separator, isText := a[0].(string)
	items, isList := a[1].([]any)
	if !isText || !isList {
		return nil, wrong
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
	if err := errors.Join(checkText(size), s.spend(size)); err != nil {
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
	wrong := templateError("Fn::Select requires a list argument with two elements: an integer index and a list")
	a, ok := argument.([]any)
	if !ok || len(a) != 2 {
		return nil, wrong
	}
	if a[1] == any(unknown{}) {
		return nil, errUnknown
	}
	text, err := scalarText(a[0])
	if errors.Is(err, errUnknown) {
		return nil, err
	}
	index, notInteger := strconv.Atoi(text)
	items, isList := a[1].([]any)
	switch {
	case err != nil || notInteger != nil || !isList:
		return nil, wrong
	case index < 0 || index >= len(items):
		return nil, templateError("Fn::Select cannot select nonexistent value at index %d", index)
	}
	return items[index], nil
}

func split(argument any) (any, error) {
	a, ok := argument.([]any)
	if ok && slices.Contains(a, any(unknown{})) {
		return nil, errUnknown
	}
	wrong := templateError("every Fn::Split object requires two parameters, (1) a string delimiter and (2) a string to be split " +
		"or a function that returns a string to be split.")
	if !ok || len(a) != 2 {
		return nil, wrong
	}
	separator, isText := a[0].(string)
	text, isToo := a[1].(string)
	if !isText || !isToo || separator == "" {
		return nil, wrong
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
	case unknown:
		return "", errUnknown
	case noValue:
		return "", errors.New("a string was expected, not AWS::NoValue")
	}
	b, err := json.Marshal(v)
	return "", errors.Join(fmt.Errorf("a string was expected, not %s", b), err)
}
