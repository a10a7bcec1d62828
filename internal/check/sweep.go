package check

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"lastwill/internal/deployed"
	"lastwill/internal/will"
)

// abandoned is how old something is that no check is using any more: MaxDuration,
// the time to clean up, and what clocks differ.
const abandoned = MaxDuration + 10*time.Minute

// Sweep removes what checks left that were killed: a certificate attached to the
// target's IoT policy, which could else not be deleted, thing, queue and
// subscription. It must not run beside a check. It returns their names. Checks that
// may make no queue are not found.
func Sweep(ctx context.Context, config aws.Config, t will.Target) ([]string, error) {
	return newCheck(Options{AWS: config, Target: t}).sweep(ctx, 0)
}

// sweepAbandoned removes what is so old that it is of no check that still runs.
// Not to be able to keeps nobody from checking.
func (c *check) sweepAbandoned(ctx context.Context) error {
	began := time.Now()
	removed, err := c.sweep(ctx, abandoned)
	if len(removed) > 0 {
		c.step("", "sweep", "removed what killed checks left: "+strings.Join(removed, ", "), time.Since(began))
	}
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if err != nil {
		c.warn("what checks that were killed left is not all removed: %v", err)
	}
	return nil
}

// sweep removes what checks left that have at least an age. They are known by the
// subscriptions of their queues: a check makes that first, and this removes it last.
func (c *check) sweep(ctx context.Context, age time.Duration) ([]string, error) {
	left := map[string]*string{} // subscriptions by the check's name
	subscriptions, err := c.subscriptions(ctx)
	if err != nil && !isGone(err) {
		return nil, fmt.Errorf("list the subscriptions of %s: %w", c.Target.SNSTopic, err)
	}
	for _, s := range subscriptions {
		queue := aws.ToString(s.Endpoint)
		name := queue[strings.LastIndex(queue, ":")+1:]
		if aws.ToString(s.Protocol) == "sqs" && strings.HasPrefix(name, will.NewCheckPrefix(c.Target.Thing)) {
			left[name] = s.SubscriptionArn
		}
	}
	var removed []string
	var problems []error
	for name, subscription := range left {
		switch done, err := c.sweepOne(ctx, name, subscription, age); {
		case err != nil:
			problems = append(problems, fmt.Errorf("remove what the check %s left: %w", name, err))
		case done:
			removed = append(removed, name)
		}
	}
	return removed, errors.Join(problems...)
}

// sweepOne removes all that one check made, unless it is too young. Parts that it
// had not made yet are gone.
func (c *check) sweepOne(ctx context.Context, name string, subscription *string, age time.Duration) (bool, error) {
	queue, err := c.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil && !isGone(err) {
		return false, err
	}
	parts := []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := c.iot.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: &name})
			return err
		},
	}
	if err == nil {
		if young, err := c.younger(ctx, queue.QueueUrl, age); young || err != nil {
			return false, err
		}
		parts = append(parts, func(ctx context.Context) error {
			_, err := c.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: queue.QueueUrl})
			return err
		})
	}
	attached, err := deployed.All(ctx, iot.NewListThingPrincipalsPaginator(c.iot, &iot.ListThingPrincipalsInput{ThingName: &name}),
		func(page *iot.ListThingPrincipalsOutput) []string { return page.Principals })
	if err != nil && !isGone(err) {
		return false, err
	}
	for _, principal := range attached {
		parts = append(c.removePrincipal(name, principal), parts...)
	}
	parts = append(parts, func(ctx context.Context) error {
		_, err := c.sns.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: subscription})
		return err
	})
	for _, part := range parts {
		if err := remove(ctx, part); err != nil {
			return false, err
		}
	}
	return true, nil
}

// younger tells whether a queue was made less than an age ago.
func (c *check) younger(ctx context.Context, queue *string, age time.Duration) (bool, error) {
	if age == 0 {
		return false, nil
	}
	name := types.QueueAttributeNameCreatedTimestamp
	found, err := c.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: queue, AttributeNames: []types.QueueAttributeName{name}})
	if err != nil {
		return false, err
	}
	seconds, err := strconv.ParseInt(found.Attributes[string(name)], 10, 64)
	return time.Since(time.Unix(seconds, 0)) < age, err
}

// removePrincipal removes the certificate of a check's thing.
func (c *check) removePrincipal(thing, principal string) []func(context.Context) error {
	_, id, _ := strings.Cut(principal, ":cert/")
	return []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := c.iot.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: &c.Target.Policy, Target: &principal})
			return err
		},
		func(ctx context.Context) error {
			_, err := c.iot.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &thing, Principal: &principal})
			return err
		},
		c.removeCertificate(id).do,
	}
}
