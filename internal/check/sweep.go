package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"lastwill/internal/will"
)

// Sweep removes what checks that were killed left attached to the target's IoT
// policy, which could else not be deleted. It must not run beside a check. It
// returns what it removed.
func Sweep(ctx context.Context, config aws.Config, t Target) ([]string, error) {
	c := newCheck(Options{AWS: config, Target: t})
	var removed []string
	var problems []error
	pages := iot.NewListTargetsForPolicyPaginator(c.iot, &iot.ListTargetsForPolicyInput{PolicyName: &t.Policy})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if isGone(err) {
			break
		}
		if err != nil {
			return removed, fmt.Errorf("list what has policy %s: %w", t.Policy, err)
		}
		for _, principal := range page.Targets {
			name, err := c.nameOf(ctx, principal)
			if err == nil && name != "" {
				if err = c.sweep(ctx, principal, name); err == nil {
					removed = append(removed, name)
				}
			}
			problems = append(problems, err)
		}
	}
	return removed, errors.Join(problems...)
}

// nameOf is the thing of a principal that a check made, which is the check's
// name; "" for devices.
func (c *check) nameOf(ctx context.Context, principal string) (string, error) {
	if !strings.Contains(principal, ":cert/") {
		return "", nil
	}
	found, err := c.iot.ListPrincipalThings(ctx, &iot.ListPrincipalThingsInput{Principal: &principal})
	if err != nil {
		return "", fmt.Errorf("list the things of %s: %w", principal, err)
	}
	for _, thing := range found.Things {
		if strings.HasPrefix(thing, will.CheckPrefix(c.Target.Thing)) {
			return thing, nil
		}
	}
	return "", nil
}

// sweep removes all that one check made. Parts that it had not made yet are gone.
func (c *check) sweep(ctx context.Context, principal, name string) error {
	_, id, _ := strings.Cut(principal, ":cert/")
	for _, do := range []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := c.iot.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: &c.Target.Policy, Target: &principal})
			return err
		},
		func(ctx context.Context) error {
			_, err := c.iot.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &name, Principal: &principal})
			return err
		},
		c.removeCertificate(id).do,
		func(ctx context.Context) error {
			_, err := c.iot.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: &name})
			return err
		},
		func(ctx context.Context) error {
			queue, err := c.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
			if err != nil {
				return err
			}
			_, err = c.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: queue.QueueUrl})
			return err
		},
	} {
		if err := remove(ctx, do); err != nil {
			return fmt.Errorf("remove what the check %s left: %w", name, err)
		}
	}
	return nil
}
