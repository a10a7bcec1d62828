package iotsql

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestStatementsBeyondALimitAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, sql string
		limit      error
	}{
		{"too long", "SELECT '" + strings.Repeat("x", MaxStatementBytes) + "' AS x FROM 'a'", ErrStatementTooLong},
		{"parentheses", "SELECT " + strings.Repeat("(", MaxNesting+1) + "1" + strings.Repeat(")", MaxNesting+1) + " FROM 'a'", ErrNestingTooDeep},
		{"negations", "SELECT " + strings.Repeat("NOT ", MaxNesting+1) + "a FROM 'a'", ErrNestingTooDeep},
		{"minus signs", "SELECT " + strings.Repeat("- ", MaxNesting+1) + "a FROM 'a'", ErrNestingTooDeep},
		{"array literals", "SELECT " + strings.Repeat("[", 10000) + " FROM 'a'", ErrNestingTooDeep},
		{"calls", "SELECT " + strings.Repeat("abs(", 10000) + " FROM 'a'", ErrNestingTooDeep},
		{"nested queries", "SELECT " + strings.Repeat("(SELECT ", 10000) + " FROM 'a'", ErrNestingTooDeep},
		{"queries in FROM", "SELECT " + strings.Repeat("(SELECT a FROM ", 10000) + " FROM 'a'", ErrNestingTooDeep},
		{"CASE", "SELECT " + strings.Repeat("CASE ", 10000) + " FROM 'a'", ErrNestingTooDeep},
		{"a long sum", "SELECT a" + strings.Repeat("+a", maxTerms+1) + " FROM 'a'", ErrNestingTooDeep},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			_, err := Compile(c.sql, V2016)
			var fault *SyntaxError
			if !errors.Is(err, c.limit) || !errors.As(err, &fault) {
				t.Errorf("got %v, want %v in a SyntaxError", err, c.limit)
			}
		})
	}
}

func TestEvaluationsBeyondALimitEndWithItsError(t *testing.T) {
	t.Parallel()
	text := `{"s":"` + strings.Repeat("ab", 50000) + `"}`
	list := `{"l":[` + strings.Repeat("1,", 50000) + `1]}`
	doubled := "SET @a = concat(l, l)"
	for _, v := range "bcdefghijklmnopqrstuvwxyz" {
		doubled += ", @" + string(v) + " = concat(@" + string(v-1) + ", @" + string(v-1) + ")"
	}
	nestedTwice := "SET @a = {'x': s}"
	for _, v := range "bcdefghijklmnopqrstuvwxyz" {
		nestedTwice += ", @" + string(v) + " = {'x': @" + string(v-1) + ", 'y': @" + string(v-1) + "}"
	}
	for _, c := range []struct {
		claim, sql, payload string
		limit               error
	}{
		{"text that grows", "SELECT replace(replace(s, 'a', s), 'b', s) AS x FROM 'a'", text, ErrOutputTooLarge},
		{"text that grows by a pattern", "SELECT regexp_replace(s, '.', '$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0') AS x FROM 'a'", text, ErrOutputTooLarge},
		{"text in base64", "SELECT encode(concat(s,s,s,s,s,s,s,s), 'base64') AS x FROM 'a'", text, ErrOutputTooLarge},
		{"lists that double", doubled + " SELECT @z AS x FROM 'a'", list, ErrOutputTooLarge},
		{"objects that double", nestedTwice + " SELECT @z AS x FROM 'a'", text, ErrOutputTooLarge},
		{"many columns", "SELECT " + strings.Repeat("s AS x, [s,s,s,s] AS y, ", 1) + "[s,s,s,s,s,s] AS z FROM 'a'", text, ErrOutputTooLarge},
		{"nested queries in each other", "SET @l = l SELECT (SELECT VALUE (SELECT VALUE (SELECT VALUE 1 FROM @l) FROM @l) FROM @l) AS x FROM 'a'", list, ErrTooMuchWork},
		{"a long comparison for each element", "SET @l = l SELECT (SELECT VALUE @l = [1] FROM @l) AS x FROM 'a'", list, ErrTooMuchWork},
		{"a pattern that is too large", "SELECT regexp_matches(s, s) AS x FROM 'a'", text, ErrTooMuchWork},
		{"a pattern that repeats too much", "SELECT regexp_matches(s, '" + strings.Repeat("a{900}", 6) + "') AS x FROM 'a'", text, ErrTooMuchWork},
		{"a pattern with too many groups", "SELECT regexp_matches(s, '" + strings.Repeat("(a)*", 101) + "') AS x FROM 'a'", text, ErrTooMuchWork},
		{"a pattern that looks through the text for each match", "SELECT regexp_replace(s, '(a*)*c|a|b', '') AS x FROM 'a'", strings.ReplaceAll(text, "ab", "aa"), ErrTooMuchWork},
		{"a time for each element", "SELECT (SELECT VALUE time_to_epoch('2016', '[[[[[[yyyy]]]]]]') FROM l) AS x FROM 'a'", list, ErrTooMuchWork},
		{"a pattern for each element", "SET @s = (SELECT VALUE 'x' FROM l) SELECT (SELECT VALUE regexp_matches(@s, '(a*)*b') FROM @s) AS x FROM 'a'", list, ErrTooMuchWork},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			rule, err := Compile(c.sql, V2016)
			if err != nil {
				t.Fatal(err)
			}
			result, err := rule.Eval(&Message{Topic: "a", Payload: []byte(c.payload)})
			if !errors.Is(err, c.limit) || result.Fired {
				t.Errorf("fired %v, %v, want %v", result.Fired, err, c.limit)
			}
		})
	}
}

