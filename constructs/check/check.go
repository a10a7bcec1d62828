// Package check proves a stack end to end while it is deployed: a function lets a
// device vanish, and a custom resource is created only if the alert arrived.
package check

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"lastwill/constructs/alert"
	"lastwill/constructs/device"
	"lastwill/constructs/policy"
	"lastwill/constructs/simulator"
	"lastwill/internal/will"
)

// Resources are what a Check adds to its stack: log group, role, function and the
// custom resource.
const Resources = 4

// Type is the type of the custom resource.
const Type = "Custom::EndToEndCheck"

// Times of a check.
const (
	// DefaultLimit is for how long a check is tried.
	DefaultLimit = 2 * time.Minute
	// MinLimit is enough where everything is known at once.
	MinLimit = 10 * time.Second
	// MaxLimit leaves a function's quarter of an hour some time to clean up.
	MaxLimit = 10 * time.Minute
	// cleaning is what the function has beyond the limit to remove what it made.
	cleaning = time.Minute
	// retries is what AWS Lambda takes beyond three times the function's time, when
	// the function crashes: it tries again after one and two minutes (developer
	// guide, "How Lambda handles errors and retries with asynchronous invocation").
	attempts, retries = 3, 4 * time.Minute
	maxServiceTimeout = time.Hour
)

// memoryMB is little, but more means more processor for TLS.
const memoryMB = 256

// logRetentionDays is long enough to read why a deployment was rolled back.
const logRetentionDays = 30

// Props configure a Check.
type Props struct {
	// Program is the simulator, as simulator.New returns it. Required.
	Program awss3assets.Asset
	// Architecture that the program is built for. Default: X86.
	Architecture simulator.Architecture
	// Devices and Alert are what is checked. The name of the first device begins the
	// names of all that the check makes. Required.
	Devices *device.Devices
	Alert   *alert.Alert
	// Limit is for how long the check is tried before the deployment fails, from
	// MinLimit to MaxLimit. Default: DefaultLimit.
	Limit time.Duration
}

// target is what is checked.
func (p Props) target(scope constructs.Construct) will.Target {
	return will.Target{
		Stack:          *awscdk.Stack_Of(scope).StackName(),
		Thing:          p.Devices.Props.Things[0].Name,
		Policy:         *p.Devices.Policy.Ref(),
		Rule:           *p.Alert.Rule.Ref(),
		SNSTopic:       *p.Alert.Topic.TopicArn(),
		ErrorLog:       *p.Alert.ErrorLog.Ref(),
		WillTopic:      p.Devices.Props.WillTopic,
		ConnectedTopic: p.Devices.Props.ConnectedTopic,
		ExecutedTopic:  p.Alert.Props.ExecutedTopic,
	}
}

// Check is a function that lets a device vanish, and a custom resource that is
// created only if the alert arrived.
type Check struct {
	Function awscdk.CfnResource
	Resource awscdk.CfnResource
	Log      awslogs.CfnLogGroup
}

// New adds the end-to-end check to a scope. A deployment that changes the alert or
// the devices' policy runs it again. It panics with the error of Props.Validate.
func New(scope constructs.Construct, id string, props Props) *Check {
	if err := props.Validate(); err != nil {
		panic(err)
	}
	if props.Limit == 0 {
		props.Limit = DefaultLimit
	}
	if props.Architecture == "" {
		props.Architecture = simulator.X86
	}
	scope = constructs.NewConstruct(scope, jsii.String(id))
	c := &Check{Log: awslogs.NewCfnLogGroup(scope, jsii.String("Log"), &awslogs.CfnLogGroupProps{
		RetentionInDays: jsii.Number(logRetentionDays),
	})}
	c.Log.ApplyRemovalPolicy(awscdk.RemovalPolicy_DESTROY, nil)
	timeout := props.Limit + cleaning
	role := addRole(scope, props, c.Log)
	c.Function = awscdk.NewCfnResource(scope, jsii.String("Function"), &awscdk.CfnResourceProps{
		Type: jsii.String("AWS::Lambda::Function"),
		Properties: &map[string]any{
			"Description":   "End-to-end check of the topic rule " + props.Alert.Props.RuleName,
			"Runtime":       "provided.al2023",
			"Handler":       simulator.Program,
			"Architectures": []any{string(props.Architecture)},
			"Code":          map[string]any{"S3Bucket": props.Program.S3BucketName(), "S3Key": props.Program.S3ObjectKey()},
			"Role":          role.AttrArn(),
			"Timeout":       timeout.Seconds(),
			"MemorySize":    memoryMB,
			// A log group of its own goes with the stack; the one that Lambda makes stays.
			"LoggingConfig": map[string]any{"LogGroup": c.Log.Ref()},
		},
	})
	c.addResource(scope, props, timeout)
	return c
}

