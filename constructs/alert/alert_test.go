package alert_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"lastwill/constructs/alert"
	"lastwill/internal/will"
	"lastwill/test/cdktest"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

// props are those of the scenario, changed.
func props(change func(*alert.Props)) alert.Props {
	names := will.NewNames("")
	p := alert.Props{
		RuleName:      names.Rule,
		SQL:           will.SQL(names.WillTopic),
		SNSTopicName:  names.SNSTopic,
		Emails:        []string{"ops@example.com"},
		ExecutedTopic: names.ExecutedTopic,
	}
	change(&p)
	return p
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	cases := []struct {
		name   string
		change func(*alert.Props)
		want   string // all of the message
	}{
		{"the scenario is fine", func(*alert.Props) {}, ""},
		{"all limits reached are fine", func(p *alert.Props) {
			p.RuleName = strings.Repeat("r", 128)
			p.SNSTopicName = strings.Repeat("t", 100)
			p.MessageFormat = alert.JSON
		}, ""},
		{
			"a hyphen in the rule's name", func(p *alert.Props) { p.RuleName = "lastWillRule-staging" },
			`rule name "lastWillRule-staging": use 1 to 128 letters, digits and underscores`,
		},
		{
			"no rule name", func(p *alert.Props) { p.RuleName = "" },
			`rule name "": use 1 to 128 letters, digits and underscores`,
		},
		{
			"a FIFO topic, which AWS IoT cannot publish to", func(p *alert.Props) { p.SNSTopicName = "lwt.fifo" },
			`SNS topic name "lwt.fifo": use 1 to 100 letters, digits, underscores and hyphens`,
		},
		{
			"an unknown message format", func(p *alert.Props) { p.MessageFormat = "XML" },
			`message format "XML": use RAW or JSON`,
		},
		{
			"a wildcard to republish to", func(p *alert.Props) { p.ExecutedTopic = "/lwt/#" },
			`topic "/lwt/#" has a wildcard: name one topic, without + and #`,
		},
		{"no address: something else may be subscribed", func(p *alert.Props) { p.Emails = nil }, ""},
		{
			"addresses as people have them", func(p *alert.Props) {
				p.Emails = []string{"night.shift+iot@sub.example.org", "o'brien@example.com", "a_b-c@xn--mnchen-3ya.example", strings.Repeat("l", 64) + "@example.com"}
			}, "",
		},
		{
			"a local part that few mail services reach", func(p *alert.Props) { p.Emails = []string{"öps@example.com"} },
			`e-mail address "öps@example.com": many mail services do not reach it, give one with only ASCII characters before the @`,
		},
		{
			"a domain that DNS has under another name", func(p *alert.Props) { p.Emails = []string{"ops@München.example"} },
			`e-mail address "ops@München.example": give its domain as DNS has it: ops@xn--mnchen-3ya.example`,
		},
		{
			"a domain of another script", func(p *alert.Props) { p.Emails = []string{"ops@例え.テスト"} },
			`e-mail address "ops@例え.テスト": give its domain as DNS has it: ops@xn--r8jz45g.xn--zckzah`,
		},
		{
			"a full-width @ and dot", func(p *alert.Props) { p.Emails = []string{"ops＠example.com"} },
			`e-mail address "ops＠example.com": give one address such as ops@example.com`,
		},
		{
			"domains that DNS cannot have", func(p *alert.Props) {
				p.Emails = []string{"ops@exa_mple.com", "ops@-a.com", "ops@xn--a.com", "ops@[127.0.0.1]", "ops@example.com.", "ops@a..com"}
			},
			`e-mail address "ops@exa_mple.com": give one address such as ops@example.com` + "\n" +
				`e-mail address "ops@-a.com": give one address such as ops@example.com` + "\n" +
				`e-mail address "ops@xn--a.com": give one address such as ops@example.com` + "\n" +
				`e-mail address "ops@[127.0.0.1]": give one address such as ops@example.com` + "\n" +
				`e-mail address "ops@example.com.": give one address such as ops@example.com` + "\n" +
				`e-mail address "ops@a..com": give one address such as ops@example.com`,
		},
		{
			"65 characters before the @", func(p *alert.Props) { p.Emails = []string{strings.Repeat("l", 65) + "@example.com"} },
			`e-mail address "` + strings.Repeat("l", 65) + `@example.com": give one address such as ops@example.com`,
		},
		{
			"a name beside the address", func(p *alert.Props) { p.Emails = []string{"Ops <ops@example.com>"} },
			`e-mail address "Ops <ops@example.com>": give one address such as ops@example.com`,
		},
		{
			"two addresses in one", func(p *alert.Props) { p.Emails = []string{"a@example.com,b@example.com"} },
			`e-mail address "a@example.com,b@example.com": give one address such as ops@example.com`,
		},
		{
			"an address without a domain", func(p *alert.Props) { p.Emails = []string{"ops@"} },
			`e-mail address "ops@": give one address such as ops@example.com`,
		},
		{
			"an address of this machine only", func(p *alert.Props) { p.Emails = []string{"root@localhost"} },
			`e-mail address "root@localhost": give one address such as ops@example.com`,
		},
		{
			"one address twice", func(p *alert.Props) { p.Emails = []string{"ops@example.com", "Ops@Example.com"} },
			`e-mail address "Ops@Example.com" is given twice: name each address once`,
		},
		{
			"all at once", func(p *alert.Props) { p.RuleName, p.Emails = "a b", []string{"x"} },
			"rule name \"a b\": use 1 to 128 letters, digits and underscores\n" +
				`e-mail address "x": give one address such as ops@example.com`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := props(c.change).Validate(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("Validate:\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestValidatePointsAtTheFaultInSQL(t *testing.T) {
	cases := []struct{ name, sql, fault string }{
		{"a word that is no SQL", "SELECT * FORM 'a'", "FORM"},
		{"a comparison left open", "SELECT * FROM 'a' WHERE x =", ""},
		{"a rule that triggers itself", "SELECT * FROM '/lwt/executed'", "'/lwt/executed'"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := props(func(p *alert.Props) { p.SQL = c.sql }).Validate()
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != 3 || lines[1] != c.sql {
				t.Fatalf("want message, statement and carets, got:\n%v", err)
			}
			carets := strings.Index(lines[2], "^")
			if !strings.HasPrefix(c.sql[carets:], c.fault) || strings.Count(lines[2], "^") != max(1, len(c.fault)) {
				t.Errorf("carets are not under %q:\n%v", c.fault, err)
			}
		})
	}
}

func TestMessageFormatReachesTheRule(t *testing.T) {
	for _, c := range []struct{ given, want alert.MessageFormat }{{"", alert.RAW}, {alert.JSON, alert.JSON}} {
		if got := snsAction(t, c.given).MessageFormat; got != c.want {
			t.Errorf("message format %q became %q, want %q", c.given, got, c.want)
		}
	}
}

type snsActionProperty struct{ MessageFormat alert.MessageFormat }

func snsAction(t *testing.T, format alert.MessageFormat) snsActionProperty {
	t.Helper()
	content := cdktest.Template(t, func(app awscdk.App) awscdk.Stack {
		stack := awscdk.NewStack(app, jsii.String("Test"), nil)
		alert.New(stack, "Alert", props(func(p *alert.Props) { p.MessageFormat = format }))
		return stack
	})
	var template struct {
		Resources map[string]struct {
			Type       string
			Properties struct {
				TopicRulePayload struct {
					Actions []struct{ Sns *snsActionProperty }
				}
			}
		}
	}
	if err := json.Unmarshal(content, &template); err != nil {
		t.Fatal(err)
	}
	for _, r := range template.Resources {
		if r.Type == "AWS::IoT::TopicRule" {
			return *r.Properties.TopicRulePayload.Actions[0].Sns
		}
	}
	t.Fatal("no rule in the template")
	return snsActionProperty{}
}
