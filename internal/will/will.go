// Package will is the contract between a device, the message broker, the topic
// rule and whoever looks at the deployed stack: topics, payloads, the rule's SQL,
// limits, physical names, the stack's outputs and the check's target. The
// constructs, the simulator and the commands all read it from here, so that they
// cannot drift apart. What makes a name is called New..., what validates one Check....
//
// The default values are those of the reference scenario: Syed Rehan,
// "Monitor AWS IoT connections in near-real time using MQTT LWT", AWS IoT blog,
// 13 May 2022.
package will

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Values of the scenario that carry no environment.
const (
	// ThingName is the default thing; its client ID is the same.
	ThingName = "lwtThing"
	// RuleDescription is the topic rule's description.
	RuleDescription = "My first LWT rule"
	// SQLVersion is the version of AWS IoT SQL that the rule is written in. The
	// API's own default is 2015-10-08, so it is always given.
	SQLVersion = "2016-03-23"
	// ConnectedMessage is the text a device publishes after it has connected.
	ConnectedMessage = "AWS IoT Thing connected message to IoT Core"
	// QoS of the Will Message.
	QoS = 0
	// ConnectedQoS is the QoS of the connected message.
	ConnectedQoS = 1
)

// Tags of all resources that can have some. The environment without a name has no
// tag for it.
const (
	TagApp         = "app"
	TagEnvironment = "environment"
	App            = "lastwill"
)

// Keep alive as AWS IoT Core honours it: 1 to 29 seconds count as 30, zero and
// more than 1200 as 1200, and silence is noticed after 1.5 times that
// (developer guide, "MQTT", keep-alive).
const (
	KeepAlive    = 30 * time.Second
	MinKeepAlive = 30 * time.Second
	MaxKeepAlive = 1200 * time.Second
)

// Limits of AWS IoT Core's message broker (general reference, "AWS IoT Core
// endpoints and quotas").
const (
	MaxTopicBytes    = 256
	MaxTopicSlashes  = 7
	MaxPayloadBytes  = 128 * 1024
	MaxClientIDBytes = 128
)

// maxSNSTopicName is the longest name of the SNS topic: names may have 256
// characters, but it is the display name too, which may have 100 (SNS API
// reference, CreateTopic).
const maxSNSTopicName = 100

// Names are the physical names of one environment. Two environments in one
// account and region share none of them.
type Names struct {
	// Environment as given; empty for the scenario's own names.
	Environment string
	// Stack is the CloudFormation stack.
	Stack string
	// Rule is the topic rule. Rule names allow letters, digits and underscores only.
	Rule string
	// OutageRule is the topic rule of confirmed alerts.
	OutageRule string
	// SNSTopic is name and display name of the SNS topic.
	SNSTopic string
	// AlarmTopic is name and display name of the SNS topic of confirmed alerts' alarms.
	AlarmTopic string
	// WillTopic receives the Will Messages.
	WillTopic string
	// ConnectedTopic receives the message that a device sends after connecting.
	ConnectedTopic string
	// ExecutedTopic receives the rule's copy of each will it acted on.
	ExecutedTopic string
}

// NewNames returns the names of an environment. The empty environment has the
// scenario's exact names.
func NewNames(environment string) Names {
	dash, underscore := "", ""
	if environment != "" {
		dash = "-" + environment
		underscore = "_" + strings.ReplaceAll(environment, "-", "_")
	}
	n := Names{
		Environment: environment,
		Stack:       "Lastwill" + dash,
		Rule:        "lastWillRule" + underscore,
		OutageRule:  "lastWillRuleOutages" + underscore,
		SNSTopic:    "lwtSNSTopic" + dash,
		AlarmTopic:  "lwtAlarms" + dash,
	}
	n.WillTopic = n.Topic("/last/will/topic")
	n.ConnectedTopic = n.Topic("/lwt/connected/topic")
	n.ExecutedTopic = n.Topic("/lwt/executed")
	return n
}

// maxEnvironment is what the shortest limit of all names leaves, that of the
// SNS topic.
var maxEnvironment = maxSNSTopicName - len(NewNames("x").SNSTopic) + 1

// environment has no underscores, which stack names lack, and no repeated
// hyphens. The rule's name has an underscore for each hyphen, so anything looser
// could give two environments one rule.
var environment = regexp.MustCompile(`^[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$`)

