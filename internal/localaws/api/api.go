// Package api speaks AWS's own wire protocols before the local services, so that
// the CDK CLI, the aws CLI and the SDKs work unchanged: one codec for each
// protocol, one file for each service.
//
// Known differences from AWS:
//   - Requests may be made over HTTP, as the endpoint is on loopback only.
//   - Who has valid credentials may do everything: policies of the caller are not
//     asked, but those of a role that a function acts in. AssumeRole asks the
//     role's trust policy.
//   - Web pages are refused, also those that a bucket's CORS rules would allow.
//   - A parameter that this endpoint does not support is refused by name, also
//     where AWS would take it.
//   - An operation that a REST service does not have is named by method and path.
//   - ListStacks, DescribeStacks and ListChangeSets have one page.
//   - IoT's DescribeEndpoint answers with host and port; on AWS it is a host name.
package api

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/cloudwatch"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/lambda"
	"lastwill/internal/localaws/logs"
	"lastwill/internal/localaws/policy"
	"lastwill/internal/localaws/s3"
	"lastwill/internal/localaws/sns"
	"lastwill/internal/localaws/sqs"
	"lastwill/internal/localaws/ssm"
)

// Limits of a request. AWS's own are lower or the same; these bound the memory
// that a request may take.
const (
	maxBody           = 4 << 20
	maxFormParameters = 2_000
	maxDepth          = 64
	// smallBody is what a body may have without waiting for one of the
	// largeBodies that are read side by side.
	smallBody   = 64 << 10
	largeBodies = 8
)

// Services are what the API is for.
type Services struct {
	Account awsapi.Account
	// Keys check the signatures.
	Keys *Keys
	IAM  *iam.Service
	SSM  *ssm.Service
	IoT  *iot.Service

	CloudFormation *cloudformation.Service
	S3             *s3.Service
	Lambda         *lambda.Service
	Logs           *logs.Service
	SNS            *sns.Service
	SQS            *sqs.Service
	CloudWatch     *cloudwatch.Service
}

// A front speaks the protocol of one service.
type front interface {
	// serve answers a request whose signature is good; its errors are for fail.
	serve(w http.ResponseWriter, c *call) error
	// fail answers with an error in the protocol's own form.
	fail(w http.ResponseWriter, c *call, err *awsapi.Error)
	// limit is how large a body may be.
	limit() int64
	// codes has the protocol's own names for errors of signatures.
	codes() map[string]string
}

// A call is one request.
type call struct {
	*http.Request
	// id is unique, for people who compare logs.
	id     string
	caller Caller
	// identity is whose policies are asked; nil for callers who may do everything.
	identity policy.Identity
	account  awsapi.Account
	// payload is the body where it is no part of the input, as in iot-data's Publish.
	payload []byte
}

// answer writes an encoded answer.
func (c *call) answer(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amzn-Requestid", c.id)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone; there is nobody to tell
}

// An operation reads its input with decode and returns its output.
type operation func(c *call, decode func(any) error) (any, error)

// op makes an operation of a function.
func op[In, Out any](f func(*call, In) (Out, error)) operation {
	return func(c *call, decode func(any) error) (any, error) {
		var in In
		if err := decode(&in); err != nil {
			return nil, err
		}
		return f(c, in)
	}
}

// do makes one of a function that has no output.
func do[In any](f func(In) error) operation {
	return op(func(_ *call, in In) (nothing, error) { return nothing{}, f(in) })
}

// nothing is the output of operations that have none.
type nothing struct{}

// New returns the handler of all requests to AWS's APIs. It must get the path as
// it was sent: an http.ServeMux before it would clean it.
func New(s Services) *Handler {
	return &Handler{keys: s.Keys, iam: s.IAM, account: s.Account, large: make(chan struct{}, largeBodies), fronts: map[string]front{
		"sts": stsFront(s),
		"iam": iamFront(s),
		"ssm": ssmFront(s),
		"iot": iotFront(s),

		// iot-data has two names: the SDKs' and the documented one.
		"iotdata":        iotDataFront(s),
		webSocketService: iotDataFront(s),

		"cloudformation": cloudformationFront(s),
		"s3":             newS3Front(s),
		"lambda":         lambdaFront(s),
		"logs":           logsFront(s),
		"sns":            snsFront(s),
		"sqs":            newSQSFront(s),
		"monitoring":     cloudwatchFront(s),
	}}
}

// A Handler answers all requests to AWS's APIs.
type Handler struct {
	keys    *Keys
	iam     *iam.Service
	account awsapi.Account
	large   chan struct{}    // has an entry for each large body that is being read
	fronts  map[string]front // by the service's name in the credential scope
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r, id: awsapi.NewID()}
	f := h.front(c)
	if err := h.serve(w, c, f); err != nil {
		f.fail(w, c, asError(err, f))
	}
}

