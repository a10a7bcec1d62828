// Package outage makes the infrastructure of confirmed alerts: a topic rule that puts wills
// into a queue, the function that finds out which devices are still offline and mails about
// those, its table, and alarms that tell people when any of this does not work.
package outage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiot"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"lastwill/constructs/alert"
	"lastwill/constructs/health"
	"lastwill/constructs/policy"
	"lastwill/internal/will"
)

// Resources that an Outage adds to its stack: two queues, table, two roles, rule,
// log group, function, schedule and its permission; and with alarms an SNS topic, its policy
// and the alarms, beside one subscription for each e-mail address.
var (
	Resources      = 10
	AlarmResources = 2 + len(alarms)
)

// Bounds of the grace time. AWS's device libraries wait up to 128 s before they connect
// again, so less than two or three minutes mails about healthy devices.
const (
	MinGrace = time.Minute
	MaxGrace = 15 * time.Minute
)

const (
	// timeout is internal/outage's. Messages are not to be seen by another sweep for longer.
	timeoutSeconds    = 55
	visibilitySeconds = timeoutSeconds + 1
	// receives is how many sweeps try to take a message in. While the table does not
	// answer, each of them tells people of it.
	receives = 10
	// retentionSeconds is the longest that SQS keeps a message: 14 days.
	retentionSeconds = 14 * 24 * 60 * 60
	// memoryMB holds what one sweep reads (internal/outage/dynamo), and gives it the
	// processor for some hundred calls at a time.
	memoryMB = 256
	// logRetentionDays is long enough to find out why an alert of last month did not come.
	logRetentionDays = 90
	program          = "bootstrap"
)

// Props configure an Outage.
type Props struct {
	// Grace is how long a device must be offline before people are told, from MinGrace to
	// MaxGrace in whole seconds. Required.
	Grace time.Duration
	// Names of the environment. Required.
	Names will.Names
	// Alert has the SNS topic of the mails and the log of failed actions. Required.
	Alert *alert.Alert
	// Emails are the addresses that get the alarms, once their owners have confirmed. Required with Alarms.
	Emails []string
	// Alarms tell when mails may be missing. Default: nobody is told.
	Alarms bool
	// Folder has the alerter program, and nothing else. Required.
	Folder string
	// Architecture that the program is built for, in AWS Lambda's words. Required.
	Architecture string
}

// Outage is what confirmed alerts consist of.
type Outage struct {
	Rule       awsiot.CfnTopicRule
	Queue      awssqs.CfnQueue
	Table      awsdynamodb.CfnTable
	Function   awscdk.CfnResource
	Log        awslogs.CfnLogGroup
	AlarmTopic awssns.Topic // nil without alarms
}

// New adds confirmed alerts to a scope. It panics with the error of Props.Validate.
func New(scope constructs.Construct, id string, props Props) *Outage {
	if err := props.Validate(); err != nil {
		panic(err)
	}
	scope = constructs.NewConstruct(scope, jsii.String(id))
	o := &Outage{}
	dead := awssqs.NewCfnQueue(scope, jsii.String("DeadLetters"), &awssqs.CfnQueueProps{
		MessageRetentionPeriod: jsii.Number(retentionSeconds),
	})
	o.Queue = awssqs.NewCfnQueue(scope, jsii.String("Queue"), &awssqs.CfnQueueProps{
		MessageRetentionPeriod: jsii.Number(retentionSeconds),
		VisibilityTimeout:      jsii.Number(visibilitySeconds),
		RedrivePolicy:          map[string]any{"deadLetterTargetArn": dead.AttrArn(), "maxReceiveCount": receives},
	})
	o.Table = awsdynamodb.NewCfnTable(scope, jsii.String("Table"), &awsdynamodb.CfnTableProps{
		BillingMode: jsii.String("PAY_PER_REQUEST"),
		// The names are those of internal/outage/dynamo.
		AttributeDefinitions: []any{
			&awsdynamodb.CfnTable_AttributeDefinitionProperty{AttributeName: jsii.String("pk"), AttributeType: jsii.String("S")},
			&awsdynamodb.CfnTable_AttributeDefinitionProperty{AttributeName: jsii.String("sk"), AttributeType: jsii.String("S")},
		},
		KeySchema: []any{
			&awsdynamodb.CfnTable_KeySchemaProperty{AttributeName: jsii.String("pk"), KeyType: jsii.String("HASH")},
			&awsdynamodb.CfnTable_KeySchemaProperty{AttributeName: jsii.String("sk"), KeyType: jsii.String("RANGE")},
		},
		TimeToLiveSpecification: &awsdynamodb.CfnTable_TimeToLiveSpecificationProperty{
			AttributeName: jsii.String("expires"), Enabled: jsii.Bool(true),
		},
	})
	// It holds what is wrong now: nothing of a stack that is gone.
	o.Table.ApplyRemovalPolicy(awscdk.RemovalPolicy_DESTROY, nil)
	o.addRule(scope, props)
	o.addFunction(scope, props)
	o.addSchedule(scope)
	if props.Alarms {
		o.addAlarms(scope, props, dead)
	}
	return o
}

