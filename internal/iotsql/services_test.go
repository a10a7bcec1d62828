package iotsql

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// fakeServices answer calls by name and keep what they were asked.
type fakeServices struct {
	answers map[string]string
	asked   []string
}

var errThrottled = errors.New("throttled")

func (f *fakeServices) Call(function string, args [][]byte) ([]byte, error) {
	asked := function
	for _, arg := range args {
		if arg == nil {
			arg = []byte("Undefined")
		}
		asked += " " + string(arg)
	}
	f.asked = append(f.asked, asked)
	answer, ok := f.answers[function]
	switch {
	case !ok:
		return nil, fmt.Errorf("%s is %w", function, ErrNotAvailable)
	case answer == "fail":
		return nil, errThrottled
	case answer == "":
		return nil, nil
	}
	return []byte(answer), nil
}

func TestFunctionsOfOtherServices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, sql, answer, want, asked string
		err                             error
	}{
		{"an answer is a value", `SELECT get_thing_shadow("MyThing","arn:role").state.on AS on FROM 'a'`, `{"state":{"on":true}}`, `{"on":true}`, `get_thing_shadow "MyThing" "arn:role"`, nil},
		{"arguments are evaluated", `SELECT aws_lambda("arn:f", {"payload": n, "x": missing}) AS o FROM 'a'`, `[1]`, `{"o":[1]}`, `aws_lambda "arn:f" {"payload":7}`, nil},
		{"* is the whole payload", `SELECT aws_lambda("arn:f", *) AS o FROM 'a'`, `1`, `{"o":1}`, `aws_lambda "arn:f" {"n":7}`, nil},
		{"an Undefined argument is told as such", `SELECT get_secret(missing, 'SecretString', 'arn') AS s FROM 'a'`, `"x"`, `{"s":"x"}`, `get_secret Undefined "SecretString" "arn"`, nil},
		{"no answer is Undefined", `SELECT get_mqtt_property('content_type') AS c FROM 'a'`, ``, `{}`, `get_mqtt_property "content_type"`, nil},
		{"names have no case", `SELECT GET_USER_PROPERTIES() AS u FROM 'a'`, `[{"k":"v"}]`, `{"u":[{"k":"v"}]}`, `get_user_properties`, nil},
		{"protobuf is decoded by a service", `SELECT decode(encode(*, 'base64'), 'proto', 'b', 'k', 'f', 'm').t AS t FROM 'a'`, `{"t":1}`, `{"t":1}`, `decode "eyJuIjo3fQ==" "proto" "b" "k" "f" "m"`, nil},
		{"protobuf is bytes, given in base64", `SELECT VALUE decode(*, 'proto', 'b', 'k', 'f', 'm') FROM 'a'`, `{"t":1}`, `{"t":1}`, `decode "eyJuIjo3fQ==" "proto" "b" "k" "f" "m"`, nil},
		{"a failure ends the evaluation", `SELECT get_dynamodb('t', 'k', n, 'arn') AS d FROM 'a'`, `fail`, ``, `get_dynamodb "t" "k" 7 "arn"`, errThrottled},
		{"unless there is a default", `SELECT get_or_default(get_dynamodb('t', 'k', n, 'arn'), 'none') AS d FROM 'a'`, `fail`, `{"d":"none"}`, `get_dynamodb "t" "k" 7 "arn"`, nil},
		{"a default is also for no answer", `SELECT get_or_default(get_dynamodb('t', 'k', n, 'arn').x, 'none') AS d FROM 'a'`, ``, `{"d":"none"}`, `get_dynamodb "t" "k" 7 "arn"`, nil},
		{"a variable calls once", `SET @s = get_thing_shadow('t', 'arn') SELECT @s.a AS a, @s.b AS b FROM 'a' WHERE @s.a = 1`, `{"a":1,"b":2}`, `{"a":1,"b":2}`, `get_thing_shadow "t" "arn"`, nil},
		{"what is not needed is not called", `SELECT * FROM 'a' WHERE n = 8 AND get_thing_shadow('t', 'arn').a = 1`, `{}`, ``, ``, nil},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			rule, err := Compile(c.sql, V2016)
			if err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(c.asked, " ")
			services := &fakeServices{answers: map[string]string{name: c.answer}}
			result, err := rule.Eval(&Message{Topic: "a", Payload: []byte(`{"n":7}`), Services: services})
			if !errors.Is(err, c.err) || string(result.Payload) != c.want {
				t.Errorf("got %s, %v, want %s, %v", result.Payload, err, c.want, c.err)
			}
			if asked := strings.Join(services.asked, "\n"); asked != c.asked {
				t.Errorf("asked %s, want %s", asked, c.asked)
			}
		})
	}
}

func TestAFunctionThatIsNotAvailableIsAnErrorAndNeverASilentNoMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim, sql string
		services   Services
	}{
		{"without services", "SELECT * FROM 'a' WHERE get_thing_shadow('t', 'arn').x = 1", nil},
		{"with services that do not have it", "SELECT * FROM 'a' WHERE get_thing_shadow('t', 'arn').x = 1", &fakeServices{}},
		{"a default does not hide it", "SELECT * FROM 'a' WHERE get_or_default(get_thing_shadow('t', 'arn').x, 1) = 1", nil},
		{"in a nested query", "SELECT (SELECT get_secret('a', 'SecretString', 'arn') AS s FROM l) AS x FROM 'a'", nil},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			rule, err := Compile(c.sql, V2016)
			if err != nil {
				t.Fatal(err)
			}
			result, err := rule.Eval(&Message{Topic: "a", Payload: []byte(`{"l":[{}]}`), Services: c.services})
			if !errors.Is(err, ErrNotAvailable) || result.Fired {
				t.Errorf("fired %v, %v", result.Fired, err)
			}
		})
	}
}

func TestAnAnswerThatIsNoJSONIsAnError(t *testing.T) {
	t.Parallel()
	rule, err := Compile("SELECT aws_lambda('f', 1) AS x FROM 'a'", V2016)
	if err != nil {
		t.Fatal(err)
	}
	services := &fakeServices{answers: map[string]string{"aws_lambda": "not json"}}
	const want = "aws_lambda: the answer is not JSON"
	if _, err := rule.Eval(&Message{Topic: "a", Services: services}); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
