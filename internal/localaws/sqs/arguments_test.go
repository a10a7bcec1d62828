package sqs

import (
	"context"
	"errors"
	"testing"

	"lastwill/internal/localaws/awsapi"
)

func TestArgumentsOfReceivers(t *testing.T) {
	t.Parallel()
	s := New(awsapi.Account{ID: "123456789012", Region: "us-east-1"}, "http://127.0.0.1:1")
	url, err := s.CreateQueue("q", nil)
	if err != nil {
		t.Fatal(err)
	}
	codeOf := func(err error) string {
		if e, ok := errors.AsType[*awsapi.Error](err); ok {
			return e.Code
		}
		return ""
	}
	now := 0
	for n, want := range map[int]string{0: "InvalidParameterValue", -1: "InvalidParameterValue", 1: "", 10: "", 11: "InvalidParameterValue"} {
		if _, err := s.Receive(context.Background(), ReceiveInput{QueueURL: url, Max: &n, Wait: &now}); codeOf(err) != want {
			t.Errorf("%d messages: %v, want %q", n, err, want)
		}
	}
	for receipt, want := range map[string]string{"": "ReceiptHandleIsInvalid", "bogus": "ReceiptHandleIsInvalid", "00": "ReceiptHandleIsInvalid", awsapi.NewHex(16): ""} {
		if err := s.DeleteMessage(url, receipt); codeOf(err) != want {
			t.Errorf("receipt %q: %v, want %q", receipt, err, want)
		}
	}
}
