package resources

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A document is a policy: CloudFormation takes an object, or a string with JSON.
type document string

// The tag cfn on a field of properties: whether the property is required, and
// whether a change of it needs a new resource.
const (
	required  = "required"
	immutable = "immutable"
)

// is reports whether a field has a word in its tag.
func is(f reflect.StructField, word string) bool {
	return slices.Contains(strings.Split(f.Tag.Get("cfn"), ","), word)
}

// nameOf is a property's name: the field's, or that of its member in the service's
// own JSON, which CloudFormation writes with a capital.
func nameOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" {
		return f.Name
	}
	return string(unicode.ToUpper(rune(name[0]))) + name[1:]
}

// listed are the properties of a P, and those whose change needs a new resource.
func listed[P any]() (all, replacing []string) {
	for f := range reflect.TypeFor[P]().Fields() {
		all = append(all, nameOf(f))
		if is(f, immutable) {
			replacing = append(replacing, nameOf(f))
		}
	}
	return all, replacing
}

// decode reads resolved properties into a P as CloudFormation does: names are
// case-sensitive, numbers, Booleans and text become each other, and all that is
// wrong is reported together.
func decode[P any](properties map[string]any) (P, error) {
	var p P
	if properties == nil {
		properties = map[string]any{}
	}
	var d decoder
	d.decode("", properties, reflect.ValueOf(&p).Elem())
	if len(d.problems) > 0 {
		return p, fmt.Errorf("Property validation failure: [%s]", strings.Join(d.problems, ", ")) //nolint:staticcheck // AWS's words
	}
	return p, nil
}

// A decoder collects what is wrong.
type decoder struct{ problems []string }

func (d *decoder) problem(format string, args ...any) {
	d.problems = append(d.problems, fmt.Sprintf(format, args...))
}

func (d *decoder) decode(path string, v any, to reflect.Value) {
	switch to.Type() {
	case reflect.TypeFor[document]():
		d.document(path, v, to)
		return
	case reflect.TypeFor[any]():
		to.Set(reflect.ValueOf(v))
		return
	}
	ok := true
	switch to.Kind() {
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		d.decode(path, v, to.Elem())
	case reflect.Struct:
		var object map[string]any
		if object, ok = v.(map[string]any); ok {
			d.structure(path, object, to)
		}
	case reflect.Map:
		var object map[string]any
		if object, ok = v.(map[string]any); ok {
			d.entries(path, object, to)
		}
	case reflect.Slice:
		var list []any
		if list, ok = v.([]any); ok {
			to.Set(reflect.MakeSlice(to.Type(), len(list), len(list)))
			for i, item := range list {
				d.decode(path+"/"+strconv.Itoa(i), item, to.Index(i))
			}
		}
	default:
		ok = setScalar(v, to)
	}
	if !ok {
		d.problem("Value of property {%s} does not match type {%s}", path, typeName(to.Type()))
	}
}

func (d *decoder) structure(path string, object map[string]any, to reflect.Value) {
	known := map[string]bool{}
	for f, field := range to.Fields() {
		name := nameOf(f)
		known[name] = true
		v, there := object[name]
		switch {
		case there:
			d.decode(path+"/"+name, v, field)
		case is(f, required):
			d.problem("The property {%s/%s} is required", path, name)
		}
	}
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		d.problem("Encountered unsupported properties in {%s/}: [%s]", path, strings.Join(unknown, ", "))
	}
}

func (d *decoder) entries(path string, object map[string]any, to reflect.Value) {
	to.Set(reflect.MakeMapWithSize(to.Type(), len(object)))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		entry := reflect.New(to.Type().Elem()).Elem()
		d.decode(path+"/"+name, object[name], entry)
		to.SetMapIndex(reflect.ValueOf(name), entry)
	}
}

func (d *decoder) document(path string, v any, to reflect.Value) {
	switch v := v.(type) {
	case map[string]any:
		to.SetString(raw(v))
	case string:
		var b bytes.Buffer
		if json.Compact(&b, []byte(v)) != nil || b.Len() == 0 || b.Bytes()[0] != '{' {
			d.problem("Value of property {%s} does not match type {Json}", path)
			return
		}
		to.SetString(b.String())
	default:
		d.problem("Value of property {%s} does not match type {Json}", path)
	}
}

// raw is a value as JSON.
func raw(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // it came from JSON
	return strings.TrimSpace(b.String())
}

// setScalar sets text, a number or a Boolean from whichever of these v is.
func setScalar(v any, to reflect.Value) bool {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case bool:
		text = strconv.FormatBool(v)
	default:
		return false
	}
	switch to.Kind() {
	case reflect.String:
		to.SetString(text)
		return true
	case reflect.Bool:
		to.SetBool(text == "true")
		return text == "true" || text == "false"
	case reflect.Int:
		n, err := strconv.Atoi(text)
		to.SetInt(int64(n))
		return err == nil
	case reflect.Uint8:
		n, err := strconv.ParseUint(text, 10, 8)
		to.SetUint(n)
		return err == nil
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		to.SetFloat(n)
		return err == nil
	}
	return false
}

// typeName is CloudFormation's word for a type.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "String"
	case reflect.Bool:
		return "Boolean"
	case reflect.Int, reflect.Uint8:
		return "Integer"
	case reflect.Float64:
		return "Number"
	case reflect.Slice:
		return "List"
	case reflect.Map:
		return "Map"
	}
	return "Object"
}
