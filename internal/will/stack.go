package will

import (
	"fmt"
	"strings"
)

// Keys of the stack's outputs.
const (
	// OutputThingName has the things, with commas between.
	OutputThingName = "ThingName"
	// OutputCertificateID has the certificates, in the order of the things.
	OutputCertificateID      = "CertificateId"
	OutputPolicyName         = "PolicyName"
	OutputRuleName           = "RuleName"
	OutputSNSTopicARN        = "SNSTopicArn"
	OutputErrorLogGroup      = "ErrorLogGroup"
	OutputWillTopic          = "WillTopic"
	OutputConnectedTopic     = "ConnectedTopic"
	OutputExecutedTopic      = "ExecutedTopic"
	OutputSimulatorAsset     = "SimulatorAsset"
	OutputCertificateCommand = "CertificateCommand"
	OutputSimulatorCommand   = "SimulatorCommand"
	// OutputOutageTable and OutputOutageLog are there with confirmed alerts only.
	OutputOutageTable = "OutageTable"
	OutputOutageLog   = "OutageLogGroup"
)

// A Target is what a check is about: the parts of a stack, by name. Its JSON is
// that of the check's custom resource and of the check's report.
type Target struct {
	// Stack that the parts are of. Default: none is named.
	Stack string `json:"stack,omitempty"`
	// Thing is one of the stack's; its name begins the names of all that the check
	// makes. Required.
	Thing string `json:"thing"`
	// Policy is the IoT policy of the things. Required.
	Policy string `json:"policy"`
	// Rule is the topic rule. Required.
	Rule string `json:"rule"`
	// SNSTopic is the ARN of the SNS topic. Required.
	SNSTopic string `json:"snsTopic"`
	// ErrorLog is the log group of the rule's failed actions. Required.
	ErrorLog string `json:"errorLog"`
	// WillTopic, ConnectedTopic and ExecutedTopic are MQTT topics. Required.
	WillTopic      string `json:"willTopic"`
	ConnectedTopic string `json:"connectedTopic"`
	ExecutedTopic  string `json:"executedTopic"`
}

// NewTarget returns the target that the outputs of a stack describe. Its thing is
// the first one. An output that is missing leaves a part empty; Check names it.
func NewTarget(stack string, outputs map[string]string) Target {
	t := Target{Stack: stack}
	for _, part := range t.parts() {
		*part.value = outputs[part.output]
	}
	t.Thing, _, _ = strings.Cut(t.Thing, ",")
	return t
}

// Check returns a MissingOutputError if a part is missing.
func (t Target) Check() error {
	for _, part := range t.parts() {
		if *part.value == "" {
			return &MissingOutputError{part.output}
		}
	}
	return nil
}

// A MissingOutputError is about a target that lacks a part.
type MissingOutputError struct {
	// Output of the stack that would have it.
	Output string
}

func (e *MissingOutputError) Error() string {
	return fmt.Sprintf("the target of the check has no %s", e.Output)
}

// A part of a target is what an output of the stack has.
type part struct {
	output string
	value  *string
}

func (t *Target) parts() []part {
	return []part{
		{OutputThingName, &t.Thing},
		{OutputPolicyName, &t.Policy},
		{OutputRuleName, &t.Rule},
		{OutputSNSTopicARN, &t.SNSTopic},
		{OutputErrorLogGroup, &t.ErrorLog},
		{OutputWillTopic, &t.WillTopic},
		{OutputConnectedTopic, &t.ConnectedTopic},
		{OutputExecutedTopic, &t.ExecutedTopic},
	}
}
