package iotsql

import (
	"errors"
	"testing"
)

func TestTemplates(t *testing.T) {
	t.Parallel()
	message := &Message{Topic: "my/iot/topic", ClientID: "c1", Payload: []byte(`{"id":"d-1","n":{"x":1},"brace":"}","none":null}`)}
	for _, c := range []struct{ claim, template, want string }{
		{"text without a template", "plain/topic", "plain/topic"},
		{"the reference's republish topic", "${topic()}/republish", "my/iot/topic/republish"},
		{"several values", "${topic(1)}/${id}/${clientid()}", "my/d-1/c1"},
		{"a dollar alone is text", "cost$/x", "cost$/x"},
		{"two dollars are one", "$$aws/things/${id}/shadow/update", "$aws/things/d-1/shadow/update"},
		{"braces in an expression", "${{'a': id}.a}", "d-1"},
		{"a brace in a string", "${id + '}'}!", "d-1}!"},
		{"an Object is written as JSON", "${n}", `{"x":1}`},
		{"a missing value leaves nothing", "a/${missing}/b", "a//b"},
		{"Null leaves nothing", "a/${none}/b", "a//b"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			tmpl, err := CompileTemplate(c.template, V2016)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tmpl.Eval(message); err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestTemplatesReadThePayloadNotTheSelection(t *testing.T) {
	t.Parallel()
	rule, err := Compile("SET @room = upper(place) SELECT place AS alias FROM 'a'", V2016)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := rule.CompileTemplate("${@room}/${alias}/${place}")
	if err != nil {
		t.Fatal(err)
	}
	got, err := tmpl.Eval(&Message{Payload: []byte(`{"place":"attic"}`)})
	if want := "ATTIC//attic"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestTemplateFaultsTellTheirPlaceInTheTemplate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, template, want string }{
		{"not closed", "a/${topic()", "line 1, column 3: ${ is not closed: expected }"},
		{"empty", "a/${}", "line 1, column 5: expected an expression, found the end of the statement"},
		{"two expressions", "a/${x y}", "line 1, column 7: expected }, found y"},
		{"an unknown function", "a/${nope()}", "line 1, column 5: there is no function nope"},
		{"a variable without a rule", "${@x}", "line 1, column 3: @x has no value: SET it before its first use"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			_, err := CompileTemplate(c.template, V2016)
			var fault *SyntaxError
			if !errors.As(err, &fault) || fault.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
