package api

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

// resources are what an operation acts on, as IAM sees it: "*" where an action
// takes no resource, else the resource part of an ARN with {inputs} of the
// request, or a whole ARN that is an input (service authorization reference, one
// page per service). They are the operations that a function of the stacks needs.
var resources = map[string]string{
	"iot:DescribeEndpoint":         "*",
	"iot:CreateThing":              "thing/{thingName}",
	"iot:DescribeThing":            "thing/{thingName}",
	"iot:DeleteThing":              "thing/{thingName}",
	"iot:AttachThingPrincipal":     "*",
	"iot:DetachThingPrincipal":     "*",
	"iot:ListThingPrincipals":      "*",
	"iot:CreateCertificateFromCsr": "*",
	"iot:DescribeCertificate":      "cert/{certificateId}",
	"iot:UpdateCertificate":        "cert/{certificateId}",
	"iot:DeleteCertificate":        "cert/{certificateId}",
	"iot:AttachPolicy":             "{target}",
	"iot:DetachPolicy":             "{target}",
	"iot:ListTargetsForPolicy":     "policy/{policyName}",
	"iot:GetTopicRule":             "rule/{ruleName}",
	"iot:Publish":                  "topic/{topic}",

	"sns:Subscribe":                 "{TopicArn}",
	"sns:GetTopicAttributes":        "{TopicArn}",
	"sns:ListSubscriptionsByTopic":  "{TopicArn}",
	"sns:Unsubscribe":               "*",
	"sns:GetSubscriptionAttributes": "*",

	"sqs:CreateQueue":        "{QueueName}",
	"sqs:GetQueueUrl":        "{QueueName}",
	"sqs:GetQueueAttributes": "{QueueUrl}",
	"sqs:ReceiveMessage":     "{QueueUrl}",
	"sqs:DeleteMessage":      "{QueueUrl}",
	"sqs:DeleteQueue":        "{QueueUrl}",

	"logs:FilterLogEvents": "log-group:{logGroupName}:log-stream:",

	"cloudformation:DescribeStacks": "{StackName}",
}

// authorize asks the policies of a role that a service acts in, such as Lambda
// for a function. All other callers may do everything.
func (c *call) authorize(service, operation string, input func(name string) string) error {
	if c.identity == nil || operation == "GetCallerIdentity" { // which needs no permission
		return nil
	}
	if service == "iotdata" {
		service = "iot"
	}
	action := service + ":" + operation
	pattern, known := resources[action]
	if !known {
		return c.denied(action, "*", "this local endpoint does not know what the action's resource is")
	}
	resource := inputName.ReplaceAllStringFunc(pattern, func(name string) string { return input(strings.Trim(name, "{}")) })
	if url := strings.Split(resource, "/"); strings.HasPrefix(resource, "http") { // of a queue
		resource = url[len(url)-1]
	}
	if resource != "*" && !strings.HasPrefix(resource, "arn:") {
		resource = c.account.ARN(service, resource)
	}
	if decision := c.identity.Decide(policy.Request{Action: action, Resource: resource}); decision != policy.Allow {
		return c.denied(action, resource, "no policy of its role allows it")
	}
	return nil
}

var inputName = regexp.MustCompile(`\{\w+\}`)

func (c *call) denied(action, resource, reason string) error {
	return &awsapi.Error{
		Code: errDenied, Status: http.StatusForbidden,
		Message: fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s because %s", c.caller.ARN, action, resource, reason),
	}
}

// errDenied is the code of the Query protocol; the JSON protocols have their own.
const errDenied = "AccessDenied"
