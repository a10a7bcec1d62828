package conformance

import (
	"fmt"
	"strings"
	"testing"

	"lastwill/internal/iotsql"
	"lastwill/internal/will"
)

// absences are ways for a value to be missing, with what stands in the same place
// when it is there. SET goes before the statement.
var absences = []struct{ claim, set, missing, there string }{
	{"an attribute", "", "none", "on"},
	{"an attribute of an Object", "", "o.none", "o.on"},
	{"an attribute below another that is missing", "", "none.at.all", "o.deep.on"},
	{"an attribute of a String", "", "s.none", "o.on"},
	{"an attribute of Null", "", "z.none", "o.on"},
	{"an attribute of an Array", "", "list.none", "o.on"},
	{"an attribute in another case", "", "ON", "on"},
	{"the word undefined", "", "undefined", "on"},
	{"an element beyond the end", "", "get(list, 9)", "get(list, 0)"},
	{"a key that get does not find", "", "get(o, 'none')", "get(o, 'on')"},
	{"a function of what is missing", "", "startswith(none, 't')", "startswith(s, 't')"},
	{"a function with a wrong argument", "", "topic(9)", "topic(1) = 't'"},
	{"a CASE without a match", "", "CASE s WHEN 'x' THEN true END", "CASE s WHEN 'text' THEN true END"},
	{"a CASE over what is missing", "", "CASE none WHEN 1 THEN true ELSE true END", "CASE s WHEN 'x' THEN true ELSE true END"},
	{"a variable", "SET @v = none ", "@v", "on"},
	{"Null", "", "z", "on"},
}

// A WHERE with a missing value on either side of any operator does not fire: the
// result is Undefined (developer guide, iot-sql-operators; AND and OR with another
// side that would decide are [LIVE]).
func TestWhereWithAMissingValue(t *testing.T) {
	t.Parallel()
	conditions := []string{
		"%s", "NOT %s", "NOT (NOT %s)",
		"%s AND on", "on AND %s", "%s AND no", "no AND %s", "%s AND %[1]s",
		"on AND (on AND %s)", "on AND (%s AND on)", "(%s AND on) AND on", "(on AND %s) AND on",
		"%s OR on", "on OR %s", "%s OR no", "no OR %s", "no OR (%s OR no)",
		"NOT (%s AND on)", "NOT (on AND %s)", "NOT (%s AND no)", "NOT (%s OR no)", "NOT (no OR %s)",
	}
	// With a missing value these are Undefined, and so is NOT of them.
	for _, op := range []string{"<", "<=", ">", ">="} {
		conditions = append(conditions, "%s "+op+" 1", "1 "+op+" %s", "NOT (%s "+op+" 1)", "NOT (1 "+op+" %s)")
	}
	for _, op := range []string{"+", "-", "*", "/", "%%"} {
		conditions = append(conditions, "(%s "+op+" 1) <> 5", "(1 "+op+" %s) <> 5")
	}
	conditions = append(conditions, "-%s <> 5", "%s + 'a' <> 'b'", "'a' + %s <> 'b'", "1 IN %s", "NOT 1 IN %s",
		"exists (SELECT * FROM %s AS x)", "isUndefined(%s AND on) = false", "isUndefined(on AND %s) = false")
	const payload = `{"on":true,"no":false,"yes":"true","s":"text","z":null,"list":[true],"o":{"on":true,"deep":{"on":true}}}`
	cases := 0
	for _, a := range absences {
		equalities := []string{"%s = 1", "1 = %s", "%s = %[1]s", "%s <> 1", "1 <> %s", "%s <> %[1]s", "NOT (%s = 1)", "NOT (%s <> 1)", "%s IN [1]", "NOT %s IN [1]", "CASE %s WHEN 1 THEN true ELSE true END"}
		if a.claim == "Null" { // is a value to these
			equalities = nil
		}
		for _, condition := range append(equalities, conditions...) {
			cases++
			where := fmt.Sprintf(condition, a.missing)
			if fired(t, a.set+"SELECT * FROM 't' WHERE "+where, payload) {
				t.Errorf("%s: WHERE %s fires", a.claim, where)
			}
		}
		for _, condition := range []string{"%s", "%s AND on", "on AND %s", "%s OR no", "no OR %s", "on AND (%s AND on)", "NOT (%s AND no)"} {
			where := fmt.Sprintf(condition, a.there)
			if !fired(t, "SELECT * FROM 't' WHERE "+where, payload) {
				t.Errorf("%s: WHERE %s does not fire", a.claim, where)
			}
		}
	}
	t.Logf("%d cases", cases)
}

// The rule of the scenario needs both attributes, each with its value.
func TestWhereOfTwoAttributes(t *testing.T) {
	t.Parallel()
	sql := will.SQL("t")
	values := []string{"", `null`, `true`, `1`, `""`, `"off"`, `"YES"`, `["yes"]`, `{"yes":"yes"}`, `"yes"`, `"on"`}
	for _, left := range values {
		for _, right := range values {
			var members []string
			for name, v := range map[string]string{"last_will": left, "trigger_action": right} {
				if v != "" {
					members = append(members, fmt.Sprintf("%q:%s", name, v))
				}
			}
			payload := `{"state":{"reported":{` + strings.Join(members, ",") + `}}}`
			if got, want := fired(t, sql, payload), left == `"yes"` && right == `"on"`; got != want {
				t.Errorf("%s fires: %v, want %v", payload, got, want)
			}
		}
	}
	for _, payload := range []string{`{}`, `{"state":{}}`, `{"state":null}`, `{"state":{"reported":"yes"}}`, `{"state":[]}`, ``} {
		if fired(t, sql, payload) {
			t.Errorf("%q fires", payload)
		}
	}
}

// fired reports whether a rule fires, and that its explanation says the same.
func fired(t *testing.T, sql, payload string) bool {
	t.Helper()
	rule, err := iotsql.Compile(sql, iotsql.V2016)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	m := &iotsql.Message{Topic: "t", Payload: []byte(payload)}
	result, err := rule.Eval(m)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	why, err := rule.Explain(m)
	if err != nil || why.Fired != result.Fired || !why.Fired && len(why.Reasons) == 0 {
		t.Errorf("%s fires: %v, explained as %v (%v)", sql, result.Fired, why, err)
	}
	return result.Fired
}