// addResource refers to all that is checked, so that CloudFormation makes it last
// and deletes it first: function, role and what the check may have left attached
// to the IoT policy are there until it is gone.
func (c *Check) addResource(scope constructs.Construct, props Props, timeout time.Duration) {
	serviceTimeout := min(attempts*timeout+retries, maxServiceTimeout)
	c.Resource = awscdk.NewCfnResource(scope, jsii.String("Resource"), &awscdk.CfnResourceProps{
		Type: jsii.String(Type),
		Properties: &map[string]any{
			"ServiceToken":   c.Function.GetAtt(jsii.String("Arn"), awscdk.ResolutionTypeHint_STRING),
			"ServiceTimeout": serviceTimeout.Seconds(),
			"LimitSeconds":   props.Limit.Seconds(),
			"Fingerprint":    fingerprint(scope, props),
			"Target":         inJSON(props.target(scope)),
		},
	})
	// The topic's policy can keep the rule from publishing.
	c.Resource.Node().AddDependency(props.Alert.Topic)
}

// inJSON is what jsii takes for the JSON of a target. The CDK's tokens in it are
// texts, and stay whole.
func inJSON(t will.Target) (properties map[string]any) {
	text, err := json.Marshal(t)
	if err == nil {
		err = json.Unmarshal(text, &properties)
	}
	if err != nil {
		panic(fmt.Errorf("target of the check: %w", err)) // texts always marshal
	}
	return properties
}

// fingerprint changes when anything changes that can break the alert: a custom
// resource runs again only when one of its properties does.
func fingerprint(scope constructs.Construct, props Props) string {
	parts := []any{
		props.Program.AssetHash(), props.Devices.Policy.PolicyDocument(),
		props.Alert.Rule.TopicRulePayload(), props.Alert.Role.AssumeRolePolicyDocument(), props.Alert.Role.Policies(),
	}
	for _, certificate := range props.Devices.Certificates {
		source := certificate.CertificateSigningRequest()
		if source == nil {
			source = certificate.CertificatePem()
		}
		parts = append(parts, source, certificate.Status())
	}
	resolved, err := json.Marshal(awscdk.Stack_Of(scope).Resolve(parts))
	if err != nil {
		panic(fmt.Errorf("fingerprint of the check: %w", err))
	}
	sum := sha256.Sum256(resolved)
	return hex.EncodeToString(sum[:])
}

// addRole lets the function check, write its log, and see whether its stack is
// rolled back.
func addRole(scope constructs.Construct, props Props, log awslogs.CfnLogGroup) awsiam.CfnRole {
	stack := awscdk.Stack_Of(scope)
	statements := []any{policy.Allow(log.AttrArn(), "logs:CreateLogStream", "logs:PutLogEvents")}
	permissions := Permissions(Scope{
		ARN:   func(service, resource string) string { return policy.Prefix(scope, service) + resource },
		Thing: props.Devices.Props.Things[0].Name, RuleName: props.Alert.Props.RuleName,
		WillTopic: props.Devices.Props.WillTopic, ExecutedTopic: props.Alert.Props.ExecutedTopic,
		Stack: *stack.StackId(), SNSTopic: *props.Alert.Topic.TopicArn(), ErrorLog: *props.Alert.ErrorLog.AttrArn(),
	})
	for _, p := range permissions {
		statements = append(statements, policy.Allow(p.Resources, p.Actions...))
	}
	return awsiam.NewCfnRole(scope, jsii.String("Role"), &awsiam.CfnRoleProps{
		Description: jsii.String("End-to-end check of the topic rule " + props.Alert.Props.RuleName),
		AssumeRolePolicyDocument: policy.Document(map[string]any{
			"Effect":    "Allow",
			"Action":    "sts:AssumeRole",
			"Principal": map[string]any{"Service": "lambda.amazonaws.com"},
		}),
		Policies: []any{&awsiam.CfnRole_PolicyProperty{PolicyName: jsii.String("Check"), PolicyDocument: policy.Document(statements...)}},
	})
}

