package resources

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

type sample struct {
	Name     string `cfn:"required,immutable"`
	Count    int    `cfn:"immutable"`
	Level    *float64
	Enabled  bool
	Policy   document
	Tags     tagList
	Nested   []struct{ Map map[string]string }
	Quality  byte `json:"qos,omitempty"`
	Anything any
}

// properties reads JSON as CloudFormation does: numbers stay as they are written.
func properties(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPropertiesAreThoseOfTheStruct(t *testing.T) {
	all, replacing := listed[sample]()
	if want := []string{"Name", "Count", "Level", "Enabled", "Policy", "Tags", "Nested", "Qos", "Anything"}; !reflect.DeepEqual(all, want) {
		t.Errorf("properties %q, want %q", all, want)
	}
	if want := []string{"Name", "Count"}; !reflect.DeepEqual(replacing, want) {
		t.Errorf("replaced by a change of %q, want %q", replacing, want)
	}
}

func TestScalarsBecomeWhatThePropertyIs(t *testing.T) {
	p, err := decode[sample](properties(t, `{"Name":7.0,"Count":"7","Level":"0.5","Enabled":"false","Qos":"1",
		"Policy":"{ \"a\": [\"<b>\"] }","Tags":[{"Key":"k","Value":true}],"Nested":[{"Map":{"x":1}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	level := 0.5
	want := sample{Name: "7.0", Count: 7, Level: &level, Policy: `{"a":["<b>"]}`, Quality: 1}
	want.Tags = tagList{{"k", "true"}}
	want.Nested = []struct{ Map map[string]string }{{map[string]string{"x": "1"}}}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v, want %+v", p, want)
	}
}

func TestAPolicyMayBeAnObject(t *testing.T) {
	p, err := decode[sample](properties(t, `{"Name":"n","Policy":{"Resource":"a<b&c>d"}}`))
	if err != nil || p.Policy != `{"Resource":"a<b&c>d"}` {
		t.Errorf("got %q, %v", p.Policy, err)
	}
}

func TestWrongPropertiesAreNamedTogether(t *testing.T) {
	for _, c := range []struct{ claim, properties, want string }{
		{"a missing one", `{}`, "[The property {/Name} is required]"},
		{"names are case-sensitive", `{"name":"n","Name":"n"}`, "[Encountered unsupported properties in {/}: [name]]"},
		{"one of a list", `{"Name":"n","Tags":[{"Key":"k","Value":"v"},{"Key":"k"}]}`, "[The property {/Tags/1/Value} is required]"},
		{"text that is not a number", `{"Name":"n","Count":"many"}`, "[Value of property {/Count} does not match type {Integer}]"},
		{"a fraction of a whole number", `{"Name":"n","Count":1.5}`, "[Value of property {/Count} does not match type {Integer}]"},
		{"text that is not a Boolean", `{"Name":"n","Enabled":"yes"}`, "[Value of property {/Enabled} does not match type {Boolean}]"},
		{"a number out of range", `{"Name":"n","Qos":256}`, "[Value of property {/Qos} does not match type {Integer}]"},
		{"an object for text", `{"Name":{"a":1}}`, "[Value of property {/Name} does not match type {String}]"},
		{"text for a list", `{"Name":"n","Tags":"k"}`, "[Value of property {/Tags} does not match type {List}]"},
		{"nothing for text", `{"Name":null}`, "[Value of property {/Name} does not match type {String}]"},
		{"a policy that is not JSON", `{"Name":"n","Policy":"Allow"}`, "[Value of property {/Policy} does not match type {Json}]"},
		{"a policy that is a list", `{"Name":"n","Policy":"[]"}`, "[Value of property {/Policy} does not match type {Json}]"},
		{"several", `{"Count":"x","Tags":[{}],"colour":1,"size":2}`, "[The property {/Name} is required, Value of property {/Count} does not match type {Integer}, " +
			"The property {/Tags/0/Key} is required, The property {/Tags/0/Value} is required, Encountered unsupported properties in {/}: [colour, size]]"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			_, err := decode[sample](properties(t, c.properties))
			if err == nil || err.Error() != "Property validation failure: "+c.want {
				t.Errorf("got  %v\nwant Property validation failure: %s", err, c.want)
			}
		})
	}
}

// Every type can be described, created and deleted, and takes what its struct says.
func TestEveryTypeIsWhole(t *testing.T) {
	for name, kind := range Types(Services{}) {
		if kind.Create == nil || kind.Delete == nil || len(kind.Properties) == 0 && !kind.AnyProperties {
			t.Errorf("%s cannot be created, deleted or described", name)
		}
		for _, p := range kind.Replacement {
			if !kind.AnyProperties && !strings.Contains(strings.Join(kind.Properties, " ")+" ", p+" ") {
				t.Errorf("%s is replaced by a change of %s, which it does not have", name, p)
			}
		}
	}
}
