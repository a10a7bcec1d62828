// Package health watches a topic rule: alarms that tell by e-mail when an alert
// may not have been sent, and a dashboard.
package health

import (
	"errors"
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"lastwill/constructs/policy"
	"lastwill/internal/will"
)

// Resources that the constructs add to their stack.
var (
	AlarmResources     = len(alarms)
	DashboardResources = 1
)

// alarmSeconds is how far an alarm looks back: it tells within a minute or two,
// and a rule that fails now and then does not tell more often than this.
const alarmSeconds = 300

// An alarm watches one metric of a topic rule.
type alarm struct {
	// metric in the namespace AWS/IoT.
	metric string
	// perAction tells that there is one such metric for each rule action.
	perAction bool
	// meaning is what the mail says.
	meaning string
}

// alarms are all ways in which a Will Message that came does not become an
// e-mail (developer guide, "AWS IoT metrics and dimensions", rule metrics and rule
// action metrics).
var alarms = []alarm{
	{"Failure", true, "An action of the topic rule failed: e-mails or copies are missing. The log of failed actions says why."},
	{"ErrorActionFailure", true, "An action of the topic rule failed, and so did the log that should say why."},
	{"ParseError", false, "A message on the Will Topic is no JSON: whatever its sender wanted to tell, no e-mail was sent."},
	{"RuleMessageThrottled", false, "AWS IoT dropped messages of the topic rule, because there were too many: e-mails are missing."},
}

// AlarmsProps configure Alarms.
type AlarmsProps struct {
	// RuleName is the topic rule that is watched; the alarms' names begin with it. Required.
	RuleName string
	// Topic is told of every alarm. Required.
	Topic awssns.Topic
}

// NewAlarms adds the alarms of a topic rule to a scope, and lets them publish to
// the SNS topic. It panics with the error of AlarmsProps.Validate.
func NewAlarms(scope constructs.Construct, id string, props AlarmsProps) []awscloudwatch.CfnAlarm {
	if err := props.Validate(); err != nil {
		panic(err)
	}
	scope = constructs.NewConstruct(scope, jsii.String(id))
	actions := []any{props.Topic.TopicArn()}
	var made []awscloudwatch.CfnAlarm
	var names []string
	for _, a := range alarms {
		name := props.RuleName + "-" + a.metric
		made = append(made, awscloudwatch.NewCfnAlarm(scope, jsii.String(a.metric), a.props(name, props.RuleName, actions)))
		names = append(names, name)
	}
	LetAlarmsPublish(props.Topic, names)
	return made
}

// LetAlarmsPublish lets alarms of the stack, by their names, publish to an SNS topic. The topic's
// own policy refuses all but TLS, and with it went SNS's default one, which lets
// the account's alarms publish.
func LetAlarmsPublish(topic awssns.Topic, names []string) {
	stack := awscdk.Stack_Of(topic)
	prefix := policy.Prefix(topic, "cloudwatch") + "alarm:"
	var arns []string
	for _, name := range names {
		arns = append(arns, prefix+name)
	}
	topic.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        jsii.String("AllowAlarms"),
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String("cloudwatch.amazonaws.com"), nil)},
		Actions:    jsii.Strings("sns:Publish"),
		Resources:  &[]*string{topic.TopicArn()},
		Conditions: &map[string]any{
			"StringEquals": map[string]any{"aws:SourceAccount": stack.Account()},
			"ArnEquals":    map[string]any{"aws:SourceArn": arns},
		},
	}))
}

// RuleMetric is a metric of a topic rule's actions, over all of them: the names of ActionType's
// values are not documented.
func RuleMetric(metric, rule string) []any {
	return []any{&awscloudwatch.CfnAlarm_MetricDataQueryProperty{
		Id:         jsii.String("all"),
		Label:      jsii.String(metric),
		Expression: jsii.String(fmt.Sprintf(`SELECT SUM(%s) FROM SCHEMA("AWS/IoT", ActionType, RuleName) WHERE RuleName = '%s'`, metric, rule)),
		Period:     jsii.Number(alarmSeconds),
		ReturnData: jsii.Bool(true),
	}}
}

func (a alarm) props(name, rule string, actions []any) *awscloudwatch.CfnAlarmProps {
	p := &awscloudwatch.CfnAlarmProps{
		AlarmName:          jsii.String(name),
		AlarmDescription:   jsii.String(a.meaning + " What to do: docs/runbook.md, " + a.metric + "."),
		AlarmActions:       &actions,
		ComparisonOperator: jsii.String("GreaterThanThreshold"),
		Threshold:          jsii.Number(0),
		EvaluationPeriods:  jsii.Number(1),
		// A metric has no data as long as there is nothing to count.
		TreatMissingData: jsii.String("notBreaching"),
	}
	if a.perAction {
		p.Metrics = RuleMetric(a.metric, rule)
		return p
	}
	p.Namespace, p.MetricName = jsii.String("AWS/IoT"), jsii.String(a.metric)
	p.Dimensions = []any{&awscloudwatch.CfnAlarm_DimensionProperty{Name: jsii.String("RuleName"), Value: jsii.String(rule)}}
	p.Statistic, p.Period = jsii.String("Sum"), jsii.Number(alarmSeconds)
	return p
}

// Validate returns all that is wrong with the props.
func (p AlarmsProps) Validate() error {
	problems := []error{will.CheckRuleName(p.RuleName)}
	if p.Topic == nil {
		problems = append(problems, errors.New("no SNS topic: alarms that tell nobody are a mistake"))
	}
	return errors.Join(problems...)
}
