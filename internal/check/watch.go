package check

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"lastwill/internal/deployed"
	"lastwill/internal/device"
)

// sightings are the messages of this check that were seen. Those of real devices
// and of other checks pass by.
type sightings struct {
	name []byte

	mu      sync.Mutex
	list    []sighting
	changed chan struct{} // closed at the next one
}

// A sighting is a message that was seen at the end of a link.
type sighting struct {
	link    Link
	payload []byte
	at      time.Time
}

func newSightings(name string) *sightings {
	return &sightings{name: []byte(name), changed: make(chan struct{})}
}

func (s *sightings) add(link Link, payload []byte) {
	at := time.Now()
	if !bytes.Contains(payload, s.name) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, sighting{link, bytes.Clone(payload), at})
	close(s.changed)
	s.changed = make(chan struct{})
}

// find returns the first sighting of a token at a link, or at any for "".
func (s *sightings) find(link Link, token string) *sighting {
	found, _ := s.look(link, token)
	return found
}

func (s *sightings) look(link Link, token string) (*sighting, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.list {
		// The quotation mark tells a token from one that it begins.
		if (link == "" || s.list[i].link == link) && bytes.Contains(s.list[i].payload, []byte(token+`"`)) {
			return &s.list[i], nil
		}
	}
	return nil, s.changed
}

// await returns the first sighting of a token at a link, or nil when there was
// none until a time.
func (c *check) await(ctx context.Context, link Link, token string, until time.Time) (*sighting, error) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		found, changed := c.seen.look(link, token)
		if found != nil {
			return found, nil
		}
		select {
		case <-changed:
		case <-c.watching():
			if found := c.seen.find(link, token); found != nil {
				return found, nil
			}
			return nil, fmt.Errorf("the connection that watches the topics was lost: %w", c.watcher.Err())
		case <-timer.C:
			return c.seen.find(link, token), nil
		case <-ctx.Done():
			return nil, interrupted(ctx)
		}
	}
}

// watching is closed when the watcher has lost its connection.
func (c *check) watching() <-chan struct{} { return c.watcher.Done() }

// watchMQTT watches the will topic and the executed topic over WebSocket, with the
// caller's own AWS credentials: the stack's IoT policy lets no device do that.
func (c *check) watchMQTT(ctx context.Context) error {
	if c.watcher != nil {
		return nil
	}
	began := time.Now()
	topics := map[string]Link{c.Target.WillTopic: Will, c.Target.ExecutedTopic: Republish}
	watcher, err := device.Connect(ctx, device.Config{
		Endpoint: c.report.Endpoint, Roots: c.Roots, Credentials: c.AWS.Credentials, Region: c.AWS.Region,
		ClientID: c.name + "-watch", NoWill: true,
		Receive: func(m device.Message) { c.seen.add(topics[m.Topic], m.Payload) },
	})
	if err != nil {
		return fmt.Errorf("watch the MQTT topics: %w", err)
	}
	c.watcher = watcher
	c.close = append(c.close, func() { _ = watcher.Disconnect() }) // unless it has ended
	for _, topic := range []string{c.Target.WillTopic, c.Target.ExecutedTopic} {
		if err := watcher.Subscribe(ctx, topic); err != nil {
			return fmt.Errorf("watch the MQTT topics: %w", err)
		}
	}
	c.step("", "watch", fmt.Sprintf("%s and %s, over WebSocket with AWS credentials", c.Target.WillTopic, c.Target.ExecutedTopic), time.Since(began))
	return nil
}

// watchSNS subscribes a queue of the check's own to the SNS topic. Where that is
// not allowed, or there is no such topic, what can be known without it must do.
func (c *check) watchSNS(ctx context.Context) error {
	began := time.Now()
	c.countSubscribers(ctx)
	queue, err := c.makeQueue(ctx)
	if isGone(err) || isCode(err, "AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException") {
		c.warn("no message to the SNS topic was seen, as no queue could be subscribed to it (%v): its link is judged by the rule's definition and the log of failed actions", err)
		return nil
	}
	if err != nil {
		return err
	}
	c.queued = true
	c.step("", "queue", fmt.Sprintf("queue %s, subscribed to %s", c.name, c.Target.SNSTopic), time.Since(began))
	polling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var polled sync.WaitGroup
	polled.Go(func() { c.poll(polling, queue) })
	c.close = append(c.close, func() { cancel(); polled.Wait() })
	return nil
}

