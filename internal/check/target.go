package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"lastwill/internal/cli"
)

// A Target is what a check is about: the parts of a stack, by name.
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

// outputs are the outputs of a stack that make a Target.
func (t *Target) outputs() []struct {
	name string
	into *string
} {
	return []struct {
		name string
		into *string
	}{
		{"ThingName", &t.Thing},
		{"PolicyName", &t.Policy},
		{"RuleName", &t.Rule},
		{"SNSTopicArn", &t.SNSTopic},
		{"ErrorLogGroup", &t.ErrorLog},
		{"WillTopic", &t.WillTopic},
		{"ConnectedTopic", &t.ConnectedTopic},
		{"ExecutedTopic", &t.ExecutedTopic},
	}
}

func (t Target) validate() error {
	for _, o := range t.outputs() {
		if *o.into == "" {
			return fmt.Errorf("the target of the check has no %s", o.name)
		}
	}
	return nil
}

// StackOf describes the stack of a name, nil if there is none.
func StackOf(ctx context.Context, client *cloudformation.Client, name string) (*types.Stack, error) {
	found, err := client.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	switch {
	case err != nil && strings.Contains(err.Error(), "does not exist"): // a ValidationError, as others are
		return nil, nil
	case err != nil:
		return nil, err
	case len(found.Stacks) == 0:
		return nil, nil
	}
	return &found.Stacks[0], nil
}

// TargetOf reads the outputs of a deployed stack.
func TargetOf(ctx context.Context, config aws.Config, stack string) (Target, error) {
	t := Target{Stack: stack}
	found, err := StackOf(ctx, cloudformation.NewFromConfig(config), stack)
	if err != nil {
		return t, credentialsHint(fmt.Errorf("read stack %s: %w", stack, err))
	}
	if found == nil {
		return t, cli.WithHint(fmt.Errorf("there is no stack %s in region %s", stack, config.Region),
			"deploy it, name another with -stack or -environment, or set AWS_REGION or AWS_PROFILE")
	}
	values := map[string]string{}
	for _, output := range found.Outputs {
		values[aws.ToString(output.OutputKey)] = aws.ToString(output.OutputValue)
	}
	for _, o := range t.outputs() {
		*o.into = values[o.name]
		if *o.into == "" {
			return t, cli.WithHint(fmt.Errorf("stack %s (%s) has no output %s", stack, found.StackStatus, o.name),
				"it must be a stack of this app, and its deployment must have ended well")
		}
	}
	t.Thing, _, _ = strings.Cut(t.Thing, ",")
	return t, nil
}

// credentialsHint adds to an error of the first call what is mostly wrong.
func credentialsHint(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return cli.WithHint(err, "credentials and region come from AWS_PROFILE, AWS_REGION and the like; \"aws sts get-caller-identity\" shows whether they work; for the local endpoint: eval \"$(lwt local env)\"")
}