// addRule adds the rule that puts wills into the queue. The alert's own rule keeps its
// statement and its copy.
func (o *Outage) addRule(scope constructs.Construct, props Props) {
	role := awsiam.NewCfnRole(scope, jsii.String("RuleRole"), &awsiam.CfnRoleProps{
		Description:              jsii.String("Actions of the topic rule " + props.Names.OutageRule),
		AssumeRolePolicyDocument: alert.RuleTrust(scope, props.Names.OutageRule),
		Policies: []any{&awsiam.CfnRole_PolicyProperty{
			PolicyName: jsii.String("RuleActions"),
			PolicyDocument: policy.Document(
				policy.Allow(o.Queue.AttrArn(), "sqs:SendMessage"),
				// Developer guide, "CloudWatch Logs" rule action, requirements.
				policy.Allow(props.Alert.ErrorLog.AttrArn(), "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
			),
		}},
	})
	o.Rule = awsiot.NewCfnTopicRule(scope, jsii.String("Rule"), &awsiot.CfnTopicRuleProps{
		RuleName: jsii.String(props.Names.OutageRule),
		TopicRulePayload: &awsiot.CfnTopicRule_TopicRulePayloadProperty{
			Sql:              jsii.String(will.OutageSQL(props.Names.WillTopic)),
			AwsIotSqlVersion: jsii.String(will.SQLVersion),
			Description:      jsii.String("Wills for confirmed alerts"),
			Actions: []any{&awsiot.CfnTopicRule_ActionProperty{Sqs: &awsiot.CfnTopicRule_SqsActionProperty{
				QueueUrl: o.Queue.Ref(), RoleArn: role.AttrArn(), UseBase64: jsii.Bool(false),
			}}},
			ErrorAction: &awsiot.CfnTopicRule_ActionProperty{CloudwatchLogs: &awsiot.CfnTopicRule_CloudwatchLogsActionProperty{
				LogGroupName: props.Alert.ErrorLog.Ref(), RoleArn: role.AttrArn(),
			}},
		},
	})
	// AWS IoT tries the role while it creates the rule.
	o.Rule.AddResourceDependency(role, nil)
	// When confirmed alerts are turned on, wills reach the queue before they stop
	// reaching the topic: none is lost in between.
	props.Alert.Rule.AddResourceDependency(o.Rule, nil)
}

func (o *Outage) addFunction(scope constructs.Construct, props Props) {
	asset := awss3assets.NewAsset(scope, jsii.String("Program"), &awss3assets.AssetProps{Path: jsii.String(props.Folder)})
	o.Log = awslogs.NewCfnLogGroup(scope, jsii.String("Log"), &awslogs.CfnLogGroupProps{RetentionInDays: jsii.Number(logRetentionDays)})
	o.Log.ApplyRemovalPolicy(awscdk.RemovalPolicy_DESTROY, nil)
	clients := jsii.String(policy.Prefix(scope, "iot") + "client/*")
	role := awsiam.NewCfnRole(scope, jsii.String("Role"), &awsiam.CfnRoleProps{
		Description: jsii.String("Confirmed alerts of the topic rule " + props.Names.OutageRule),
		AssumeRolePolicyDocument: policy.Document(map[string]any{
			"Effect":    "Allow",
			"Action":    "sts:AssumeRole",
			"Principal": map[string]any{"Service": "lambda.amazonaws.com"},
		}),
		Policies: []any{&awsiam.CfnRole_PolicyProperty{
			PolicyName: jsii.String("Alerter"),
			PolicyDocument: policy.Document(
				policy.Allow(o.Log.AttrArn(), "logs:CreateLogStream", "logs:PutLogEvents"),
				policy.Allow(o.Queue.AttrArn(), "sqs:ReceiveMessage", "sqs:DeleteMessage"),
				policy.Allow(o.Table.AttrArn(), "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:Query"),
				// Nobody knows the client IDs before.
				policy.Allow(clients, "iot:GetConnection"),
				policy.Allow(props.Alert.Topic.TopicArn(), "sns:Publish"),
			),
		}},
	})
	o.Function = awscdk.NewCfnResource(scope, jsii.String("Function"), &awscdk.CfnResourceProps{
		Type: jsii.String("AWS::Lambda::Function"),
		Properties: &map[string]any{
			"Description":   "Confirmed alerts of the topic rule " + props.Names.OutageRule,
			"Runtime":       "provided.al2023",
			"Handler":       program,
			"Architectures": []any{props.Architecture},
			"Code":          map[string]any{"S3Bucket": asset.S3BucketName(), "S3Key": asset.S3ObjectKey()},
			"Role":          role.AttrArn(),
			"Timeout":       timeoutSeconds,
			"MemorySize":    memoryMB,
			// A log group of its own goes with the stack; the one that Lambda makes stays.
			"LoggingConfig": map[string]any{"LogGroup": o.Log.Ref()},
			// The names are those of cmd/alerter.
			"Environment": map[string]any{"Variables": map[string]any{
				"GRACE":       props.Grace.String(),
				"ENVIRONMENT": props.Names.Environment,
				"QUEUE_URL":   o.Queue.Ref(),
				"TABLE":       o.Table.Ref(),
				"SNS_TOPIC":   props.Alert.Topic.TopicArn(),
			}},
		},
	})
}

func (o *Outage) addSchedule(scope constructs.Construct) {
	function := o.Function.GetAtt(jsii.String("Arn"), awscdk.ResolutionTypeHint_STRING)
	schedule := awscdk.NewCfnResource(scope, jsii.String("Schedule"), &awscdk.CfnResourceProps{
		Type: jsii.String("AWS::Events::Rule"),
		Properties: &map[string]any{
			"Description":        "Runs confirmed alerts",
			"ScheduleExpression": "rate(1 minute)",
			"State":              "ENABLED",
			"Targets":            []any{map[string]any{"Id": "Alerter", "Arn": function}},
		},
	})
	awscdk.NewCfnResource(scope, jsii.String("Permission"), &awscdk.CfnResourceProps{
		Type: jsii.String("AWS::Lambda::Permission"),
		Properties: &map[string]any{
			"Action":       "lambda:InvokeFunction",
			"FunctionName": function,
			"Principal":    "events.amazonaws.com",
			"SourceArn":    schedule.GetAtt(jsii.String("Arn"), awscdk.ResolutionTypeHint_STRING),
		},
	})
}

// An alarm watches one metric of confirmed alerts.
type alarm struct {
	// name ends the alarm's name, and is the construct's id.
	name, namespace, metric, statistic, comparison string
	threshold                                      float64
	// missing is what no data means.
	missing string
	meaning string
}

// alarms are all ways in which a will that came does not become a mail that should be.
var alarms = []alarm{
	{"NotRun", "AWS/Lambda", "Invocations", "Sum", "LessThanThreshold", 3, "breaching", "The function of confirmed alerts runs too seldom: nobody hears of lost devices."},
	{"FunctionErrors", "AWS/Lambda", "Errors", "Sum", "GreaterThanThreshold", 0, "notBreaching", "The function of confirmed alerts failed: mails may be missing. Its log says why."},
	{"DeadLetters", "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", "GreaterThanThreshold", 0, "notBreaching", "Wills could not be read or stored. They are in the dead-letter queue: nobody heard of them."},
	{"Backlog", "AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", "GreaterThanThreshold", 300, "notBreaching", "Wills wait in the queue for more than five minutes: mails are late."},
	{"RuleFailure", "AWS/IoT", "Failure", "Sum", "GreaterThanThreshold", 0, "notBreaching", "The topic rule could not put a will into the queue. The log of failed actions says why."},
}

// alarmSeconds is how far an alarm looks back.
const alarmSeconds = 300

// addAlarms tells the same people through another topic: one that is broken cannot tell of itself.
func (o *Outage) addAlarms(scope constructs.Construct, props Props, dead awssqs.CfnQueue) {
	scope = constructs.NewConstruct(scope, jsii.String("Alarms"))
	o.AlarmTopic = awssns.NewTopic(scope, jsii.String("Topic"), &awssns.TopicProps{
		TopicName:   jsii.String(props.Names.AlarmTopic),
		DisplayName: jsii.String(props.Names.AlarmTopic),
		EnforceSSL:  jsii.Bool(true),
	})
	for _, address := range props.Emails {
		awssns.NewSubscription(scope, jsii.String(address), &awssns.SubscriptionProps{
			Topic:    o.AlarmTopic,
			Protocol: awssns.SubscriptionProtocol_EMAIL,
			Endpoint: jsii.String(address),
		})
	}
	var names []string
	for _, a := range alarms {
		names = append(names, props.Names.OutageRule+"-"+a.name)
		o.addAlarm(scope, a, names[len(names)-1], dead, props.Names.OutageRule)
	}
	health.LetAlarmsPublish(o.AlarmTopic, names)
}

func (o *Outage) addAlarm(scope constructs.Construct, a alarm, name string, dead awssqs.CfnQueue, rule string) {
	p := &awscloudwatch.CfnAlarmProps{
		AlarmName:          jsii.String(name),
		AlarmDescription:   jsii.String(a.meaning + " What to do: docs/runbook.md, " + a.name + "."),
		AlarmActions:       &[]any{o.AlarmTopic.TopicArn()},
		ComparisonOperator: jsii.String(a.comparison),
		Threshold:          jsii.Number(a.threshold),
		EvaluationPeriods:  jsii.Number(1),
		TreatMissingData:   jsii.String(a.missing),
	}
	if a.namespace == "AWS/IoT" {
		p.Metrics = health.RuleMetric(a.metric, rule)
	} else {
		dimension, value := "QueueName", o.Queue.AttrQueueName()
		switch {
		case a.namespace == "AWS/Lambda":
			dimension, value = "FunctionName", o.Function.Ref()
		case a.name == "DeadLetters":
			value = dead.AttrQueueName()
		}
		p.Namespace, p.MetricName = jsii.String(a.namespace), jsii.String(a.metric)
		p.Dimensions = []any{&awscloudwatch.CfnAlarm_DimensionProperty{Name: jsii.String(dimension), Value: value}}
		p.Statistic, p.Period = jsii.String(a.statistic), jsii.Number(alarmSeconds)
	}
	awscloudwatch.NewCfnAlarm(scope, jsii.String(a.name), p)
}

// CheckGrace says what keeps a duration from being a grace time.
func CheckGrace(d time.Duration) error {
	if d < MinGrace || d > MaxGrace || d%time.Second != 0 {
		return fmt.Errorf("%q: give a duration from 60s to 15m in whole seconds, such as 3m", d)
	}
	return nil
}

// Validate returns all that is wrong with the props.
func (p Props) Validate() error {
	problems := []error{CheckGrace(p.Grace), will.CheckRuleName(p.Names.OutageRule), will.CheckTopicName(p.Names.WillTopic)}
	if p.Alert == nil {
		problems = append(problems, errors.New("confirmed alerts need an alert"))
	}
	if p.Alarms {
		if len(p.Emails) == 0 {
			problems = append(problems, errors.New("no e-mail address for the alarms: give one such as ops@example.com, or leave the alarms out"))
		}
		problems = append(problems, alert.CheckEmails(p.Emails))
	}
	file := filepath.Join(p.Folder, program)
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		problems = append(problems, fmt.Errorf("alerter program %s is missing: start the app with the CDK CLI (npx cdk synth), which builds it as cdk.json's \"build\" says", file))
	}
	return errors.Join(problems...)
}