// Not parallel: memory is counted for the whole process.
func TestHostileEvaluationsStayWithinTheirMemory(t *testing.T) {
	list := `{"l":[` + strings.Repeat("1,", 60000) + `1]}`
	sql := "SET @a = concat(l, l)"
	for _, v := range "bcdefghijklmnop" {
		sql += ", @" + string(v) + " = {'x': @" + string(v-1) + ", 'y': [@" + string(v-1) + ", @" + string(v-1) + "]}"
	}
	rule, err := Compile(sql+" SELECT @p AS x FROM 'a'", V2016)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = rule.Eval(&Message{Topic: "a", Payload: []byte(list)})
	runtime.ReadMemStats(&after)
	const most = 100 << 20
	if used := after.TotalAlloc - before.TotalAlloc; used > most || !errors.Is(err, ErrOutputTooLarge) {
		t.Errorf("%d MiB, %v", used>>20, err)
	}
}

func TestHostilePayloads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, sql, payload, want string
		err                       error
	}{
		{"JSON that nests too deep is refused", "SELECT a FROM 'a'", `{"a":` + strings.Repeat("[", maxPayloadDepth+1) + strings.Repeat("]", maxPayloadDepth+1) + `}`, "", ErrPayload},
		{"brackets without end", "SELECT a FROM 'a'", `{"a":` + strings.Repeat("[", 100000), "", ErrPayload},
		{"a huge exponent is Undefined", "SELECT a, b FROM 'a'", `{"a":1E999999,"b":1}`, `{"b":1}`, nil},
		{"a huge exponent of no number at all", "SELECT a FROM 'a'", `{"a":1E99999999999999999999}`, `{}`, nil},
		{"a tiny one is zero", "SELECT a FROM 'a'", `{"a":1E-999999}`, `{"a":0}`, nil},
		{"zero has any exponent", "SELECT a FROM 'a'", `{"a":0E999999}`, `{"a":0}`, nil},
		{"a huge exponent passes through *", "SELECT * FROM 'a'", `{"a":1E999999}`, `{"a":1E999999}`, nil},
		{"sums over huge exponents", "SELECT a + b AS c FROM 'a'", `{"a":1E999,"b":1E-999}`, `{"c":1.000000000000000000000000000000000E+999}`, nil},
		{"many digits are rounded", "SELECT a FROM 'a'", `{"a":1.` + strings.Repeat("3", 5000) + `}`, `{"a":1.333333333333333333333333333333333}`, nil},
		{"text that is not UTF-8", "SELECT a FROM 'a'", "{\"a\":\"\xff\"}", "", ErrPayload},
		{"NUL is no white space", "SELECT a FROM 'a'", "{}\x00", "", ErrPayload},
		{"a pattern that explodes elsewhere", "SELECT regexp_matches(a, '(a*)*b') AS m FROM 'a'", `{"a":"` + strings.Repeat("a", 50000) + `"}`, `{"m":false}`, nil},
		{"a pattern from the payload that is too large", "SELECT regexp_matches('x', a) AS m FROM 'a'", `{"a":"((x{1000}){1000}){1000}"}`, `{}`, nil},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			rule, err := Compile(c.sql, V2016)
			if err != nil {
				t.Fatal(err)
			}
			result, err := rule.Eval(&Message{Topic: "a", Payload: []byte(c.payload)})
			if !errors.Is(err, c.err) || string(result.Payload) != c.want {
				t.Errorf("got %.200s, %v, want %s, %v", result.Payload, err, c.want, c.err)
			}
		})
	}
}

func TestARuleIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	rule, err := Compile(`SET @low = lower(name), @id = newuuid()
		SELECT *, @low AS low, @id = @id AS same, (SELECT VALUE v * 2 FROM list WHERE v > 1) AS doubled,
		regexp_replace(name, '([A-Z])', '<$1>') AS marked, parse_time('yyyy', t, 'Europe/Paris') AS year
		FROM 'a/+' WHERE startswith(@low, 'de') AND 3 IN [1, n]`, V2016)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := rule.CompileTemplate("${@low}/${topic(2)}")
	if err != nil {
		t.Fatal(err)
	}
	const goroutines, rounds = 32, 50
	var wait sync.WaitGroup
	for range goroutines {
		wait.Go(func() {
			for range rounds {
				m := &Message{Topic: "a/b", Payload: []byte(`{"name":"Device","n":3,"list":[{"v":1},{"v":2}],"t":1481825251155}`)}
				result, err := rule.Eval(m)
				want := `{"name":"Device","n":3,"list":[{"v":1},{"v":2}],"t":1481825251155,"low":"device","same":true,"doubled":[4],"marked":"<D>evice","year":"2016"}`
				if err != nil || string(result.Payload) != want {
					t.Errorf("got %s, %v", result.Payload, err)
				}
				if why, err := rule.Explain(m); err != nil || !why.Fired {
					t.Errorf("got %v, %v", why, err)
				}
				if topic, err := tmpl.Eval(m); err != nil || topic != "device/b" {
					t.Errorf("got %s, %v", topic, err)
				}
			}
		})
	}
	wait.Wait()
}
