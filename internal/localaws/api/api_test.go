package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/logs"
	"lastwill/internal/localaws/s3"
	"lastwill/internal/localaws/ssm"
)

var account = awsapi.Account{ID: "123456789012", Region: "us-east-1"}

// An endpoint is the API in front of services that tests may fill. What the
// tests claim is asserted through AWS's SDK only.
type endpoint struct {
	api.Services
	url string
}

func start(t testing.TB, changes ...func(*api.Services)) *endpoint {
	t.Helper()
	objects, err := s3.New("")
	check(t, err)
	e := &endpoint{Services: api.Services{
		Account: account, Keys: api.NewKeys(account), IAM: iam.New(account), SSM: ssm.New(), S3: objects, Logs: logs.New(account),
	}}
	for _, change := range changes {
		change(&e.Services)
	}
	server := httptest.NewServer(api.New(e.Services))
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

// config is what lwt local env sets up for an SDK.
func (e *endpoint) config(changes ...func(*aws.Config)) aws.Config {
	c := aws.Config{
		Region: account.Region, BaseEndpoint: &e.url, Credentials: keys(api.TestAccessKeyID, api.TestSecretAccessKey, ""),
		RetryMaxAttempts: 1, // a test that needs two attempts has found something
		HTTPClient:       wholeBodies{},
	}
	for _, change := range changes {
		change(&c)
	}
	return c
}

// wholeBodies gives the transport a body of its own. The SDK closes its body once
// the answer begins; a transport that has not seen its end by then, which happens
// with answers as fast as these, closes the connection in the middle of the answer.
type wholeBodies struct{}

func (wholeBodies) Do(r *http.Request) (*http.Response, error) {
	sent := r.Clone(r.Context())
	if r.Body != nil && r.ContentLength > 0 {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		sent.Body = io.NopCloser(bytes.NewReader(content))
	}
	return http.DefaultTransport.RoundTrip(sent)
}

func keys(id, secret, token string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
	})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fails is an error unless err is the AWS error of a code.
func fails(t testing.TB, err error, code string) smithy.APIError {
	t.Helper()
	var refused smithy.APIError
	if !errors.As(err, &refused) {
		t.Fatalf("the error is %v, not an AWS error with code %s", err, code)
	}
	if refused.ErrorCode() != code {
		t.Fatalf("the error is %v, not %s", err, code)
	}
	return refused
}

// failsAs is an error unless err is AWS's typed error T.
func failsAs[T error](t testing.TB, err error) T {
	t.Helper()
	var typed T
	if !errors.As(err, &typed) {
		t.Fatalf("the error is %v, not a %T", err, typed)
	}
	return typed
}

// status is the HTTP status of an answer that was an error.
func status(err error) int {
	var answered interface{ HTTPStatusCode() int }
	if errors.As(err, &answered) {
		return answered.HTTPStatusCode()
	}
	return 0
}