func (c *check) makeQueue(ctx context.Context) (url *string, err error) {
	_, region, account := splitARN(c.Target.SNSTopic)
	queueARN := strings.Join([]string{"arn", partition(c.Target.SNSTopic), "sqs", region, account, c.name}, ":")
	policy, err := json.Marshal(queuePolicy(queueARN, c.Target.SNSTopic))
	if err != nil {
		return nil, err
	}
	err = c.make(ctx, "queue", func(ctx context.Context) error {
		made, err := c.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &c.name, Attributes: map[string]string{
			// The policy is there from the beginning: one that is set later may take a
			// minute (API reference, SetQueueAttributes).
			string(types.QueueAttributeNamePolicy): string(policy),
			// Nothing is received twice, and a queue that is left forgets.
			string(types.QueueAttributeNameVisibilityTimeout):      "43200",
			string(types.QueueAttributeNameMessageRetentionPeriod): "3600",
		}})
		if err == nil {
			url = made.QueueUrl
			c.undone(undo{"queue " + c.name, "aws sqs delete-queue --queue-url " + *url, func(ctx context.Context) error {
				_, err := c.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: url})
				return err
			}})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return url, c.make(ctx, "subscription", func(ctx context.Context) error {
		made, err := c.sns.Subscribe(ctx, &sns.SubscribeInput{
			TopicArn: &c.Target.SNSTopic, Protocol: aws.String("sqs"), Endpoint: &queueARN,
			Attributes: map[string]string{"RawMessageDelivery": "true"}, ReturnSubscriptionArn: true,
		})
		if err == nil {
			c.undone(undo{"subscription of the queue", "aws sns unsubscribe --subscription-arn " + *made.SubscriptionArn, func(ctx context.Context) error {
				_, err := c.sns.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: made.SubscriptionArn})
				return err
			}})
		}
		return err
	})
}

// queuePolicy lets the SNS topic, and nobody else, send to the queue.
func queuePolicy(queueARN, topicARN string) any {
	type object = map[string]any
	return object{"Version": "2012-10-17", "Statement": object{
		"Effect": "Allow", "Principal": object{"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": queueARN,
		"Condition": object{"ArnEquals": object{"aws:SourceArn": topicARN}},
	}}
}

// splitARN returns service, region and account of an ARN.
func splitARN(arn string) (service, region, account string) {
	parts := append(strings.SplitN(arn, ":", 6), make([]string, 6)...)
	return parts[2], parts[3], parts[4]
}

func partition(arn string) string {
	parts := append(strings.SplitN(arn, ":", 3), "", "")
	return parts[1]
}

// receivePause follows a request that failed.
const receivePause = time.Second

// poll takes what comes into the queue until ctx ends.
func (c *check) poll(ctx context.Context, queue *string) {
	for ctx.Err() == nil {
		got, err := c.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: queue, MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
		if err != nil {
			_ = wait(ctx, receivePause) // the next one may succeed
			continue
		}
		for _, m := range got.Messages {
			c.seen.add(SNS, []byte(aws.ToString(m.Body)))
		}
	}
}

// countSubscribers warns if an alert reaches nobody.
func (c *check) countSubscribers(ctx context.Context) {
	subscriptions, err := c.subscriptions(ctx)
	if err != nil {
		c.warn("who gets the e-mails is not known: the subscriptions of %s cannot be listed: %v", c.Target.SNSTopic, err)
		return
	}
	confirmed, pending := 0, 0
	for _, s := range subscriptions {
		switch {
		case aws.ToString(s.SubscriptionArn) == "PendingConfirmation":
			pending++
		case strings.HasPrefix(aws.ToString(s.Protocol), "email") && arn.IsARN(aws.ToString(s.SubscriptionArn)):
			confirmed++
		default: // such as another check's queue, and what was ended and is listed as Deleted
		}
	}
	if confirmed == 0 {
		c.warn("nobody gets an e-mail: of the SNS topic's subscriptions of e-mail addresses, none is confirmed and %d pending", pending)
	}
}

// subscriptions are those of the SNS topic.
func (c *check) subscriptions(ctx context.Context) ([]snstypes.Subscription, error) {
	return deployed.All(ctx, sns.NewListSubscriptionsByTopicPaginator(c.sns, &sns.ListSubscriptionsByTopicInput{TopicArn: &c.Target.SNSTopic}),
		func(page *sns.ListSubscriptionsByTopicOutput) []snstypes.Subscription { return page.Subscriptions })
}
