package deployed

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

// Stack describes the stack of a name or an ID, nil if there is none.
func Stack(ctx context.Context, c aws.Config, name string) (*types.Stack, error) {
	found, err := cloudformation.NewFromConfig(c).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	switch {
	case err != nil && strings.Contains(err.Error(), "does not exist"): // a ValidationError, as others are
		return nil, nil // that there is none is an answer
	case err != nil:
		return nil, err
	case len(found.Stacks) == 0:
		return nil, nil
	}
	return &found.Stacks[0], nil
}

// Outputs are the values of a stack's outputs by their keys.
func Outputs(stack types.Stack) map[string]string {
	values := map[string]string{}
	for _, output := range stack.Outputs {
		values[aws.ToString(output.OutputKey)] = aws.ToString(output.OutputValue)
	}
	return values
}

// Target reads the outputs of a stack.
func Target(ctx context.Context, c aws.Config, stack string) (will.Target, error) {
	found, err := Stack(ctx, c, stack)
	if err != nil {
		return will.Target{}, Hint(fmt.Errorf("read stack %s: %w", stack, err))
	}
	if found == nil {
		return will.Target{}, cli.WithHint(fmt.Errorf("there is no stack %s in region %s", stack, c.Region),
			"deploy it, name another with -stack or -environment, or set AWS_REGION or AWS_PROFILE")
	}
	t := will.NewTarget(stack, Outputs(*found))
	if missing, ok := errors.AsType[*will.MissingOutputError](t.Check()); ok {
		return t, cli.WithHint(fmt.Errorf("stack %s (%s) has no output %s", stack, found.StackStatus, missing.Output),
			"it must be a stack of this app, and its deployment must have ended well")
	}
	return t, nil
}