// Scope is what a check acts on.
type Scope struct {
	// ARN makes an ARN of a service's resource in the account and region of the stack.
	ARN func(service, resource string) string
	// Thing is the one whose name begins the names of all that the check makes.
	Thing string
	// RuleName, WillTopic and ExecutedTopic are those of the alert.
	RuleName, WillTopic, ExecutedTopic string
	// Stack, SNSTopic and ErrorLog are ARNs.
	Stack, SNSTopic, ErrorLog string
}

// A Permission allows actions on resources.
type Permission struct{ Actions, Resources []string }

// Permissions are what a check needs to make, use and remove what is its own,
// and what a check left that was killed.
// For some actions AWS knows no resource: they can be allowed for all or not at all
// (service authorization reference, AWS IoT and Amazon SNS). A certificate's ARN is
// not known before it is made, and which policy is attached to it cannot be limited.
func Permissions(s Scope) []Permission {
	own := will.NewCheckPrefix(s.Thing) + "*"
	on := func(resources []string, actions ...string) Permission { return Permission{actions, resources} }
	return []Permission{
		on([]string{"*"}, "iot:DescribeEndpoint", "iot:CreateCertificateFromCsr", "iot:AttachThingPrincipal", "iot:DetachThingPrincipal", "iot:ListThingPrincipals", "sns:Unsubscribe"),
		on([]string{s.ARN("iot", "thing/"+own)}, "iot:CreateThing", "iot:DeleteThing"),
		on([]string{s.ARN("iot", "cert/*")}, "iot:UpdateCertificate", "iot:DeleteCertificate", "iot:AttachPolicy", "iot:DetachPolicy"),
		on([]string{s.ARN("iot", "rule/"+s.RuleName)}, "iot:GetTopicRule"),
		on([]string{s.ARN("iot", "client/"+own)}, "iot:Connect"),
		on([]string{s.ARN("iot", "topicfilter/"+s.WillTopic), s.ARN("iot", "topicfilter/"+s.ExecutedTopic)}, "iot:Subscribe"),
		on([]string{s.ARN("iot", "topic/"+s.WillTopic), s.ARN("iot", "topic/"+s.ExecutedTopic)}, "iot:Receive"),
		on([]string{s.ARN("sqs", own)}, "sqs:CreateQueue", "sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:DeleteQueue"),
		on([]string{s.SNSTopic}, "sns:Subscribe", "sns:ListSubscriptionsByTopic"),
		on([]string{s.ErrorLog}, "logs:FilterLogEvents"),
		on([]string{s.Stack}, "cloudformation:DescribeStacks"),
	}
}

// Validate returns all that is wrong with the props.
func (p Props) Validate() error {
	var problems []error
	if p.Program == nil || p.Devices == nil || p.Alert == nil {
		problems = append(problems, errors.New("a check needs the program, the devices and the alert"))
	}
	problems = append(problems, p.Architecture.Validate())
	if p.Limit != 0 && (p.Limit < MinLimit || p.Limit > MaxLimit) {
		problems = append(problems, fmt.Errorf("limit of %s: give %s to %s", p.Limit, MinLimit, MaxLimit))
	}
	return errors.Join(problems...)
}
