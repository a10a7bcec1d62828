package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iotdataplane/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"lastwill/internal/outage"
)

// How many calls run at a time, and how many questions are asked in a second. The quota of
// GetConnection is not documented [LIVE]; what is throttled waits for the next sweep.
const (
	receivers = 10
	askers    = 32
	askRate   = 500
	// maxBatch is SQS's own limit.
	maxBatch = 10
)

// services are outage's queue, questions and mails, on AWS.
type services struct {
	settings settings
	sqs      *sqs.Client
	iot      *iotdataplane.Client
	sns      *sns.Client
}

func newAWS(c aws.Config, s settings) *services {
	return &services{
		settings: s,
		sqs:      sqs.NewFromConfig(c),
		iot: iotdataplane.NewFromConfig(c, func(o *iotdataplane.Options) {
			// A sweep has no time for the usual waits of up to 20 s.
			o.Retryer = retry.AddWithMaxBackoffDelay(retry.NewStandard(), 500*time.Millisecond)
		}),
		sns: sns.NewFromConfig(c),
	}
}

// Receive asks once; several times at once if there may be more.
func (s *services) Receive(ctx context.Context) ([]outage.Message, error) {
	messages, err := s.receiveOnce(ctx)
	if err != nil || len(messages) < maxBatch {
		return messages, err
	}
	var more [receivers][]outage.Message
	var errs [receivers]error
	var wait sync.WaitGroup
	for n := range receivers {
		wait.Go(func() { more[n], errs[n] = s.receiveOnce(ctx) })
	}
	wait.Wait()
	for _, m := range more {
		messages = append(messages, m...)
	}
	// What was received counts; the next call meets the error again.
	return messages, nil
}

func (s *services) receiveOnce(ctx context.Context) ([]outage.Message, error) {
	got, err := s.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &s.settings.queue, MaxNumberOfMessages: maxBatch,
		// With 0, SQS asks only some of its servers and may find nothing although there
		// is something (developer guide, "Short and long polling").
		WaitTimeSeconds:             1,
		MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{sqstypes.MessageSystemAttributeNameSentTimestamp},
	})
	if err != nil {
		return nil, err
	}
	var messages []outage.Message
	for _, m := range got.Messages {
		message := outage.Message{Receipt: aws.ToString(m.ReceiptHandle), Body: []byte(aws.ToString(m.Body))}
		if sent, err := strconv.ParseInt(m.Attributes["SentTimestamp"], 10, 64); err == nil {
			message.Sent = time.UnixMilli(sent)
		}
		messages = append(messages, message)
	}
	return messages, nil
}

// Delete acknowledges messages in batches. One that SQS does not delete comes again, which does
// no harm.
func (s *services) Delete(ctx context.Context, messages []outage.Message) error {
	batches := (len(messages) + maxBatch - 1) / maxBatch
	errs := make([]error, batches)
	next := make(chan int)
	var wait sync.WaitGroup
	for range min(receivers, batches) {
		wait.Go(func() {
			for n := range next {
				errs[n] = s.deleteBatch(ctx, messages[n*maxBatch:min((n+1)*maxBatch, len(messages))])
			}
		})
	}
	for n := range batches {
		next <- n
	}
	close(next)
	wait.Wait()
	return errors.Join(errs...)
}

func (s *services) deleteBatch(ctx context.Context, messages []outage.Message) error {
	var entries []sqstypes.DeleteMessageBatchRequestEntry
	for n, m := range messages {
		entries = append(entries, sqstypes.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(n)), ReceiptHandle: aws.String(m.Receipt)})
	}
	_, err := s.sqs.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &s.settings.queue, Entries: entries})
	return err
}

// ask asks about each device once, at the rate that is allowed.
func (s *services) ask(ctx context.Context, devices []string, until time.Time) []outage.Answer {
	answers := make([]outage.Answer, len(devices))
	workers := min(askers, len(devices))
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			slot, every := time.Now(), time.Duration(workers)*time.Second/askRate
			for n := worker; n < len(devices) && time.Now().Before(until); n += workers {
				answers[n] = s.askOne(ctx, devices[n])
				slot = slot.Add(every)
				if answers[n].Connection == outage.Throttled {
					every *= 2
				}
				if !pause(ctx, time.Until(slot)) {
					return
				}
			}
		})
	}
	wait.Wait()
	return answers
}

// pause reports false if the context ends meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *services) askOne(ctx context.Context, device string) outage.Answer {
	got, err := s.iot.GetConnection(ctx, &iotdataplane.GetConnectionInput{ClientId: &device})
	return answer(got, err)
}

// answer judges by the error's type: another error than ResourceNotFoundException must never
// pass for a client that is not there.
func answer(got *iotdataplane.GetConnectionOutput, err error) outage.Answer {
	var notFound *iottypes.ResourceNotFoundException
	var throttled *iottypes.ThrottlingException
	switch {
	case errors.As(err, &notFound):
		return outage.Answer{Connection: outage.NotFound}
	case errors.As(err, &throttled):
		return outage.Answer{Connection: outage.Throttled}
	case err != nil:
		return outage.Answer{Connection: outage.Unavailable}
	case got.Connected:
		return outage.Answer{Connection: outage.Connected, Since: time.UnixMilli(got.ConnectedSince)}
	}
	return outage.Answer{Connection: outage.Disconnected, Since: time.UnixMilli(got.DisconnectedSince), Reason: aws.ToString(got.DisconnectReason)}
}

// tell publishes a mail, with its other forms for machines.
func (s *services) tell(ctx context.Context, m outage.Mail) error {
	forms, err := json.Marshal(map[string]string{"default": m.Text, "sqs": m.Machine, "lambda": m.Machine, "https": m.Chat})
	if err != nil {
		return fmt.Errorf("forms of the mail: %w", err)
	}
	_, err = s.sns.Publish(ctx, &sns.PublishInput{
		TopicArn: &s.settings.snsTopic, Subject: &m.Subject, Message: aws.String(string(forms)), MessageStructure: aws.String("json"),
		MessageAttributes: map[string]snstypes.MessageAttributeValue{
			"event": {DataType: aws.String("String"), StringValue: &m.Event},
		},
	})
	return err
}