// CheckEnvironment says what keeps s from being the name of an environment. The
// empty one is that of the scenario.
func CheckEnvironment(s string) error {
	if s != "" && (!environment.MatchString(s) || len(s) > maxEnvironment) {
		return fmt.Errorf("%q cannot be part of all names: use 1 to %d letters and digits, with single hyphens between them", s, maxEnvironment)
	}
	return nil
}

// maxEphemeral bounds the names of environments that are made from others; things
// and topics must fit beside them.
const maxEphemeral = 32

var notInEnvironment = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// NewEnvironment makes the name of an environment from that of a branch or the
// like. Each run of characters that it cannot have becomes a hyphen, and what is too
// long is cut; the name then ends in a hash, so that two branches do not get one
// environment.
func NewEnvironment(branch string) (string, error) {
	name := strings.Trim(notInEnvironment.ReplaceAllString(branch, "-"), "-")
	if name == "" {
		return "", fmt.Errorf("%q has no letter or digit that could name an environment", branch)
	}
	if name != branch || len(name) > maxEphemeral {
		hash := fmt.Sprintf("-%x", sha256.Sum256([]byte(branch)))[:7]
		name = strings.TrimRight(name[:min(len(name), maxEphemeral-len(hash))], "-") + hash
	}
	return name, nil
}

// Topic returns the name of an MQTT topic of this environment.
func (n Names) Topic(name string) string {
	if n.Environment == "" || name == "" {
		return name
	}
	return "/" + n.Environment + "/" + strings.TrimPrefix(name, "/")
}

// Thing returns the physical name of a thing of this environment.
func (n Names) Thing(name string) string {
	if n.Environment == "" {
		return name
	}
	return name + "-" + n.Environment
}

// checkMark stands in the names of all that checks make, after the thing's name.
const checkMark = "-check-"

// maxCheckName is the longest name that a check gives to what it makes. The
// common name of a certificate has the shortest limit (RFC 5280, ub-common-name).
const maxCheckName = 64

// checkIDLength is how long the part is that tells checks apart.
const checkIDLength = 10

// NewCheckPrefix begins the names of all that checks of a thing's stack make: things,
// client IDs and queues. What a check could not remove is found by it.
func NewCheckPrefix(thing string) string {
	// Things may have colons in their names, queues may not.
	thing = strings.ReplaceAll(thing, ":", "_")
	return thing[:min(len(thing), maxCheckName-len(checkMark)-checkIDLength)] + checkMark
}

// NewCheckName is the name of one check, unlike that of any other.
func NewCheckName(thing string) string {
	return NewCheckPrefix(thing) + strings.ToLower(rand.Text()[:checkIDLength])
}

// CutCheck returns the thing's part of a name that a check gave; found is false,
// and thing the whole name, if no check did.
func CutCheck(name string) (thing string, found bool) {
	if i := strings.LastIndex(name, checkMark); i >= 0 {
		return name[:i], true
	}
	return name, false
}

// Payload is the Will Message of a client.
func Payload(clientID string) []byte {
	type reported struct {
		LastWill      string `json:"last_will"`
		TriggerAction string `json:"trigger_action"`
		ClientID      string `json:"client_id"`
	}
	var p struct {
		State struct {
			Reported reported `json:"reported"`
		} `json:"state"`
	}
	p.State.Reported = reported{LastWill: "yes", TriggerAction: "on", ClientID: clientID}
	return mustJSON(p)
}

// ConnectedPayload is the message that a device publishes after it has connected.
func ConnectedPayload(message string) []byte {
	quoted := mustJSON(message)
	// The post's sample has a space after the colon; encoding/json would not.
	return append(append([]byte(`{"message": `), quoted...), '}')
}

// SQL is the topic rule's statement for a will topic.
func SQL(willTopic string) string {
	return "SELECT * FROM '" + willTopic + "' WHERE state.reported.last_will = 'yes' AND state.reported.trigger_action = 'on'"
}

// OutageSQL is the statement of the rule that puts wills into the queue of confirmed
// alerts (internal/outage, ParseEvent). It selects the same messages as SQL, and of the payload only
// the name that it claims.
func OutageSQL(willTopic string) string {
	return "SELECT state.reported.client_id AS claimed, clientid() AS client, timestamp() AS time FROM '" + willTopic +
		"' WHERE state.reported.last_will = 'yes' AND state.reported.trigger_action = 'on'"
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and structs of strings always marshal
	}
	return b
}
