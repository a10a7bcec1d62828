package health_test

import (
	"encoding/json"
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
			"dashboard name \"Last will\": use 1 to 230 letters, digits, underscores and hyphens\n" +
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

// A widget with two Metrics Insights queries shows an error, and dashboards of all
// regions share their names.
func TestADashboardWorksInEveryRegion(t *testing.T) {
	var template struct {
		Resources map[string]struct {
			Properties struct{ DashboardName, DashboardBody string }
		}
	}
	err := json.Unmarshal(cdktest.Template(t, func(app awscdk.App) awscdk.Stack {
		stack := awscdk.NewStack(app, jsii.String("Other"), &awscdk.StackProps{Env: &awscdk.Environment{Region: jsii.String("eu-central-1")}})
		health.NewDashboard(stack, "Dashboard", health.DashboardProps{Name: "Pumps", RuleName: "pumps", SNSTopicName: "pumps"})
		return stack
	}), &template)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range template.Resources {
		if r.Properties.DashboardName != "Pumps-eu-central-1" {
			t.Errorf("the dashboard's name is %s", r.Properties.DashboardName)
		}
		var body struct {
			Widgets []struct {
				Properties struct{ Metrics json.RawMessage }
			}
		}
		if err := json.Unmarshal([]byte(r.Properties.DashboardBody), &body); err != nil || len(body.Widgets) != 7 {
			t.Fatalf("%d widgets, %v", len(body.Widgets), err)
		}
		for i, w := range body.Widgets {
			if n := strings.Count(string(w.Properties.Metrics), "SELECT "); n > 1 {
				t.Errorf("widget %d has %d Metrics Insights queries", i, n)
			}
		}
	}
}
