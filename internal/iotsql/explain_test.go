package iotsql

import (
	"strings"
	"testing"
)

func TestExplainSaysWhatHeld(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, where, want string }{
		{"both sides of AND", "a = 1 AND b = 2", "a = 1 is true: a is 1\nb = 2 is true: b is 2"},
		{"the sides of OR that are true", "a = 2 OR b = 2", "b = 2 is true: b is 2"},
		{"nothing where the rule does not fire", "a = 2", ""},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			rule, err := Compile("SELECT * FROM 't' WHERE "+c.where, V2016)
			if err != nil {
				t.Fatal(err)
			}
			got, err := rule.Explain(&Message{Topic: "t", Payload: []byte(`{"a":1,"b":2}`)})
			if held := (Explanation{Reasons: got.Held}).String(); err != nil || held != c.want {
				t.Errorf("got %q, %v, want %q", held, err, c.want)
			}
		})
	}
}

func TestExplainTakesPayloadsThatAreNoJSONObject(t *testing.T) {
	t.Parallel()
	rule, err := Compile("SELECT * FROM 't' WHERE encode(*, 'base64') = 'eA=='", V2016)
	if err != nil {
		t.Fatal(err)
	}
	for payload, want := range map[string]string{
		"x": "",
		"y": `encode(*, 'base64') = 'eA==' is false: encode(*, 'base64') is "eQ=="`,
	} {
		got, err := rule.Explain(&Message{Topic: "t", Payload: []byte(payload)})
		if err != nil || got.Fired != (want == "") || got.String() != want {
			t.Errorf("%s: got %q, %v, want %q", payload, got, err, want)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	const payload = `{"temp":40,"color":"red","on":"true","none":null,"list":[1,2],"o":{"k":1},"long":"` + "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" + `"}`
	for _, c := range []struct{ claim, where, want string }{
		{"what fires needs no reason", "temp = 40", ""},
		{"a comparison that is false", "temp > 50", "temp > 50 is false: temp is 40"},
		{"a missing attribute", "humidity > 50", "humidity > 50 is Undefined: humidity is Undefined"},
		{"of an AND the side that says no", "color = 'red' AND temp > 50", "temp > 50 is false: temp is 40"},
		{"of an AND both sides if both say no", "temp > 50 AND humidity = 1", "temp > 50 is false: temp is 40\nhumidity = 1 is Undefined: humidity is Undefined"},
		{"of an OR both sides", "temp > 50 OR color = 'blue'", "temp > 50 is false: temp is 40\ncolor = 'blue' is false: color is \"red\""},
		{"of an OR the side that makes it Undefined", "temp = 40 OR humidity = 1", "humidity = 1 is Undefined: humidity is Undefined"},
		{"inside of both", "color = 'red' AND (temp > 50 OR temp < 10)", "temp > 50 is false: temp is 40\ntemp < 10 is false: temp is 40"},
		{"a negation", "NOT color = 'red'", "NOT color = 'red' is false: color is \"red\""},
		{"the values of functions", "startswith(lower(color), 'b')", "startswith(lower(color), 'b') is false: color is \"red\", lower(color) is \"red\""},
		{"a variable", "@hot", "@hot is false"},
		{"what a nested query runs over", "EXISTS (SELECT * FROM list AS x WHERE x = 3)", "EXISTS (SELECT * FROM list AS x WHERE x = 3) is false: list is [1,2]"},
		{"a text that says true is no Boolean", "on", "on is \"true\""},
		{"a value that is no Boolean", "temp", "temp is 40"},
		{"Null", "none", "none is null"},
		{"long values are cut", "long = 'x'", "long = 'x' is false: long is \"" + strings.Repeat("0123456789", 19) + "012345678..."},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			rule, err := Compile("SET @hot = temp > 50 SELECT * FROM 'a' WHERE "+c.where, V2016)
			if err != nil {
				t.Fatal(err)
			}
			m := &Message{Topic: "a", Payload: []byte(payload)}
			got, err := rule.Explain(m)
			if err != nil || got.String() != c.want || got.Fired != (c.want == "") {
				t.Errorf("got fired %v, %q, %v, want %q", got.Fired, got, err, c.want)
			}
			if result, err := rule.Eval(m); err != nil || result.Fired != got.Fired {
				t.Errorf("Eval: fired %v, %v", result.Fired, err)
			}
		})
	}
}

func TestAReasonTellsItsPlaceInTheStatement(t *testing.T) {
	t.Parallel()
	const sql = "SELECT * FROM 'a' WHERE x = 1 AND y = 2"
	rule, err := Compile(sql, V2016)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rule.Explain(&Message{Topic: "a", Payload: []byte(`{"x":1,"y":3}`)})
	if err != nil || len(got.Reasons) != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
	r := got.Reasons[0]
	if at := sql[r.Offset : r.Offset+r.Length]; at != "y = 2" {
		t.Errorf("the place is %q", at)
	}
}

func TestExplainSaysWhyATopicDoesNotTriggerTheRule(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, sql, topic, want string }{
		{"another topic", "SELECT * FROM 'a/+'", "b", "the topic b does not match 'a/+'"},
		{"no filter at all", "SELECT *", "b", "without FROM only Basic Ingest triggers the rule"},
		{"Basic Ingest goes past the filter", "SELECT * FROM 'a'", "$aws/rules/r/b", ""},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			rule, err := Compile(c.sql, V2016)
			if err != nil {
				t.Fatal(err)
			}
			got, err := rule.Explain(&Message{Topic: c.topic})
			if err != nil || got.String() != c.want || got.Fired != (c.want == "") {
				t.Errorf("got fired %v, %q, %v", got.Fired, got, err)
			}
		})
	}
}
