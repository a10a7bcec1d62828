package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"lastwill/internal/will"
)

// abandoned is how old something is that no check is using any more: MaxDuration,
// the time to clean up, and what clocks differ.
const abandoned = MaxDuration + 10*time.Minute

// Sweep removes what checks that were killed left attached to the target's IoT
// policy, which could else not be deleted. It must not run beside a check. It
// returns what it removed.
func Sweep(ctx context.Context, config aws.Config, t Target) ([]string, error) {
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

// sweep removes what checks left whose certificates have at least an age.
func (c *check) sweep(ctx context.Context, age time.Duration) ([]string, error) {
	var removed []string
	var problems []error
	pages := iot.NewListTargetsForPolicyPaginator(c.iot, &iot.ListTargetsForPolicyInput{PolicyName: &c.Target.Policy})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if isGone(err) {
			break
		}
		if err != nil {
			return removed, fmt.Errorf("list what has policy %s: %w", c.Target.Policy, err)
		}
		for _, principal := range page.Targets {
			name, err := c.nameOf(ctx, principal)
			if err == nil && name != "" {
				if err = c.sweepOne(ctx, principal, name, age); errors.Is(err, errYoung) {
					continue
				} else if err == nil {
					removed = append(removed, name)
				}
			}
			problems = append(problems, err)
		}
	}
	return removed, errors.Join(problems...)
}

var errYoung = errors.New("it may be of a check that still runs")

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

// sweepOne removes all that one check made. Parts that it had not made yet are gone.
func (c *check) sweepOne(ctx context.Context, principal, name string, age time.Duration) error {
	_, id, _ := strings.Cut(principal, ":cert/")
	if age > 0 {
		found, err := c.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
		if err != nil {
			return fmt.Errorf("find the age of the check %s: %w", name, err)
		}
		if time.Since(aws.ToTime(found.CertificateDescription.CreationDate)) < age {
			return errYoung
		}
	}
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
		func(ctx context.Context) error { return c.unsubscribe(ctx, name) },
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

// unsubscribe removes the subscription of a check's queue.
func (c *check) unsubscribe(ctx context.Context, queue string) error {
	pages := sns.NewListSubscriptionsByTopicPaginator(c.sns, &sns.ListSubscriptionsByTopicInput{TopicArn: &c.Target.SNSTopic})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, s := range page.Subscriptions {
			if aws.ToString(s.Protocol) == "sqs" && strings.HasSuffix(aws.ToString(s.Endpoint), ":"+queue) {
				if _, err := c.sns.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: s.SubscriptionArn}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
