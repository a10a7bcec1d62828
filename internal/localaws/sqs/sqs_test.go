package sqs

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

var account = awsapi.Account{ID: "123456789012", Region: "us-east-1"}

func newQueue(t *testing.T) (s *Service, url string) {
	t.Helper()
	s = New(account, "http://127.0.0.1")
	url, err := s.CreateQueue("q", map[string]string{
		"Policy": `{"Statement":{"Effect":"Allow","Principal":"*","Action":"sqs:SendMessage","Resource":"*"}}`,
	})
	check(t, err)
	return s, url
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, s *Service, body string) error {
	t.Helper()
	return s.Send("arn:aws:sqs:us-east-1:123456789012:q", body, policy.Principal{Service: "sns.amazonaws.com"}, nil)
}

func TestMessageStaysAwayForItsVisibilityTimeout(t *testing.T) {
	t.Parallel()
	s, url := newQueue(t)
	clock := time.Now()
	s.now = func() time.Time { return clock }
	check(t, send(t, s, "m"))
	now := 0
	receive := func() []Message {
		got, err := s.Receive(context.Background(), ReceiveInput{QueueURL: url, Wait: &now})
		check(t, err)
		return got
	}
	first := receive()
	if len(first) != 1 || len(receive()) != 0 {
		t.Fatal("a message must come once")
	}
	clock = clock.Add(30 * time.Second)
	if len(receive()) != 1 {
		t.Fatal("a message that is not deleted must come again after 30 seconds")
	}
	check(t, s.DeleteMessage(url, first[0].Receipt))
	if attributes, _ := s.GetQueueAttributes(url); attributes["ApproximateNumberOfMessagesNotVisible"] != "1" {
		t.Error("a receipt of an earlier delivery deleted the message")
	}
	clock = clock.Add(5 * 24 * time.Hour)
	if len(receive()) != 0 {
		t.Error("a message must not be kept longer than four days")
	}
}

func TestWaitingEndsWithTheService(t *testing.T) {
	t.Parallel()
	s, url := newQueue(t)
	long, done := 20, make(chan error)
	go func() {
		_, err := s.Receive(context.Background(), ReceiveInput{QueueURL: url, Wait: &long})
		done <- err
	}()
	s.Stop()
	check(t, <-done)
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	s, _ := newQueue(t)
	body := string(make([]byte, 1<<20))
	for range 64 {
		check(t, send(t, s, body))
	}
	if err := send(t, s, "one more"); err == nil {
		t.Error("a queue took more than 64 MB")
	}
}

func TestQueuesAreKept(t *testing.T) {
	t.Parallel()
	s, url := newQueue(t)
	kept, err := json.Marshal(s)
	check(t, err)
	again := New(account, "http://127.0.0.1")
	check(t, json.Unmarshal(kept, again))
	check(t, send(t, again, "its policy is in force"))
	attributes, err := again.GetQueueAttributes(url)
	check(t, err)
	if attributes["ApproximateNumberOfMessages"] != "1" || attributes["VisibilityTimeout"] != "30" {
		t.Errorf("the queue has come back as %v", attributes)
	}
}
