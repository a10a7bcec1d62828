// Command alerter is the function behind confirmed alerts. A schedule runs it each
// minute. It takes Will Messages out of a queue, asks AWS IoT Core which of their devices
// are still offline after the grace time, and publishes one mail for all that changed.
// What it decides, and why, is internal/outage; this program connects that to AWS.
//
// It reads its settings from the environment:
//
//	GRACE        the grace time, such as 3m
//	ENVIRONMENT  the environment's name; empty for the one without a name
//	QUEUE_URL    the queue of the wills
//	TABLE        the DynamoDB table
//	SNS_TOPIC    the ARN of the topic of the mails
//
// These are all calls that the function makes. The local endpoint implements them and no
// other form of them:
//
//	SQS       ReceiveMessage   MaxNumberOfMessages 10, WaitTimeSeconds 1, system attribute SentTimestamp
//	          DeleteMessageBatch
//	DynamoDB  GetItem          ConsistentRead, key pk and sk
//	          PutItem          attribute_not_exists(pk)
//	                           attribute_not_exists(pk) OR leased < :now
//	                           holder = :me
//	                           rev = :rev
//	                           no condition (lwt mute)
//	          DeleteItem       rev = :rev
//	                           attribute_exists(pk) (lwt unmute)
//	          Query            ConsistentRead, ExclusiveStartKey, KeyConditionExpression pk = :pk,
//	                           FilterExpression due <= :now or none
//	          Attributes are of the types S, N and BOOL.
//	IoT data  GetConnection
//	SNS       Publish          TopicArn, Subject, MessageStructure json with the keys default, sqs, lambda and
//	                           https, MessageAttributes event (String)
//
// The stack has, beside types that it has anyway, AWS::SQS::Queue (RedrivePolicy,
// VisibilityTimeout, MessageRetentionPeriod), AWS::DynamoDB::Table (BillingMode
// PAY_PER_REQUEST, KeySchema, AttributeDefinitions, TimeToLiveSpecification), AWS::Events::Rule
// (ScheduleExpression rate(1 minute), Targets Arn and Id), AWS::Lambda::Permission, and a topic rule with an
// Sqs action. Its alarms watch AWS/Lambda Invocations (missing data: breaching) and Errors by FunctionName, and AWS/SQS
// ApproximateNumberOfMessagesVisible and ApproximateAgeOfOldestMessage by QueueName.
//
// lwt reads the log with FilterLogEvents, with startTime and with a client ID, or the word decision, in
// quotation marks as filterPattern.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"lastwill/internal/outage"
	"lastwill/internal/outage/dynamo"
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	s, err := settingsFrom(os.Getenv)
	if err != nil {
		log.Error(err.Error())
		os.Exit(1)
	}
	config := fromEnvironment(os.Getenv)
	lambda.Start(func(ctx context.Context) error { return sweep(ctx, config, s, log) })
}

type settings struct {
	grace                               time.Duration
	environment, queue, table, snsTopic string
}

func settingsFrom(env func(string) string) (settings, error) {
	var problems []error
	required := func(name string) string {
		value := env(name)
		if value == "" {
			problems = append(problems, fmt.Errorf("%s is not set", name))
		}
		return value
	}
	s := settings{environment: env("ENVIRONMENT"), queue: required("QUEUE_URL"), table: required("TABLE"), snsTopic: required("SNS_TOPIC")}
	var err error
	if s.grace, err = time.ParseDuration(required("GRACE")); err != nil || s.grace <= 0 {
		problems = append(problems, fmt.Errorf("GRACE %q: give a duration above zero, such as 3m", env("GRACE")))
	}
	return s, errors.Join(problems...)
}

// fromEnvironment is where AWS Lambda puts the role's credentials (developer guide,
// "Defined runtime environment variables").
func fromEnvironment(env func(string) string) aws.Config {
	c := aws.Config{
		Region:      env("AWS_REGION"),
		Credentials: credentials.NewStaticCredentialsProvider(env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), env("AWS_SESSION_TOKEN")),
	}
	if endpoint := env("AWS_ENDPOINT_URL"); endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	return c
}

// sweep does one sweep and logs each decision, for lwt why.
func sweep(ctx context.Context, c aws.Config, s settings, log *slog.Logger) error {
	// Nothing of this sweep may happen when the next has the lease.
	ctx, cancel := context.WithTimeout(ctx, outage.Timeout)
	defer cancel()
	a := newAWS(c, s)
	counts := map[string]int{}
	sweeper := outage.Sweeper{
		Grace: s.grace, Environment: s.environment, Clock: time.Now,
		Queue: a, Table: dynamo.New(c, s.table), Ask: a.ask, Tell: a.tell,
		Observe: func(d outage.Decision) {
			counts[d.Did]++
			log.Info("decision", decision(d)...)
		},
	}
	start := time.Now()
	err := sweeper.Sweep(ctx)
	if err != nil {
		log.Error("sweep", "error", err.Error())
	}
	log.Info("sweep", "milliseconds", time.Since(start).Milliseconds(), "counts", counts)
	return err
}

func decision(d outage.Decision) []any {
	fields := []any{"did", d.Did, "why", d.Why}
	if d.Device == "" {
		return fields
	}
	fields = append(fields, "device", d.Device, "state", string(d.State), "since", d.Since.UTC().Format(time.RFC3339))
	if d.Reason != "" {
		fields = append(fields, "reason", d.Reason)
	}
	return fields
}
