package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"lastwill/internal/await"
	"lastwill/internal/localaws/api"
	localmail "lastwill/internal/localaws/mail"
	localsns "lastwill/internal/localaws/sns"
	localsqs "lastwill/internal/localaws/sqs"
)

// A post has a topic, a queue and AWS's clients for both.
type post struct {
	sns             *sns.Client
	sqs             *sqs.Client
	topic           *string
	queue, queueARN *string
}

type noMails struct{}

func (noMails) Send(localmail.Message) error { return nil }

// newPost makes a topic and a queue that lets it in.
func newPost(t *testing.T) *post {
	t.Helper()
	e := start(t, func(s *api.Services) {
		s.SQS = localsqs.New(account, "http://127.0.0.1")
		s.SNS = localsns.New(account, noMails{}, s.SQS, "http://127.0.0.1")
		t.Cleanup(s.SQS.Stop)
	})
	p := &post{sns: sns.NewFromConfig(e.config()), sqs: sqs.NewFromConfig(e.config())}
	topic, err := p.sns.CreateTopic(deadline(t), &sns.CreateTopicInput{Name: aws.String("alarms")})
	check(t, err)
	p.topic = topic.TopicArn
	queue, err := p.sqs.CreateQueue(deadline(t), &sqs.CreateQueueInput{QueueName: aws.String("inbox"), Attributes: map[string]string{
		"Policy": letsIn(*p.topic), "VisibilityTimeout": "0",
	}})
	check(t, err)
	p.queue = queue.QueueUrl
	attributes, err := p.sqs.GetQueueAttributes(deadline(t), &sqs.GetQueueAttributesInput{
		QueueUrl: p.queue, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn},
	})
	check(t, err)
	p.queueARN = aws.String(attributes.Attributes["QueueArn"])
	return p
}

