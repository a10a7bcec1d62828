package iotsql

import (
	"errors"
	"strings"
	"testing"
)

func TestFaultsShowTheirPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, sql, message, snippet string }{
		{
			"a word", "SELECT * FROM 'a' WHERE x LIKE 1",
			"line 1, column 27: LIKE is not in the AWS IoT SQL reference here: use regexp_matches, startswith, endswith or indexof",
			"SELECT * FROM 'a' WHERE x LIKE 1\n                          ^^^^",
		},
		{
			"the end", "SELECT *,",
			"line 1, column 10: expected an expression, found the end of the statement",
			"SELECT *,\n         ^",
		},
		{
			"another line", "SELECT *\nFROM 'a'\n\tWHERE !x",
			"line 3, column 8: unexpected !: not equal is written <>",
			"\tWHERE !x\n\t      ^",
		},
		{
			"columns count characters", "SELECT 'é☕' !",
			"line 1, column 13: unexpected !: not equal is written <>",
			"SELECT 'é☕' !\n            ^",
		},
		{
			"a string that is not closed", "SELECT 'a FROM b",
			"line 1, column 8: the string is not closed: expected '",
			"SELECT 'a FROM b\n       ^^^^^^^^^",
		},
		{
			"a typographic quote", "SELECT ‘a’",
			"line 1, column 8: unexpected typographic quote '‘': strings are written 'text' or \"text\"",
			"SELECT ‘a’\n       ^",
		},
		{
			"a number run into a name", "SELECT 1a",
			"line 1, column 8: 1a is neither a number nor a name",
			"SELECT 1a\n       ^^",
		},
		{
			"nothing at all", "",
			"line 1, column 1: expected SELECT, found the end of the statement",
			"\n^",
		},
		{
			"a long line is cut on both sides", "SELECT " + strings.Repeat("a, ", 50) + "!" + strings.Repeat(" ", 100),
			"line 1, column 158: unexpected !: not equal is written <>",
			"..." + strings.Repeat("a, ", 20) + "!" + strings.Repeat(" ", 59) + "...\n" + strings.Repeat(" ", 63) + "^",
		},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			_, err := Compile(c.sql, V2016)
			var fault *SyntaxError
			if !errors.As(err, &fault) {
				t.Fatalf("got %v", err)
			}
			if fault.Error() != c.message {
				t.Errorf("message\n%s\nwant\n%s", fault, c.message)
			}
			if fault.Snippet() != c.snippet {
				t.Errorf("snippet\n%s\nwant\n%s", fault.Snippet(), c.snippet)
			}
		})
	}
}

func TestAnUnknownVersionIsRefused(t *testing.T) {
	t.Parallel()
	const want = `no SQL version "2020": there are 2015-10-08, 2016-03-23 and beta`
	if _, err := Compile("SELECT *", "2020"); err == nil || err.Error() != want {
		t.Errorf("Compile: %v", err)
	}
	if _, err := CompileTemplate("x", "2020"); err == nil || err.Error() != want {
		t.Errorf("CompileTemplate: %v", err)
	}
}

// TestPrinting: the normal form of each construct. That it compiles to the same
// rule is FuzzCompile's claim and the conformance tests'.
func TestPrinting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sql, want string }{
		{"select  *\nfrom 'a'  where a=1 and(b<>2)", "SELECT * FROM 'a' WHERE a = 1 AND b <> 2"},
		{"SELECT (a+b)*c, a+(b*c), a-(b-c), (a-b)-c", "SELECT (a + b) * c, a + b * c, a - (b - c), a - b - c"},
		{"SELECT (a OR b) AND NOT (c AND d) AS x", "SELECT (a OR b) AND NOT (c AND d) AS x"},
		{"SELECT NOT NOT a, (NOT a) = b, NOT (a = b)", "SELECT NOT NOT a, (NOT a) = b, NOT a = b"},
		{"SELECT -a, -(a+b), -(1), - -a, a - -1", "SELECT -a, -(a + b), -(1), -(-a), a - -1"},
		{`SELECT VALUE "it's" + 'say "x"'`, `SELECT VALUE 'it''s' + 'say "x"'`},
		{"SELECT *.select, *.true.x, a.from", "SELECT *.select, *.true.x, a.from"},
		{"SELECT (a).b, (a + b).c, f.*, get(x, 0).y.z", "SELECT a.b, (a + b).c, f.*, get(x, 0).y.z"},
		{"SET @a = 1,@b=@a.x SELECT @b.y", "SET @a = 1, @b = @a.x SELECT @b.y"},
		{"SELECT case a when 1 then 2 else 3 end x, 1", ""},
		{"SELECT case a when 1 then 2 else 3 end as x", "SELECT CASE a WHEN 1 THEN 2 ELSE 3 END AS x"},
		{"SELECT {'a':[1,2,],'b':{}} AS x", "SELECT {'a': [1, 2], 'b': {}} AS x"},
		{"SELECT (select value n from (e) as x where x.n in [1]) as y", "SELECT (SELECT VALUE n FROM e AS x WHERE x.n IN [1]) AS y"},
		{"SELECT exists(select * from a+b) AS y", ""},
		{"SELECT exists(select * from (a+b)) AS y", "SELECT EXISTS (SELECT * FROM (a + b)) AS y"},
		{"SELECT Cast(a as DOUBLE), TRUE, Undefined, 1e3", "SELECT cast(a AS DOUBLE), true, undefined, 1e3"},
	} {
		rule, err := Compile(c.sql, V2016)
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s compiles to %s", c.sql, rule)
		case c.want == "":
		case err != nil:
			t.Errorf("%s: %v", c.sql, err)
		case rule.String() != c.want:
			t.Errorf("%s\nprints as  %s\nwant       %s", c.sql, rule, c.want)
		}
	}
}
