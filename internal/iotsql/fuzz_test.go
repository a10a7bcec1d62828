package iotsql

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// seeds are statements of every construct, and hostile ones.
var seeds = []string{
	scenarioSQL,
	"SELECT *",
	"SELECT VALUE value FROM 'a'",
	"SELECT value.value, value * 2 AS x, *.y FROM '+/b/#' WHERE value IN [1, 'a', null]",
	"SET @a = 1, @b = @a + x.y SELECT @b.c AS d.e, state.*, @a FROM '#' WHERE NOT @a > 1 OR true",
	"SELECT CASE a WHEN 1 THEN 'x' WHEN b THEN {'k': [1, 2.5E-3]} ELSE get(*, 'odd key') END AS c FROM 'a'",
	"SELECT (SELECT VALUE n FROM e AS x WHERE x.v >= -1) AS s, exists (SELECT * FROM e) AS t FROM 'a'",
	"SELECT cast(a AS Decimal) / b % 3 - -c AS n, abs(a) + '' AS m FROM 'a' WHERE a <> b AND c <= 1",
	"SELECT decode(encode(*, 'base64'), 'base64').x, regexp_replace(s, '(a)(b)?', '$1\\$$2') FROM 'a'",
	"SELECT parse_time('yyyy-MM-dd''T''HH:mm:ss.SSSZZ z', t, 'Europe/Paris'), time_to_epoch(s, 'dd MMMM yyyy VV') FROM 'a'",
	"SELECT transform('enrichArray', o, l), concat(l, 1), lpad(s, 1E9), substring(s, -1, 1E40) FROM 'a'",
	"SELECT 1E999999, 1E-999999, 99999999999999999999999999999999999999 FROM 'a'",
	"SELECT power(10, 308) * 1E900, bitnot(1E33), trunc(1E-900, 99), round(a), cast(1E900 AS Int) FROM 'a'",
	"SELECT " + strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200) + " FROM 'a'",
	"SELECT " + strings.Repeat("NOT ", 300) + "a FROM 'a'",
	"SELECT " + strings.Repeat("[", 300) + " FROM 'a'",
	"SELECT " + strings.Repeat("a+", 2000) + "a FROM 'a'",
	"SELECT regexp_matches(s, '(a*)*b'), regexp_matches(s, 'x{1000}{1000}') FROM 'a'",
	"SELECT replace(replace(replace(s, '', s), '', s), '', s) FROM 'a'",
	"SELECT 'it''s', \"say \"\"x\"\"\" FROM 'a' WHERE x LIKE 1",
	"SELECT \xff FROM 'a'", "SELECT 'open", "SELECT @", "${", "",
}

var payloadSeeds = []string{
	``, `{}`, scenarioWill, `[1]`, `"x"`, `1E999999`, "\x00\xff",
	`{"a":1,"b":"2","c":null,"e":[{"n":1,"v":2.5},3,null],"x":{"y":{"c":[]}},"s":"ab\u00e9\ud83d\ude00\n","t":1481825251155,"o":{"k":1},"l":[{"a":1}],"value":{"value":-0.0}}`,
	`{"a":1E999999,"b":1E-999999,"c":12345678901234567890123456789012345678901234567890}`,
	`{"a":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`,
	`{"s":"` + strings.Repeat("a", 3000) + `"}`,
	`{"a":1,"a":{"a":2}}`, `[10.0,1e3,-0,-0.00,1E33,1e34,2.5E1,1e-3,0e9]`, `1E2`, `{"a":"\ud800"}`, `{"a" :`, `{"a":01}`, ` { "a" : 1 } `,
}

// patience bounds one evaluation, far above what any should take.
const patience = 10 * time.Second

func FuzzCompile(f *testing.F) {
	for _, sql := range seeds {
		f.Add(sql, false)
		f.Add(sql, true)
	}
	f.Fuzz(func(t *testing.T, sql string, old bool) {
		v := V2016
		if old {
			v = V2015
		}
		rule, err := Compile(sql, v)
		if err != nil {
			checkFault(t, sql, err)
			return
		}
		printed := rule.String()
		again, err := Compile(printed, v)
		if err != nil {
			t.Fatalf("%q prints as %q, which does not compile: %v", sql, printed, err)
		}
		if again.String() != printed {
			t.Fatalf("%q prints as %q, then as %q", sql, printed, again)
		}
		if rule.Filter() != again.Filter() {
			t.Fatalf("%q: filter %q, printed %q", sql, rule.Filter(), again.Filter())
		}
		rule.Check("${topic()}/x")
		rule.Tree()
	})
}

