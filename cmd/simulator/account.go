package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"

	"lastwill/internal/cli"
	"lastwill/internal/deployed"
)

// apiTimeout is how long a call of an AWS API may take, retries included.
const apiTimeout = 20 * time.Second

// An account is the AWS account of the standard credential chain: environment,
// profile, SSO, container, instance.
type account struct{ config aws.Config }

func openAccount(ctx context.Context) (*account, error) {
	loaded, err := deployed.Config(ctx)
	if err != nil {
		return nil, err
	}
	return &account{loaded}, nil
}

// endpoint asks for the account's endpoint.
func (a *account) endpoint(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := a.check(ctx); err != nil {
		return "", err
	}
	return deployed.Endpoint(ctx, a.config)
}

// deleteConnection has the broker end a connection.
func (a *account) deleteConnection(ctx context.Context, clientID string, preventWill bool) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := iotdataplane.NewFromConfig(a.config).DeleteConnection(ctx, &iotdataplane.DeleteConnectionInput{
		ClientId: aws.String(clientID), PreventWillMessage: preventWill,
	})
	if err != nil {
		return cli.WithHint(fmt.Errorf("end the connection: %w", err), "the AWS credentials must allow iot:DeleteConnection on client/%s", clientID)
	}
	return nil
}

// check says early, and in few words, what all calls need.
func (a *account) check(ctx context.Context) error {
	if a.config.Region == "" {
		return cli.WithHint(errors.New("no AWS region"), "set AWS_REGION, or a profile with a region")
	}
	if _, err := a.config.Credentials.Retrieve(ctx); err != nil {
		return cli.WithHint(fmt.Errorf("no AWS credentials: %w", err),
			"set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; \"aws sts get-caller-identity\" shows whether they work")
	}
	return nil
}
