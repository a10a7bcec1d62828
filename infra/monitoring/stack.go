// Package monitoring is the stack that tells by e-mail when a device ends its
// connection ungracefully, and the configuration that it is made from.
package monitoring

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3assets"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"lastwill/constructs/alert"
	"lastwill/constructs/check"
	"lastwill/constructs/device"
	"lastwill/constructs/health"
	"lastwill/constructs/outage"
	"lastwill/constructs/simulator"
	"lastwill/internal/keypair"
	"lastwill/internal/will"
)

// StackProps configure the stack.
type StackProps struct {
	awscdk.StackProps
	// Config of the environment. Required.
	Config Config
	// Devices of the environment, as Config.Devices returns them. Required.
	Devices []device.Thing
	// Simulator is the folder of the simulator program.
	// Default: that of the configuration's architecture.
	Simulator string
	// Alerter is the folder of the program of confirmed alerts.
	// Default: that of the configuration's architecture.
	Alerter string
}

// NewStack adds the environment's stack to an app. It panics if the props are invalid.
func NewStack(scope constructs.Construct, props StackProps) awscdk.Stack {
	names := props.Config.Names()
	if props.Env == nil {
		props.Env = props.Config.env()
	}
	if props.Tags == nil {
		props.Tags = props.Config.tags()
	}
	stack := awscdk.NewStack(scope, jsii.String(names.Stack), &props.StackProps)
	devices := device.New(stack, "Devices", device.Props{
		Things:         props.Devices,
		ConnectedTopic: names.ConnectedTopic,
		WillTopic:      names.WillTopic,
	})
	// Tags of the stack may not reach AWS::IoT::Policy (cloudformation-coverage-roadmap
	// 1939), whose generated name does not begin with the stack's: without tags of its own
	// nobody could tell afterwards whose it is.
	for _, key := range slices.Sorted(maps.Keys(*props.Tags)) {
		awscdk.Tags_Of(devices.Policy).Add(&key, (*props.Tags)[key], nil)
	}
	alarm := alert.New(stack, "Alert", alert.Props{
		RuleName:      names.Rule,
		Description:   will.RuleDescription,
		SQL:           will.SQL(names.WillTopic),
		SNSTopicName:  names.SNSTopic,
		Emails:        props.Config.Email,
		ExecutedTopic: names.ExecutedTopic,
		Confirmed:     props.Config.Grace != 0,
		KeepErrorLog:  !props.Config.RemoveLogs,
	})
	if props.Config.Alarms {
		health.NewAlarms(stack, "Alarms", health.AlarmsProps{RuleName: names.Rule, Topic: alarm.Topic})
	}
	if props.Config.Dashboard {
		health.NewDashboard(stack, "Dashboard", health.DashboardProps{
			Name: names.Stack, RuleName: names.Rule, SNSTopicName: names.SNSTopic,
		})
	}
	var outages *outage.Outage
	if props.Config.Grace != 0 {
		outages = newOutage(stack, props, alarm)
	}
	if props.Simulator == "" {
		props.Simulator = props.Config.Architecture.Folder()
	}
	program := simulator.New(stack, "Simulator", simulator.Props{Folder: props.Simulator})
	if props.Config.Check {
		check.New(stack, "Check", check.Props{
			Program: program, Architecture: props.Config.Architecture, Devices: devices, Alert: alarm, Limit: props.Config.CheckLimit,
		})
	}
	addOutputs(stack, props, devices, alarm, program)
	if outages != nil {
		addOutput(stack, will.OutputOutageTable, *outages.Table.Ref(), "Table of the devices that are or may be offline")
		addOutput(stack, will.OutputOutageLog, *outages.Log.Ref(), "Log group of confirmed alerts: why a mail was sent, or none")
	}
	return stack
}

func newOutage(stack awscdk.Stack, props StackProps, alarm *alert.Alert) *outage.Outage {
	architecture := props.Config.Architecture
	if architecture == "" {
		architecture = simulator.X86
	}
	if props.Alerter == "" {
		props.Alerter = "dist/alerter-linux-" + architecture.GOARCH()
	}
	return outage.New(stack, "Outage", outage.Props{
		Grace:        props.Config.Grace,
		Names:        props.Config.Names(),
		Alert:        alarm,
		Emails:       props.Config.Email,
		Alarms:       props.Config.Alarms,
		Folder:       props.Alerter,
		Architecture: string(architecture),
	})
}

