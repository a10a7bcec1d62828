package health_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/jsii-runtime-go"

	"lastwill/constructs/health"
	"lastwill/test/cdktest"
)

func TestMain(m *testing.M) { cdktest.Main(m) }

func TestValidateNamesWhatIsWrong(t *testing.T) {
	cases := []struct {
		name  string
		props interface{ Validate() error }
		want  string // all of the message
	}{
		{
			"alarms without anything",
			health.AlarmsProps{},
			"rule name \"\": use 1 to 128 letters, digits and underscores\nno SNS topic: alarms that tell nobody are a mistake",
		},
		{"a dashboard", health.DashboardProps{Name: "Lastwill-staging", RuleName: "lastWillRule_staging", SNSTopicName: "t"}, ""},
		{
			"a dashboard with a quote in the rule's name",
			health.DashboardProps{Name: "Last will", RuleName: "it's"},
			"dashboard name \"Last will\": use 1 to 255 letters, digits, underscores and hyphens\n" +
				"rule name \"it's\": use 1 to 128 letters, digits and underscores\nno SNS topic name: give that of the e-mails' topic",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := c.props.Validate(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Alarms work beside any topic of the user's, which keeps its own policy.
func TestAlarmsOfAnotherTopic(t *testing.T) {
	template := string(cdktest.Template(t, func(app awscdk.App) awscdk.Stack {
		stack := awscdk.NewStack(app, jsii.String("Other"), nil)
		topic := awssns.NewTopic(stack, jsii.String("Topic"), nil)
		if made := health.NewAlarms(stack, "Alarms", health.AlarmsProps{RuleName: "pumps", Topic: topic}); len(made) != health.AlarmResources {
			t.Errorf("%d alarms", len(made))
		}
		return stack
	}))
	for _, want := range []string{`"AlarmName": "pumps-Failure"`, ":alarm:pumps-RuleMessageThrottled", `"Service": "cloudwatch.amazonaws.com"`} {
		if !strings.Contains(template, want) {
			t.Errorf("the template has no %s", want)
		}
	}
}