// checkFault holds a refusal to be a SyntaxError whose place is in the statement.
func checkFault(t *testing.T, sql string, err error) {
	t.Helper()
	var fault *SyntaxError
	if !errors.As(err, &fault) {
		t.Fatalf("%q is refused with a %T: %v", sql, err, err)
	}
	if fault.Offset < 0 || fault.Length < 0 || fault.Offset+fault.Length > len(sql) {
		t.Fatalf("%q: fault at %d, length %d", sql, fault.Offset, fault.Length)
	}
	if strings.Contains(fault.Error(), "\n") || !strings.Contains(fault.Snippet(), "^") {
		t.Fatalf("%q: %q, %q", sql, fault.Error(), fault.Snippet())
	}
}

func FuzzEval(f *testing.F) {
	for _, sql := range seeds {
		for _, payload := range payloadSeeds {
			f.Add(sql, []byte(payload), false)
		}
		f.Add(sql, []byte(payloadSeeds[7]), true)
	}
	f.Fuzz(func(t *testing.T, sql string, payload []byte, old bool) {
		v := V2016
		if old {
			v = V2015
		}
		rule, err := Compile(sql, v)
		if err != nil {
			return
		}
		m := &Message{Topic: "a/b/c", ClientID: "c1", Payload: payload, Time: time.UnixMilli(1481825251155)}
		start := time.Now()
		result, err := rule.Eval(m)
		why, whyErr := rule.Explain(&Message{Topic: "$aws/rules/r/x", Payload: payload, Time: m.Time})
		if took := time.Since(start); took > patience {
			t.Fatalf("%q over %q took %v", sql, payload, took)
		}
		if err != nil {
			checkEvalError(t, err)
			return
		}
		if whyErr == nil && why.Fired != result.Fired && !strings.Contains(strings.ToLower(sql), "rand") {
			t.Fatalf("%q over %q: Eval %v, Explain %v", sql, payload, result.Fired, why)
		}
		checkOutput(t, rule, payload, result)
	})
}

func checkEvalError(t *testing.T, err error) {
	t.Helper()
	for _, known := range []error{ErrPayload, ErrNotAvailable, ErrOutputTooLarge, ErrTooMuchWork} {
		if errors.Is(err, known) {
			return
		}
	}
	t.Fatalf("unexpected error: %v", err)
}

// checkOutput holds an output to be JSON, nothing, or the payload as it came.
func checkOutput(t *testing.T, rule *Rule, payload []byte, result Result) {
	t.Helper()
	switch {
	case !result.Fired && result.Payload != nil:
		t.Fatalf("%s: not fired, but with %q", rule, result.Payload)
	case len(result.Payload) > max(MaxOutputBytes, len(payload)):
		t.Fatalf("%s: %d bytes", rule, len(result.Payload))
	case len(result.Payload) == 0 || string(result.Payload) == string(payload):
	case !json.Valid(result.Payload):
		t.Fatalf("%s over %q: %q is no JSON", rule, payload, result.Payload)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"${topic()}/x", "$$aws/${a.b}", "${{'a': '}'}.a}", "${", "${a", "$", "${'${x}'}"} {
		f.Add(s, scenarioWill)
	}
	f.Fuzz(func(t *testing.T, s, payload string) {
		tmpl, err := CompileTemplate(s, V2016)
		if err != nil {
			checkFault(t, s, err)
			return
		}
		if _, err := tmpl.Eval(&Message{Topic: "a", Payload: []byte(payload)}); err != nil {
			checkEvalError(t, err)
		}
	})
}

