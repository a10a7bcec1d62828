package health

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"lastwill/internal/will"
)

// DashboardProps configure a dashboard.
type DashboardProps struct {
	// Name begins the dashboard's name, which the region ends: dashboards of all
	// regions of an account share their names. Required.
	Name string
	// RuleName is the topic rule. Required.
	RuleName string
	// SNSTopicName is the topic of the e-mails. Required.
	SNSTopicName string
}

// NewDashboard adds a dashboard to a scope: connects, wills, matches of the rule,
// its actions and the e-mails. It panics with the error of DashboardProps.Validate.
func NewDashboard(scope constructs.Construct, id string, props DashboardProps) awscloudwatch.CfnDashboard {
	if err := props.Validate(); err != nil {
		panic(err)
	}
	stack := awscdk.Stack_Of(scope)
	return awscloudwatch.NewCfnDashboard(scope, jsii.String(id), &awscloudwatch.CfnDashboardProps{
		DashboardName: jsii.String(props.Name + "-" + *stack.Region()),
		DashboardBody: stack.ToJsonString(map[string]any{"widgets": props.widgets(*stack.Region())}, nil),
	})
}

// widgets are rows of three, in the order of a Will Message's way.
func (p DashboardProps) widgets(region string) []any {
	rule := func(metric string) []any { return []any{"AWS/IoT", metric, "RuleName", p.RuleName} }
	topic := func(metric string) []any { return []any{"AWS/SNS", metric, "TopicName", p.SNSTopicName} }
	search := func(metric string) []any {
		return []any{map[string]any{
			"expression": fmt.Sprintf(`SEARCH('{AWS/IoT,ActionType,RuleName} RuleName="%s" MetricName="%s"', 'Sum')`, p.RuleName, metric),
			"label":      metric,
		}}
	}
	query := func(metric string) []any {
		return []any{map[string]any{
			"expression": fmt.Sprintf(`SELECT SUM(%s) FROM SCHEMA("AWS/IoT", ActionType, RuleName) WHERE RuleName = '%s' GROUP BY ActionType`, metric, p.RuleName),
			"label":      metric,
		}}
	}
	var widgets []any
	for i, w := range []struct {
		title   string
		metrics []any
	}{
		// The broker's metrics know no environment.
		{"Connects, of all devices of the account", []any{
			[]any{"AWS/IoT", "Connect.Success", "Protocol", "MQTT"},
			[]any{"AWS/IoT", "Connect.AuthError", "Protocol", "MQTT"},
		}},
		{"Wills: messages on the Will Topic", []any{rule("TopicMatch"), rule("ParseError"), rule("RuleMessageThrottled")}},
		// There is no metric for what WHERE lets through. A widget shows one Metrics
		// Insights query (CloudWatch user guide, "Metrics Insights quotas").
		{"Rule matches whose actions succeeded: each runs every action once", []any{query("Success")}},
		{"Rule matches whose actions failed", []any{query("Failure")}},
		{"Rule actions that succeeded", []any{search("Success"), search("ErrorActionSuccess")}},
		{"Rule actions that failed", []any{search("Failure"), search("ErrorActionFailure")}},
		{"E-mails", []any{topic("NumberOfMessagesPublished"), topic("NumberOfNotificationsDelivered"), topic("NumberOfNotificationsFailed")}},
	} {
		widgets = append(widgets, map[string]any{
			"type": "metric", "width": 8, "height": 6, "x": i % 3 * 8, "y": i / 3 * 6,
			"properties": map[string]any{
				"title": w.title, "metrics": w.metrics, "region": region, "stat": "Sum", "period": alarmSeconds, "view": "timeSeries",
			},
		})
	}
	return widgets
}

var dashboardName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,230}$`)

// Validate returns all that is wrong with the props.
func (p DashboardProps) Validate() error {
	var problems []error
	if !dashboardName.MatchString(p.Name) {
		problems = append(problems, fmt.Errorf("dashboard name %q: use 1 to 230 letters, digits, underscores and hyphens", p.Name))
	}
	problems = append(problems, will.CheckRuleName(p.RuleName))
	if p.SNSTopicName == "" {
		problems = append(problems, errors.New("no SNS topic name: give that of the e-mails' topic"))
	}
	return errors.Join(problems...)
}