// Fail answers a request with an error, in the form of the protocol that it came in.
func (h *Handler) Fail(w http.ResponseWriter, r *http.Request, err error) {
	c := &call{Request: r, id: awsapi.NewID()}
	f := h.front(c)
	f.fail(w, c, asError(err, f))
}

func (h *Handler) serve(w http.ResponseWriter, c *call, f front) (err error) {
	if err := checkOrigin(c.Request); err != nil {
		return err
	}
	if most := f.limit(); c.ContentLength > most {
		return &http.MaxBytesError{Limit: most}
	}
	if c.ContentLength > smallBody || c.ContentLength < 0 {
		select {
		case h.large <- struct{}{}:
			defer func() { <-h.large }()
		case <-c.Context().Done():
			return c.Context().Err()
		}
	}
	c.Body = http.MaxBytesReader(w, c.Body, f.limit())
	if c.caller, err = h.keys.Verify(c.Request); err != nil {
		return err
	}
	if c.caller.Role != "" {
		c.account = h.account
		c.identity = h.iam.Session(c.caller.Role, c.caller.ARN)
	}
	return f.serve(w, c)
}

// front finds the service that a request is for: the one it is signed for.
func (h *Handler) front(c *call) front {
	scope := scopeOf(c.Request)
	if f, ok := h.fronts[scope]; ok {
		return f
	}
	missing := cmp.Or(scope, "unknown")
	switch {
	case c.Header.Get("X-Amz-Target") != "":
		return jsonFront{service: missing}
	case strings.HasPrefix(c.Header.Get("Content-Type"), "application/x-www-form-urlencoded"), c.URL.Query().Has("Action"):
		return queryFront{service: missing}
	case scope == "":
		return h.unsignedFront(c)
	}
	return restFront{service: missing}
}

// unsignedFront finds out which of the REST protocols shall refuse a request that
// is not signed: IoT's for its paths, else S3's.
func (h *Handler) unsignedFront(c *call) front {
	for _, f := range h.fronts {
		if rest, ok := f.(restFront); ok {
			if found, _ := rest.find(c.Method, c.URL.EscapedPath()); found != nil {
				return rest
			}
		}
	}
	return h.fronts["s3"]
}

// scopeOf returns the service's name in the credential scope; empty for requests
// that are not signed.
func scopeOf(r *http.Request) string {
	_, credential, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if ok {
		credential, _, _ = strings.Cut(credential, ",")
	} else {
		credential = r.URL.Query().Get("X-Amz-Credential")
	}
	parts := strings.Split(credential, "/")
	if len(parts) != 5 {
		return ""
	}
	return parts[3]
}

// notHere is the answer to whatever this endpoint does not have.
func notHere(service, operation string) error {
	return &awsapi.Error{
		Code: "NotImplemented", Status: http.StatusNotImplemented,
		Message: fmt.Sprintf("%s of %s is not available: this local endpoint does not have it", operation, service),
	}
}

// asError gives every error a code, under the name that the front's protocol has for it.
func asError(err error, f front) *awsapi.Error {
	refusal, ok := errors.AsType[*awsapi.Error](err)
	switch {
	case ok:
	case errors.As(err, new(*http.MaxBytesError)):
		refusal = &awsapi.Error{
			Code: "RequestEntityTooLarge", Status: http.StatusRequestEntityTooLarge,
			Message: fmt.Sprintf("the request's body is larger than %d bytes", f.limit()),
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		refusal = awsapi.Errorf("IncompleteBody", "the request's body ends before its end")
	default:
		refusal = &awsapi.Error{Code: "InternalFailure", Status: http.StatusInternalServerError, Message: err.Error()}
	}
	if own, ok := f.codes()[refusal.Code]; ok {
		refusal = &awsapi.Error{Code: own, Status: refusal.Status, Message: refusal.Message}
	}
	return refusal
}

// parameters splits a query or form, unless it has more than anybody needs.
func parameters(encoded string) (url.Values, error) {
	if n := strings.Count(encoded, "&"); n >= maxFormParameters {
		return nil, awsapi.Errorf("MalformedQueryString", "the request has %d parameters, at most %d are allowed", n+1, maxFormParameters)
	}
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return nil, awsapi.Errorf("MalformedQueryString", "%v", err)
	}
	for name := range values {
		if slices.Contains(signatureParameters, name) {
			values.Del(name)
		}
	}
	return values, nil
}

// signatureParameters are those of a presigned request.
var signatureParameters = []string{
	"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-Signature", "X-Amz-SignedHeaders",
}
