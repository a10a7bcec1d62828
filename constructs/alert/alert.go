// Package alert turns messages that a topic rule selects into e-mails: a topic
// rule with a role of its own, an SNS topic with e-mail subscriptions, a copy of
// each selected message on an MQTT topic, and a log of failed actions.
package alert

import (
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strings"
	"unicode"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiot"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
	"golang.org/x/net/idna"

	"lastwill/constructs/policy"
	"lastwill/internal/iotsql"
	"lastwill/internal/will"
)

// SharedResources are the resources that an Alert adds to its stack beside one
// subscription for each e-mail address: SNS topic and its policy, log group,
// role and rule.
const SharedResources = 5

// logRetentionDays is long enough to find out why an alert of last month did not come.
const logRetentionDays = 90

// A MessageFormat is how the SNS action hands a message to SNS.
type MessageFormat string

// Message formats. With JSON, SNS takes the payload for a message per protocol
// and refuses one that has no top-level key "default", as the scenario's Will
// Message has none (SNS API reference, Publish, MessageStructure).
const (
	RAW  MessageFormat = "RAW"
	JSON MessageFormat = "JSON"
)

// Props configure an Alert.
type Props struct {
	// RuleName is the topic rule's physical name, unique in account and region. Required.
	RuleName string
	// Description of the topic rule. Default: none.
	Description string
	// SQL is the topic rule's statement, in version 2016-03-23. Required.
	SQL string
	// SNSTopicName is name and display name of the SNS topic. Required.
	SNSTopicName string
	// Emails are the addresses that get the messages, once their owners have
	// confirmed. Default: none; then subscribe something else to Alert.Topic, or
	// nobody hears of anything.
	Emails []string
	// ExecutedTopic is the MQTT topic that gets a copy of each selected message,
	// at QoS 0. The rule must not select from it. Required.
	ExecutedTopic string
	// MessageFormat of the SNS action. Default: RAW, the payload as it is.
	MessageFormat MessageFormat
	// Confirmed leaves out the SNS action: constructs/outage publishes to the topic, once a
	// loss is confirmed. Default: each selected message goes to the topic.
	Confirmed bool
	// KeepErrorLog keeps the log of failed actions when the stack is deleted.
	// Default: it is deleted with the stack.
	KeepErrorLog bool
}

// Alert is a topic rule and all that it acts on.
type Alert struct {
	Props    Props
	Rule     awsiot.CfnTopicRule
	Role     awsiam.CfnRole
	Topic    awssns.Topic
	ErrorLog awslogs.CfnLogGroup
}

// New adds an alert to a scope. It panics with the error of Props.Validate.
func New(scope constructs.Construct, id string, props Props) *Alert {
	if err := props.Validate(); err != nil {
		panic(err)
	}
	scope = constructs.NewConstruct(scope, jsii.String(id))
	a := &Alert{Props: props}
	a.addTopic(scope, props)
	a.ErrorLog = awslogs.NewCfnLogGroup(scope, jsii.String("ErrorLog"), &awslogs.CfnLogGroupProps{
		RetentionInDays: jsii.Number(logRetentionDays),
	})
	removal := awscdk.RemovalPolicy_DESTROY
	if props.KeepErrorLog {
		removal = awscdk.RemovalPolicy_RETAIN
	}
	a.ErrorLog.ApplyRemovalPolicy(removal, nil)
	a.addRole(scope, props)
	a.addRule(scope, props)
	return a
}

func (a *Alert) addTopic(scope constructs.Construct, props Props) {
	a.Topic = awssns.NewTopic(scope, jsii.String("Topic"), &awssns.TopicProps{
		TopicName:   jsii.String(props.SNSTopicName),
		DisplayName: jsii.String(props.SNSTopicName),
		EnforceSSL:  jsii.Bool(true),
	})
	for _, address := range props.Emails {
		awssns.NewSubscription(scope, jsii.String(address), &awssns.SubscriptionProps{
			Topic:    a.Topic,
			Protocol: awssns.SubscriptionProtocol_EMAIL,
			Endpoint: jsii.String(address),
		})
	}
}