// letsIn is a queue policy for one topic.
func letsIn(topic string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},
		"Action":"sqs:SendMessage","Resource":"*","Condition":{"ArnEquals":{"aws:SourceArn":%q}}}}`, topic)
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	return await.Context(t)
}

func (p *post) subscribe(t *testing.T, raw string) *string {
	t.Helper()
	out, err := p.sns.Subscribe(deadline(t), &sns.SubscribeInput{
		TopicArn: p.topic, Protocol: aws.String("sqs"), Endpoint: p.queueARN, Attributes: map[string]string{"RawMessageDelivery": raw},
	})
	check(t, err)
	return out.SubscriptionArn
}

func (p *post) publish(t *testing.T, message string) {
	t.Helper()
	_, err := p.sns.Publish(deadline(t), &sns.PublishInput{TopicArn: p.topic, Message: &message})
	check(t, err)
}

// receive waits for messages, at most so many seconds.
func (p *post) receive(t *testing.T, seconds int32) []types.Message {
	t.Helper()
	out, err := p.sqs.ReceiveMessage(deadline(t), &sqs.ReceiveMessageInput{QueueUrl: p.queue, WaitTimeSeconds: seconds, MaxNumberOfMessages: 10})
	check(t, err)
	return out.Messages
}

func TestQueueGetsWhatIsPublished(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	subscription := p.subscribe(t, "true")
	attributes, err := p.sns.GetTopicAttributes(deadline(t), &sns.GetTopicAttributesInput{TopicArn: p.topic})
	check(t, err)
	if n := attributes.Attributes["SubscriptionsConfirmed"]; n != "1" {
		t.Errorf("%s subscriptions are confirmed, not 1: a queue of the account needs no confirmation", n)
	}

	arrived := make(chan []types.Message)
	go func() { arrived <- p.receive(t, 20) }() // waits for what comes later
	p.publish(t, `{"a": 1}`)
	got := await.Value(t, arrived, "the message in the queue")
	if len(got) != 1 || *got[0].Body != `{"a": 1}` {
		t.Fatalf("raw delivery brought %v", got)
	}
	if again := p.receive(t, 0); len(again) != 1 {
		t.Error("a message that nobody deleted did not come again after its visibility timeout")
	} else {
		got = again
	}
	_, err = p.sqs.DeleteMessage(deadline(t), &sqs.DeleteMessageInput{QueueUrl: p.queue, ReceiptHandle: got[0].ReceiptHandle})
	check(t, err)
	if again := p.receive(t, 0); len(again) != 0 {
		t.Error("a deleted message came again")
	}

	_, err = p.sns.Unsubscribe(deadline(t), &sns.UnsubscribeInput{SubscriptionArn: subscription})
	check(t, err)
	subscription = p.subscribe(t, "false")
	p.publish(t, "hello")
	wrapped := p.receive(t, 20)
	if len(wrapped) != 1 {
		t.Fatalf("%d messages came, not 1", len(wrapped))
	}
	var notification struct{ Type, TopicArn, Message string }
	check(t, json.Unmarshal([]byte(*wrapped[0].Body), &notification))
	if notification.Type != "Notification" || notification.TopicArn != *p.topic || notification.Message != "hello" {
		t.Errorf("the notification is %s", *wrapped[0].Body)
	}

	_, err = p.sns.Unsubscribe(deadline(t), &sns.UnsubscribeInput{SubscriptionArn: subscription})
	check(t, err)
	attributes, err = p.sns.GetTopicAttributes(deadline(t), &sns.GetTopicAttributesInput{TopicArn: p.topic})
	check(t, err)
	if n := attributes.Attributes["SubscriptionsDeleted"]; n != "2" {
		t.Errorf("%s subscriptions are deleted, not 2", n)
	}
}

func TestQueuePolicyDecidesWhoMaySend(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.subscribe(t, "true")
	for _, denying := range []string{"", letsIn(*p.topic + "-other")} {
		_, err := p.sqs.SetQueueAttributes(deadline(t), &sqs.SetQueueAttributesInput{QueueUrl: p.queue, Attributes: map[string]string{"Policy": denying}})
		check(t, err)
		p.publish(t, "refused") // the publish itself is well
	}
	if got := p.receive(t, 0); len(got) != 0 {
		t.Errorf("a queue whose policy lets nobody in got %s", *got[0].Body)
	}
}

func TestQueueCalls(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	again, err := p.sqs.CreateQueue(deadline(t), &sqs.CreateQueueInput{QueueName: aws.String("inbox")})
	check(t, err)
	found, err := p.sqs.GetQueueUrl(deadline(t), &sqs.GetQueueUrlInput{QueueName: aws.String("inbox")})
	check(t, err)
	if *again.QueueUrl != *p.queue || *found.QueueUrl != *p.queue {
		t.Errorf("the queue has the URLs %s, %s and %s", *p.queue, *again.QueueUrl, *found.QueueUrl)
	}
	_, err = p.sqs.CreateQueue(deadline(t), &sqs.CreateQueueInput{QueueName: aws.String("inbox"), Attributes: map[string]string{"VisibilityTimeout": "7"}})
	fails(t, err, "QueueAlreadyExists")
	failsAs[*types.QueueNameExists](t, err)
	_, err = p.sqs.CreateQueue(deadline(t), &sqs.CreateQueueInput{QueueName: aws.String("x"), Attributes: map[string]string{"FifoQueue": "true"}})
	fails(t, err, "InvalidAttributeName")
	_, err = p.sqs.CreateQueue(deadline(t), &sqs.CreateQueueInput{QueueName: aws.String("x"), Attributes: map[string]string{"MessageRetentionPeriod": "1"}})
	fails(t, err, "InvalidAttributeValue")

	_, err = p.sqs.CreateQueue(deadline(t), &sqs.CreateQueueInput{QueueName: aws.String("other")})
	check(t, err)
	list, err := p.sqs.ListQueues(deadline(t), &sqs.ListQueuesInput{QueueNamePrefix: aws.String("in")})
	check(t, err)
	if !slices.Equal(list.QueueUrls, []string{*p.queue}) {
		t.Errorf("the queues are %v", list.QueueUrls)
	}

	gone := make(chan error)
	go func() {
		_, err := p.sqs.ReceiveMessage(deadline(t), &sqs.ReceiveMessageInput{QueueUrl: p.queue, WaitTimeSeconds: 20})
		gone <- err
	}()
	_, err = p.sqs.DeleteQueue(deadline(t), &sqs.DeleteQueueInput{QueueUrl: p.queue})
	check(t, err)
	err = await.Value(t, gone, "the end of the wait on a queue that is deleted") // whoever waits learns it too
	fails(t, err, "AWS.SimpleQueueService.NonExistentQueue")
	failsAs[*types.QueueDoesNotExist](t, err)
}
