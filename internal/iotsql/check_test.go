package iotsql

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, sql, republish string
		want                  []string // place and beginning of each problem
	}{
		{"the scenario's rule is sound", scenarioSQL, "/lwt/executed", nil},
		{"a wrong number of arguments", "SELECT topic(1, 2) FROM 'a'", "", []string{"line 1, column 17: topic takes 0 to 1 argument, not 2"}},
		{"a text that is no number is compared", "SELECT * FROM 'a' WHERE temp > 'hot'", "", []string{"line 1, column 32: always Undefined: > takes numbers, this is the String 'hot'"}},
		{"a text that is a number may be compared", "SELECT * FROM 'a' WHERE temp > '20'", "", nil},
		{"a comparison with undefined", "SELECT * FROM 'a' WHERE temp = undefined", "", []string{"line 1, column 32: always Undefined: = with Undefined; use isUndefined"}},
		{"types that are never equal", "SELECT * FROM 'a' WHERE topic(2) = 5", "", []string{"line 1, column 25: always false: String and the Int 5 are never equal"}},
		{"Int and Decimal may be equal", "SELECT * FROM 'a' WHERE 5 = 5.5", "", nil},
		{"a WHERE that is no Boolean", "SELECT * FROM 'a' WHERE temp + 1", "", []string{"line 1, column 25: WHERE is never true: this is Int or Decimal or String"}},
		{"AND with a number", "SELECT * FROM 'a' WHERE on AND 1", "", []string{"line 1, column 32: always Undefined: AND takes a Boolean"}},
		{"IN without an Array", "SELECT * FROM 'a' WHERE x IN 'abc'", "", []string{"line 1, column 30: always Undefined: IN looks into an Array"}},
		{"a column without a name", "SELECT 1 + temp FROM 'a'", "", []string{"line 1, column 8: this column has no name"}},
		{"a name for a VALUE", "SELECT VALUE temp AS t FROM 'a'", "", []string{"line 1, column 14: SELECT VALUE gives the value itself"}},
		{"a nested query is checked too", "SELECT (SELECT v FROM e WHERE n < true) AS x FROM 'a'", "", []string{"line 1, column 35: always Undefined: <"}},
		{"a variable has the type of its value", "SET @room = upper(room) SELECT * FROM 'a' WHERE @room = 5", "", []string{"line 1, column 49: always false: String and the Int 5 are never equal"}},
		{"a pattern that does not compile", "SELECT * FROM 'a' WHERE regexp_matches(x, '(')", "", []string{"line 1, column 43: error parsing regexp: missing closing ): `(`; the result is Undefined here"}},
		{"a pattern of Java's", "SELECT * FROM 'a' WHERE regexp_matches(x, '(?=a)')", "", []string{"line 1, column 43: error parsing regexp: invalid or unsupported Perl syntax"}},
		{"a variable for a mode", "SET @m = 'enrichArray' SELECT transform(@m, o, l) AS t FROM 'a'", "", []string{"line 1, column 41: transform takes no variable here"}},
		{"a variable for a role", "SET @r = 'arn' SELECT get_thing_shadow(@r, @r) AS s FROM 'a'", "", []string{"line 1, column 44: get_thing_shadow takes no variable here"}},
		{"get_dynamodb twice", "SELECT get_dynamodb('t', 'k', x, 'arn').a AS a, get_dynamodb('t', 'k', x, 'arn').b AS b FROM 'a'", "", []string{"line 1, column 49: get_dynamodb is called a second time"}},
		{"a filter of Basic Ingest", "SELECT * FROM '$aws/rules/x/y'", "", nil},
		{"of Basic Ingest with many levels", "SELECT * FROM '$aws/rules/x/1/2/3/4/5/6/7/8'", "", nil},
		{"* as if it were a wildcard", "SELECT * FROM 'a/*'", "", []string{"line 1, column 15: * is not a wildcard in a topic filter"}},
		{"* within a level", "SELECT * FROM 'a/b*/c'", "", []string{"line 1, column 15: * is not a wildcard in a topic filter"}},
		{"a filter with more slashes than a topic has", "SELECT * FROM 'a/b/c/d/e/f/g/h/i'", "", []string{"line 1, column 15: this filter never matches: it has 8 slashes"}},
		{"a filter longer than a topic", "SELECT * FROM '" + strings.Repeat("x", 257) + "'", "", []string{"line 1, column 15: this filter never matches: it needs at least 257 bytes"}},
		{"republishing to its own topic", "SELECT * FROM 'a/b'", "a/b", []string{"line 1, column 15: the republish topic \"a/b\" matches this filter"}},
		{"republishing below its own filter", "SELECT * FROM 'a/#'", "${topic()}/copy", []string{"line 1, column 15: the republish topic"}},
		{"republishing beside its own filter", "SELECT * FROM 'a/+'", "${topic()}/copy", nil},
		{"republishing to a topic that a value completes", "SELECT * FROM 'dev/+/in'", "dev/${id}/in", []string{"line 1, column 15: the republish topic"}},
		{"republishing to another last level", "SELECT * FROM 'dev/+/in'", "dev/${topic(2)}/out", nil},
		{"republishing with a prefix", "SELECT * FROM 'in/+'", "out-${topic(1)}/x", nil},
		{"a republish topic that does not compile", "SELECT * FROM 'a'", "${", []string{"line 1, column 15: the republish topic \"${\": line 1, column 1: ${ is not closed"}},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			rule, err := Compile(c.sql, V2016)
			if err != nil {
				t.Fatal(err)
			}
			var republish []string
			if c.republish != "" {
				republish = append(republish, c.republish)
			}
			got := rule.Check(republish...)
			if len(got) != len(c.want) {
				t.Fatalf("found %v, want %v", got, c.want)
			}
			for i, p := range got {
				if !strings.HasPrefix(p.String(), c.want[i]) {
					t.Errorf("found %s, want %s", p, c.want[i])
				}
			}
		})
	}
}

func TestWhatAWSMayTakeIsAWarning(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sql     string
		warning bool
	}{
		{"SELECT 1 + 2 FROM 'a'", true},
		{"SELECT regexp_matches(x, '(?=a)') AS m FROM 'a'", true},
		{"SELECT topic(1, 2) AS t FROM 'a'", false},
		{"SELECT * FROM 'a' WHERE true > 1", false},
	} {
		rule, err := Compile(c.sql, V2016)
		if err != nil {
			t.Fatal(err)
		}
		if got := rule.Check(); len(got) != 1 || got[0].Warning != c.warning {
			t.Errorf("%s: %+v", c.sql, got)
		}
	}
}