// FuzzJSON holds the reader in place to encoding/json.
func FuzzJSON(f *testing.F) {
	for _, s := range payloadSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, ok := trimJSON(s, V2015)
		if !ok {
			if json.Valid([]byte(s)) && !tooDeep(s) && json.Valid([]byte(strings.ToValidUTF8(s, ""))) && strings.ToValidUTF8(s, "") == s {
				t.Fatalf("%q is JSON", s)
			}
			return
		}
		var want any
		if err := json.Unmarshal([]byte(s), &want); err != nil && !strings.Contains(err.Error(), "cannot unmarshal number") {
			t.Fatalf("%q is no JSON: %v", s, err)
		}
		compact := appendCompact(nil, text)
		c := checker{s: string(compact)}
		if _, ok := c.document(nil); !ok || c.loose {
			t.Fatalf("%q becomes %q", s, compact)
		}
		whole := ints(text)
		if !json.Valid([]byte(whole)) || ints(whole) != whole {
			t.Fatalf("%q becomes %q with Ints", s, whole)
		}
		if !(&env{}).equal(jsonValue(text, V2015), jsonValue(whole, V2015)) && isNumberText(text) {
			t.Fatalf("%q is another number than %q", text, whole)
		}
		printed := appendJSON(nil, decoded(&env{ver: V2015}, jsonValue(text, V2015)))
		if len(printed) > 0 && !json.Valid(printed) {
			t.Fatalf("%q prints as %q", s, printed)
		}
	})
}

func isNumberText(s string) bool { return s[0] == '-' || s[0] >= '0' && s[0] <= '9' }

func tooDeep(s string) bool { return strings.Count(s, "[")+strings.Count(s, "{") > maxPayloadDepth }

// decoded makes a value of its parts all the way down.
func decoded(e *env, v value) value {
	switch v.kind {
	case arrayKind:
		var items []value
		for _, item := range e.elements(v) {
			items = append(items, decoded(e, item))
		}
		return e.newArray(items)
	case objectKind:
		out := &nested{}
		members := e.members(v)
		for i, key := range members.keys {
			out.set(key, decoded(e, members.items[i]))
		}
		return e.newObject(out)
	}
	return v
}

// FuzzPattern holds findAll to package regexp.
func FuzzPattern(f *testing.F) {
	for _, p := range []string{"", "a", "^a", "\\ba*", "a*?", "(a)|b|$", "(?m)^.?$", "\\B", "(?i)É+", "(a*)*b|a", "x*", "\\Aa|(?:b)", ".", "(?s)."} {
		f.Add(p, "aab\na é😀ba")
		f.Add(p, "")
	}
	f.Fuzz(func(t *testing.T, p, s string) {
		re, err := compilePattern(p)
		if err != nil || !utf8.ValidString(s) {
			return
		}
		e := &env{}
		got, ok := re.findAll(e, s)
		if want := re.FindAllStringSubmatchIndex(s, -1); ok && !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("%q in %q: found %v, want %v", p, s, got, want)
		}
	})
}

func FuzzTimePattern(f *testing.F) {
	f.Add("2020-04-03 09:45:18 UTC+01:00", "yyyy-MM-dd HH:mm:ss VV", int64(0))
	f.Add("Thu, 15 Dec 2016 6:07:31 PM", "EEE, d MMM yyyy h:mm:ss a", int64(1481825251155))
	f.Add("2016-12-15", "yyyy-MM-dd[' at 'HH[:mm]][X]", int64(0))
	f.Add("x", "GyMdkHmsSEDFwWahKzZeCxY'o''clock'", int64(-1))
	f.Fuzz(func(t *testing.T, text, pattern string, ms int64) {
		readTime(text, pattern)
		formatTime(time.UnixMilli(ms%maxEpoch).UTC(), pattern)
		zoneNamed(text)
	})
}

func FuzzMatchFilter(f *testing.F) {
	for _, c := range filterCases {
		f.Add(c.filter, c.topic)
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if checkFilter(filter) != "" {
			return
		}
		var x Index[int]
		x.Add(filter, 1)
		found := 0
		for range x.Match(topic) {
			found++
		}
		if (found == 1) != MatchFilter(filter, topic) {
			t.Fatalf("filter %q, topic %q: index %d, MatchFilter %v", filter, topic, found, MatchFilter(filter, topic))
		}
		if !x.Remove(filter, 1) {
			t.Fatalf("filter %q cannot be removed", filter)
		}
	})
}
