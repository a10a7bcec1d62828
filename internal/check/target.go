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
	"lastwill/internal/will"
)

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
func TargetOf(ctx context.Context, config aws.Config, stack string) (will.Target, error) {
	t := will.Target{Stack: stack}
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
	t = will.NewTarget(stack, values)
	if missing, ok := errors.AsType[*will.MissingOutputError](t.Check()); ok {
		return t, cli.WithHint(fmt.Errorf("stack %s (%s) has no output %s", stack, found.StackStatus, missing.Output),
			"it must be a stack of this app, and its deployment must have ended well")
	}
	return t, nil
}

// credentialsHint adds to an error of the first call what is mostly wrong.
func credentialsHint(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return cli.WithHint(err, "credentials and region come from AWS_PROFILE, AWS_REGION and the like; \"aws sts get-caller-identity\" shows whether they work; for the local endpoint: eval \"$(lwt local env)\"")
}
