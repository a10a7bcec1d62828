package casefile

import (
	"strings"
	"testing"
)

func run(t *testing.T, file string) []error {
	t.Helper()
	cases, err := Parse(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var results []error
	for _, c := range cases {
		results = append(results, c.Run())
	}
	return results
}

const header = `
# a file of cases
sql: SELECT a FROM 't' WHERE b = 1
topic: t
`

func TestCases(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, file, want string }{
		{"what is wanted passes", header + "case: x\npayload: {\"a\":1,\"b\":1}\nwant: {\"a\":1}", ""},
		{"white space and order do not count", "sql: SELECT * FROM 't'\ntopic: t\ncase: x\npayload: {\"a\":1,\"b\":2}\nwant: { \"b\" : 2, \"a\" : 1 }", ""},
		{"digits do", header + "case: x\npayload: {\"a\":1.50,\"b\":1}\nwant: {\"a\":1.5}", `want {"a":1.5}, got {"a":1.50}`},
		{"no match tells the reason", header + "case: x\npayload: {\"b\":2}\nwant: {}", "want {}, got no match: b = 1 is false: b is 2"},
		{"no match can be wanted", header + "case: x\npayload: {\"b\":2}\nwant: no match", ""},
		{"a match where none is wanted", header + "case: x\npayload: {\"b\":1}\nwant: no match", "want no match, got {}"},
		{"another topic does not match", header + "case: x\ntopic: u\nwant: no match", ""},
		{"an error can be wanted", header + "case: x\nsql: SELECT\nwant: error expected an expression", ""},
		{"another error is none", header + "case: x\nsql: SELECT\nwant: error something else", `want an error with "something else", got: line 1`},
		{"an error where none is wanted", header + "case: x\npayload: no json\nwant: {}", "want {}, got an error: the payload is not a JSON object"},
		{"nothing", "sql: SELECT VALUE a FROM 't'\ntopic: t\ncase: x\nwant: nothing", ""},
		{"bytes in base64 and text", "sql: SELECT * FROM 't'\ntopic: t\ncase: x\npayload base64: aGk=\nwant: text hi", ""},
		{"a value over several lines", "sql: SELECT *\n  FROM 't'\ntopic: t\ncase: x\npayload:\n  {\"a\":\n  1}\nwant: {\"a\":1}", ""},
		{"the clock is set", "sql: SELECT VALUE timestamp() FROM 't'\ntopic: t\ntimestamp: 1000\ncase: x\nwant: 1000", ""},
		{"a wish that is no JSON", header + "case: x\npayload: {\"b\":1}\nwant: maybe", "want maybe is neither JSON"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			err := run(t, c.file)[0]
			if c.want == "" && err != nil {
				t.Errorf("failed: %v", err)
			}
			if c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestASeparatorBeginsAnew(t *testing.T) {
	t.Parallel()
	file := header + `
case: one
payload: {"a":1,"b":1}
want: {"a":1}
---
sql: SELECT VALUE a FROM 'u'
topic: u

case: two
payload: {"a":2}
want: 2
`
	for i, err := range run(t, file) {
		if err != nil {
			t.Errorf("case %d: %v", i+1, err)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, file, want string }{
		{"no case", "sql: SELECT * FROM 't'", "there is no case in it"},
		{"an unknown field", "case: x\npayloads: {}", "line 2: expected FIELD: VALUE"},
		{"no field", "case: x\nwhatever", "line 2: expected FIELD: VALUE"},
		{"nothing to continue", "  x", "line 1: an indented line"},
		{"a case without a statement", "\ncase: x\ntopic: t\nwant: {}", `line 2: the case "x" has no sql`},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(strings.NewReader(c.file))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
