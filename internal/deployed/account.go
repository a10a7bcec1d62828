// Package deployed reaches a stack that stands, on AWS or on the local endpoint:
// the AWS configuration, the message broker and its API, the stack with its
// outputs, and the log of its failed actions.
package deployed

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/smithy-go/logging"

	"lastwill/internal/cli"
)

// Config is what the standard chain says: environment, profile, SSO, container,
// instance. It has credentials, region, and another endpoint than AWS's if one is
// set. The region may be missing.
func Config(ctx context.Context) (aws.Config, error) {
	c, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{})) // errors are told; what it tried meanwhile helps nobody
	if err != nil {
		return c, cli.WithHint(fmt.Errorf("read the AWS configuration: %w", err), "AWS_PROFILE must name a profile of the files in ~/.aws")
	}
	return c, nil
}

// Hint adds to an error of the first call what is mostly wrong, unless it has a hint.
func Hint(err error) error {
	if errors.Is(err, context.Canceled) || cli.Hint(err) != "" {
		return err
	}
	return cli.WithHint(err, "credentials and region come from AWS_PROFILE, AWS_REGION and the like; \"aws sts get-caller-identity\" shows whether they work; for the local endpoint: eval \"$(lwt local env)\"")
}

// Endpoint asks for the account's message broker.
func Endpoint(ctx context.Context, c aws.Config) (string, error) {
	found, err := iot.NewFromConfig(c).DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")})
	if err != nil {
		return "", Hint(fmt.Errorf("find the message broker: %w", err))
	}
	return aws.ToString(found.EndpointAddress), nil
}

// DataPlane speaks with the message broker's own API. That is at the broker's
// endpoint, unless all of AWS is at another.
func DataPlane(c aws.Config, endpoint string) *iotdataplane.Client {
	return iotdataplane.NewFromConfig(c, func(o *iotdataplane.Options) {
		if o.BaseEndpoint == nil {
			o.BaseEndpoint = aws.String("https://" + endpoint)
		}
	})
}