// addRole gives the rule's actions exactly what they do. The permissions are
// inline in the role, so that the role never exists without them: AWS IoT tries
// the role while it creates the rule (developer guide, "Granting an AWS IoT rule
// the access it requires").
func (a *Alert) addRole(scope constructs.Construct, props Props) {
	iot := policy.Prefix(scope, "iot")
	var statements []any
	if !props.Confirmed {
		statements = append(statements, policy.Allow(a.Topic.TopicArn(), "sns:Publish"))
	}
	statements = append(statements,
		policy.Allow(jsii.String(iot+"topic/"+props.ExecutedTopic), "iot:Publish"),
		// Developer guide, "CloudWatch Logs" rule action, requirements.
		policy.Allow(a.ErrorLog.AttrArn(), "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
	)
	a.Role = awsiam.NewCfnRole(scope, jsii.String("lwtRuleRole"), &awsiam.CfnRoleProps{
		Description:              jsii.String("Actions of the topic rule " + props.RuleName),
		AssumeRolePolicyDocument: RuleTrust(scope, props.RuleName),
		Policies: []any{&awsiam.CfnRole_PolicyProperty{
			PolicyName:     jsii.String("RuleActions"),
			PolicyDocument: policy.Document(statements...),
		}},
	})
}

// RuleTrust lets one topic rule of the stack's account use a role.
func RuleTrust(scope constructs.Construct, rule string) map[string]any {
	return policy.Document(map[string]any{
		"Effect":    "Allow",
		"Action":    "sts:AssumeRole",
		"Principal": map[string]any{"Service": "iot.amazonaws.com"},
		// Against the confused deputy: no other account's rule may borrow the role
		// (developer guide, "Cross-service confused deputy prevention").
		"Condition": map[string]any{
			"StringEquals": map[string]any{"aws:SourceAccount": awscdk.Stack_Of(scope).Account()},
			"ArnEquals":    map[string]any{"aws:SourceArn": policy.Prefix(scope, "iot") + "rule/" + rule},
		},
	})
}

func (a *Alert) addRule(scope constructs.Construct, props Props) {
	role := a.Role.AttrArn()
	a.Rule = awsiot.NewCfnTopicRule(scope, jsii.String("Rule"), &awsiot.CfnTopicRuleProps{
		RuleName: jsii.String(props.RuleName),
		TopicRulePayload: &awsiot.CfnTopicRule_TopicRulePayloadProperty{
			Sql:              jsii.String(props.SQL),
			AwsIotSqlVersion: jsii.String(will.SQLVersion),
			Description:      description(props),
			Actions:          a.actions(props),
			ErrorAction: &awsiot.CfnTopicRule_ActionProperty{CloudwatchLogs: &awsiot.CfnTopicRule_CloudwatchLogsActionProperty{
				LogGroupName: a.ErrorLog.Ref(),
				RoleArn:      role,
			}},
		},
	})
	// AWS IoT tries the role while it creates the rule, even a disabled one.
	a.Rule.AddResourceDependency(a.Role, nil)
}

func (a *Alert) actions(props Props) []any {
	role := a.Role.AttrArn()
	var actions []any
	if !props.Confirmed {
		format := props.MessageFormat
		if format == "" {
			format = RAW
		}
		actions = append(actions, &awsiot.CfnTopicRule_ActionProperty{Sns: &awsiot.CfnTopicRule_SnsActionProperty{
			TargetArn:     a.Topic.TopicArn(),
			RoleArn:       role,
			MessageFormat: jsii.String(string(format)),
		}})
	}
	return append(actions, &awsiot.CfnTopicRule_ActionProperty{Republish: &awsiot.CfnTopicRule_RepublishActionProperty{
		Topic:   jsii.String(props.ExecutedTopic),
		RoleArn: role,
		Qos:     jsii.Number(0),
	}})
}

func description(props Props) *string {
	if props.Description == "" {
		return nil
	}
	return &props.Description
}

var snsTopicName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,100}$`)

// Validate returns all that is wrong with the props.
func (p Props) Validate() error {
	problems := []error{will.CheckRuleName(p.RuleName)}
	if !snsTopicName.MatchString(p.SNSTopicName) {
		problems = append(problems, fmt.Errorf("SNS topic name %q: use 1 to 100 letters, digits, underscores and hyphens", p.SNSTopicName))
	}
	problems = append(problems, will.CheckTopicName(p.ExecutedTopic), p.checkSQL())
	if p.MessageFormat != "" && p.MessageFormat != RAW && p.MessageFormat != JSON {
		problems = append(problems, fmt.Errorf("message format %q: use RAW or JSON", p.MessageFormat))
	}
	return errors.Join(append(problems, CheckEmails(p.Emails))...)
}

// checkSQL stops here what AWS would refuse in the deployment, or would take and
// never run.
func (p Props) checkSQL() error {
	rule, err := iotsql.Compile(p.SQL, will.SQLVersion)
	var syntax *iotsql.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("SQL: %w\n%s", err, syntax.Snippet())
	}
	if err != nil {
		return fmt.Errorf("SQL: %w", err)
	}
	var problems []error
	for _, found := range rule.Check(p.ExecutedTopic) {
		if found.Warning {
			continue // AWS may take it
		}
		problems = append(problems, fmt.Errorf("SQL: %s\n%s", found, found.Snippet()))
	}
	return errors.Join(problems...)
}

// CheckEmails returns all that is wrong with the addresses of an alert.
func CheckEmails(addresses []string) error {
	var problems []error
	seen := map[string]bool{}
	for _, address := range addresses {
		problems = append(problems, checkEmail(address))
		if folded := strings.ToLower(address); seen[folded] {
			problems = append(problems, fmt.Errorf("e-mail address %q is given twice: name each address once", address))
		} else {
			seen[folded] = true
		}
	}
	return errors.Join(problems...)
}

// checkEmail takes what all mail services reach: a local part in ASCII (RFC 5321,
// without the extension of RFC 6531) and a domain that DNS can have.
func checkEmail(s string) error {
	invalid := fmt.Errorf("e-mail address %q: give one address such as ops@example.com", s)
	parsed, err := mail.ParseAddress(s)
	if err != nil || parsed.Address != s {
		return invalid
	}
	at := strings.LastIndex(s, "@")
	local, domain := s[:at], s[at+1:]
	isASCII := func(s string) bool {
		return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	switch {
	case !isASCII(local):
		return fmt.Errorf("e-mail address %q: many mail services do not reach it, give one with only ASCII characters before the @", s)
	case len(local) > 64 || len(ascii) > 253 || err != nil || !strings.Contains(ascii, ".") || strings.HasSuffix(ascii, "."):
		return invalid
	case !isASCII(domain):
		return fmt.Errorf("e-mail address %q: give its domain as DNS has it: %s@%s", s, local, ascii)
	}
	return nil
}