// tags are the stack's, which CloudFormation gives to all of its resources that can
// have some.
func (c Config) tags() *map[string]*string {
	tags := map[string]*string{will.TagApp: jsii.String(will.App)}
	if c.Environment != "" {
		tags[will.TagEnvironment] = jsii.String(c.Environment)
	}
	for key, value := range c.Tags {
		tags[key] = jsii.String(value)
	}
	return &tags
}

// env is nil if account and region are those of whoever deploys.
func (c Config) env() *awscdk.Environment {
	if c.Account == "" && c.Region == "" {
		return nil
	}
	return &awscdk.Environment{Account: optional(c.Account), Region: optional(c.Region)}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func addOutputs(stack awscdk.Stack, props StackProps, devices *device.Devices, alarm *alert.Alert, program awss3assets.Asset) {
	c := props.Config
	names := c.Names()
	things := c.thingNames()
	var certificates []string
	for _, certificate := range devices.Certificates {
		certificates = append(certificates, *certificate.Ref())
	}
	certificateCommand, certificateWhat := fetchOne(c.Certs, things[0], certificates[0]), "Fetches the first thing's certificate"
	if len(things) > 1 {
		certificateCommand, certificateWhat = fetchAll(c), "Fetches the certificates of all things"
	}
	outputs := []struct{ id, value, description string }{
		{will.OutputThingName, strings.Join(things, ","), "Things; each one's client ID is its name"},
		{will.OutputCertificateID, strings.Join(certificates, ","), "Certificates, in the order of the things"},
		{will.OutputPolicyName, *devices.Policy.Ref(), "IoT policy of the things"},
		{will.OutputRuleName, *alarm.Rule.Ref(), "Topic rule that selects the Will Messages"},
		{will.OutputSNSTopicARN, *alarm.Topic.TopicArn(), "SNS topic of the e-mails"},
		{will.OutputErrorLogGroup, *alarm.ErrorLog.Ref(), "Log group of the rule's failed actions"},
		{will.OutputWillTopic, names.WillTopic, "MQTT topic of the Will Messages"},
		{will.OutputConnectedTopic, names.ConnectedTopic, "MQTT topic of the connected messages"},
		{will.OutputExecutedTopic, names.ExecutedTopic, "MQTT topic of the rule's copies"},
		{will.OutputSimulatorAsset, *program.S3ObjectUrl(), "Zip of the simulator program for Linux, which is named bootstrap"},
		{will.OutputCertificateCommand, certificateCommand, certificateWhat},
		{will.OutputSimulatorCommand, simulatorCommand(c, things[0]), "Plays the first thing, once its certificate is there"},
	}
	for _, o := range outputs {
		if o.id == will.OutputCertificateCommand && len(things) == 1 && props.Devices[0].Certificate != "" {
			continue // the file is the user's own, which the command would overwrite
		}
		addOutput(stack, o.id, o.value, o.description)
	}
}

func addOutput(stack awscdk.Stack, id, value, description string) {
	awscdk.NewCfnOutput(stack, jsii.String(id), &awscdk.CfnOutputProps{Value: jsii.String(value), Description: jsii.String(description)})
}

func fetchAll(c Config) string {
	command := "go run ./cmd/lwt certificates"
	if c.Environment != "" {
		command += " -environment " + c.Environment
	}
	if c.Certs != "certs" {
		command += " -certs " + quote(c.Certs)
	}
	return command
}

func fetchOne(certs, thing, certificateID string) string {
	return "aws iot describe-certificate --certificate-id " + certificateID +
		" --query certificateDescription.certificatePem --output text > " + quote(keypair.CertificateFile(certs, thing))
}

// simulatorCommand is the scenario's sample command, with the flags that the
// configuration asks for beyond it.
func simulatorCommand(c Config, thing string) string {
	names, usual := c.Names(), will.NewNames("")
	// CloudFormation has no attribute for the endpoint.
	command := []string{
		"go run ./cmd/simulator",
		"-e $(aws iot describe-endpoint --endpoint-type iot:Data-ATS --query endpointAddress --output text)",
		"-c " + quote(keypair.CertificateFile(c.Certs, thing)),
		"-k " + quote(keypair.KeyFile(c.Certs, thing)),
		"-id " + thing,
		"-t " + quote(names.ConnectedTopic),
		"-m publish",
	}
	if names.WillTopic != usual.WillTopic {
		command = append(command, "-will-topic "+quote(names.WillTopic))
	}
	if c.KeepAlive != will.KeepAlive {
		command = append(command, fmt.Sprintf("-keep-alive %d", c.KeepAlive/time.Second))
	}
	return strings.Join(command, " ")
}

// quote makes one word of s for a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("/._:-", r) || 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9'
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
