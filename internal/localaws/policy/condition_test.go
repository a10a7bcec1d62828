package policy

import (
	"fmt"
	"strings"
	"testing"
)

// Each operator, for a Deny and an Allow alike: whether its statement applies. A key
// that is not there fails a positive operator and satisfies a negated one.
func TestConditions(t *testing.T) {
	t.Parallel()
	one := func(value string) Request { return Request{Context: map[string]string{"K": value}} }
	many := func(values ...string) Request { return Request{Sets: map[string][]string{"k": values}} }
	none := Request{}
	for _, c := range []struct {
		condition string // operator and values as JSON
		r         Request
		want      bool
	}{
		{`"StringEquals": {"k": "a"}`, one("a"), true},
		{`"StringEquals": {"k": "a"}`, one("A"), false},
		{`"StringEquals": {"k": ["x", "a"]}`, one("a"), true},
		{`"StringEquals": {"k": "a"}`, none, false},
		{`"StringEquals": {"k": []}`, one("a"), false},
		{`"StringNotEquals": {"k": "a"}`, one("b"), true},
		{`"StringNotEquals": {"k": ["a", "b"]}`, one("b"), false},
		{`"StringNotEquals": {"k": "a"}`, none, true},
		{`"StringEqualsIgnoreCase": {"k": "a"}`, one("A"), true},
		{`"StringNotEqualsIgnoreCase": {"k": "a"}`, one("A"), false},
		{`"StringLike": {"k": "a?c*"}`, one("abcd"), true},
		{`"StringNotLike": {"k": "a*"}`, one("abcd"), false},
		{`"StringEqualsIfExists": {"k": "a"}`, none, true},
		{`"StringEqualsIfExists": {"k": "a"}`, one("b"), false},
		{`"ArnEquals": {"k": "arn:aws:iot:*:1:topic/a/*"}`, one("arn:aws:iot:x:1:topic/a/b"), true},
		{`"ArnLike": {"k": "arn:aws:iot:x:1:topic/a"}`, one("arn:aws:iot:x:1:topic/b"), false},
		{`"ArnNotEquals": {"k": "arn:aws:iot:x:1:topic/a"}`, one("arn:aws:iot:x:1:topic/b"), true},
		{`"ArnNotLike": {"k": "arn:aws:iot:x:1:topic/*"}`, one("arn:aws:iot:x:1:topic/b"), false},
		{`"ArnLikeIfExists": {"k": "arn:*"}`, none, true},
		{`"Bool": {"k": true}`, one("true"), true},
		{`"Bool": {"k": "false"}`, one("true"), false},
		{`"Bool": {"k": "true"}`, none, false},
		{`"BoolIfExists": {"k": "true"}`, none, true},
		{`"BinaryEquals": {"k": "QmluYXJ5"}`, one("QmluYXJ5"), true},
		{`"NumericEquals": {"k": 5}`, one("5.0"), true},
		{`"NumericNotEquals": {"k": "5"}`, one("5.0"), false},
		{`"NumericLessThan": {"k": 5}`, one("4"), true},
		{`"NumericLessThan": {"k": 5}`, one("5"), false},
		{`"NumericLessThanEquals": {"k": 5}`, one("5"), true},
		{`"NumericGreaterThan": {"k": 5}`, one("10"), true},
		{`"NumericGreaterThanEquals": {"k": 5}`, one("4.9"), false},
		{`"NumericGreaterThan": {"k": 5}`, one("many"), false},
		{`"NumericLessThanIfExists": {"k": 5}`, none, true},
		{`"DateEquals": {"k": "2026-01-02T00:00:00Z"}`, one("2026-01-02T01:00:00+01:00"), true},
		{`"DateNotEquals": {"k": "2026-01-02T00:00:00Z"}`, one("2026-01-02"), false},
		{`"DateLessThan": {"k": "2026-01-02T00:00:00Z"}`, one("2026-01-01T23:59:59Z"), true},
		{`"DateLessThanEquals": {"k": "2026-01-02"}`, one("2026-01-02T00:00:01Z"), false},
		{`"DateGreaterThan": {"k": "1767312000"}`, one("2026-01-02T00:00:01Z"), true},
		{`"DateGreaterThanEquals": {"k": 1767312000}`, one("2026-01-02T00:00:00Z"), true},
		{`"IpAddress": {"k": "10.0.0.0/8"}`, one("10.1.2.3"), true},
		{`"IpAddress": {"k": "10.1.2.3"}`, one("10.1.2.4"), false},
		{`"IpAddress": {"k": ["2001:db8::/32", "127.0.0.1"]}`, one("2001:db8::1"), true},
		{`"IpAddress": {"k": "127.0.0.0/8"}`, one("::ffff:127.0.0.1"), true},
		{`"NotIpAddress": {"k": "10.0.0.0/8"}`, one("10.1.2.3"), false},
		{`"NotIpAddress": {"k": "10.0.0.0/8"}`, none, true},
		{`"IpAddressIfExists": {"k": "10.0.0.0/8"}`, none, true},
		{`"Null": {"k": "true"}`, none, true},
		{`"Null": {"k": true}`, many(), true},
		{`"Null": {"k": "false"}`, one(""), true},
		{`"Null": {"k": "true"}`, many("a"), false},
		{`"ForAllValues:StringEquals": {"k": ["a", "b"]}`, many("a", "b"), true},
		{`"ForAllValues:StringEquals": {"k": ["a", "b"]}`, many("a", "c"), false},
		{`"ForAllValues:StringEquals": {"k": ["a"]}`, many(), true},
		{`"ForAllValues:StringEquals": {"k": ["a"]}`, none, true},
		{`"ForAllValues:StringEquals": {"k": []}`, many(), true},
		{`"ForAllValues:StringEquals": {"k": []}`, many("a"), false},
		{`"ForAllValues:StringNotEquals": {"k": ["a"]}`, many("b"), true},
		{`"ForAllValues:StringNotEquals": {"k": ["a"]}`, many("b", "a"), false},
		{`"ForAllValues:StringLike": {"k": ["a*"]}`, many("ab", "ac"), true},
		{`"ForAnyValue:StringEquals": {"k": ["a"]}`, many("b", "a"), true},
		{`"ForAnyValue:StringEquals": {"k": ["a"]}`, many("b"), false},
		{`"ForAnyValue:StringEquals": {"k": ["a"]}`, none, false},
		{`"ForAnyValue:StringNotEquals": {"k": ["a"]}`, many("a", "b"), true},
		{`"ForAnyValue:StringNotEquals": {"k": ["a"]}`, none, false},
		{`"ForAnyValue:StringEqualsIfExists": {"k": ["a"]}`, none, true},
		{`"ForAllValues:StringEquals": {"k": "a"}`, one("a"), true},
		{`"StringEquals": {"k": "a"}`, many("b", "a"), true},
		{`"StringNotEquals": {"k": "a"}`, many("b", "a"), false},
		{`"StringEquals": {"k": "a"}, "NumericLessThan": {"k": 5}`, one("a"), false},
	} {
		for effect, applies := range map[string]Decision{"Allow": Allow, "Deny": ExplicitDeny} {
			d, err := ParseIdentity([]byte(fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":%q,"Action":"*","Resource":"*","Condition":{%s}}}`, effect, c.condition)))
			if err != nil {
				t.Errorf("%s: %v", c.condition, err)
				continue
			}
			if got := d.Evaluate(c.r); (got == applies) != c.want || got != applies && got != ImplicitDeny {
				t.Errorf("%s with %v %v: %s is %v, want it to apply: %v", c.condition, c.r.Context, c.r.Sets, effect, got, c.want)
			}
		}
	}
}

// The time is known to every request.
func TestTimeIsKnown(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]Decision{
		`"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}`: ExplicitDeny,
		`"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}`:    ImplicitDeny,
		`"NumericGreaterThan": {"aws:EpochTime": 1577836800}`:            ExplicitDeny,
	} {
		d, err := ParseIdentity([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{` + condition + `}}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Evaluate(Request{Action: "x"}); got != want {
			t.Errorf("%s: %v, want %v", condition, got, want)
		}
	}
}

func TestCheckNamesWhatIsUnknown(t *testing.T) {
	t.Parallel()
	statement := func(more string) string {
		return `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"sns:Publish",` + more + `}}`
	}
	for _, c := range []struct{ doc, want string }{
		{statement(`"Resource":"*","Condition":{"StringEquals":{"aws:PrincipalArn":"a","kms:ViaService":"b","sts:ExternalId":"c"}}`), ""},
		{statement(`"Resource":"*","Condition":{"StringEquals":{"AWS:principaltag/Team":"a"}}`), ""},
		{statement(`"Resource":"*","Condition":{"StringEquals":{"aws:SorceArn":"a"}}`), `condition key "aws:SorceArn"`},
		{statement(`"Resource":"*","Condition":{"StringEquals":{"sns:Protocol":"a"}}`), `condition key "sns:Protocol"`},
		{statement(`"Resource":"*","Condition":{"StringEquals":{"nosuch:Key":"a"}}`), `condition key "nosuch:Key"`},
		{statement(`"Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/":"a"}}`), `condition key "aws:PrincipalTag/"`},
		{statement(`"Resource":"arn:aws:sns:*:*:${aws:PrincipalArn}${*}"`), ""},
		{statement(`"Resource":"arn:aws:sns:*:*:${aws:Nothing}"`), "policy variable ${aws:Nothing}"},
		{statement(`"Resource":"*","Condition":{"StringEquals":{"aws:PrincipalArn":"${aws:nothing, 'x'}"}}`), "policy variable ${aws:nothing}"},
		{statement(`"Resource":"arn:aws:sns:*:*:${open"`), "policy variable ${open"},
	} {
		d, err := ParseIdentity([]byte(c.doc))
		if err != nil {
			t.Fatal(err)
		}
		err = d.Check(Rules{Key: KnownInIAM})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.doc, err, c.want)
		}
	}
}
