package conformance

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"lastwill/internal/iotsql"
)

// exampleTime is the reference's example of timestamp().
const exampleTime = 1481825251155

func TestExpressions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/expressions.txt")
	if err != nil {
		t.Fatal(err)
	}
	page, version, payload := "", string(iotsql.V2016), ""
	cases := 0
	for i, line := range strings.Split(string(text), "\n") {
		expression, want, isCase := strings.Cut(line, " => ")
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || line[0] == '#':
		case isCase:
			cases++
			if page == "" {
				t.Errorf("line %d: %s names no page", i+1, line)
			}
			if got := valueOf(expression, version, payload); !matches(got, want) {
				t.Errorf("line %d, %s, version %s: %s is %s, want %s", i+1, page, version, expression, got, want)
			}
		case word == "page":
			page = rest
		case word == "version":
			version = rest
		case word == "payload":
			payload = rest
		default:
			t.Errorf("line %d: %q is no case", i+1, line)
		}
	}
	t.Logf("%d cases", cases)
}

// valueOf is an expression's value as JSON, - for Undefined, or "error TEXT". The
// expression as it prints must have the same value.
func valueOf(expression, version, payload string) string {
	rule, err := iotsql.Compile("SELECT VALUE "+expression+" FROM 't'", iotsql.Version(version))
	if err != nil {
		return "error " + err.Error()
	}
	value := outcome(rule, payload)
	again, err := iotsql.Compile(rule.String(), rule.Version())
	if err != nil {
		return fmt.Sprintf("%s, but printed as %s it does not compile: %v", value, rule, err)
	}
	if printed := outcome(again, payload); printed != value && !strings.Contains(expression, "newuuid") {
		return fmt.Sprintf("%s, but printed as %s it is %s", value, rule, printed)
	}
	return value
}

func outcome(rule *iotsql.Rule, payload string) string {
	result, err := rule.Eval(&iotsql.Message{
		Topic:    "things/myThings/thingOne",
		ClientID: "device-1",
		Time:     time.UnixMilli(exampleTime),
		Payload:  []byte(payload),
	})
	switch {
	case err != nil:
		return "error " + err.Error()
	case len(result.Payload) == 0:
		return "-"
	}
	return string(result.Payload)
}

func matches(got, want string) bool {
	if text, isError := strings.CutPrefix(want, "error "); isError {
		return strings.HasPrefix(got, "error ") && strings.Contains(got, text)
	}
	return got == want
}
