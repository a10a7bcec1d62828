package localaws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// responsePath is where functions put the answers of custom resources; on AWS it
// is a presigned URL of an S3 object.
const responsePath = "/_lwt/cloudformation/response/"

// Limits of custom resources (CloudFormation user guide, "Custom resource
// response objects"; template reference, AWS::CloudFormation::CustomResource).
const (
	maxCustomResponse     = 4096
	defaultServiceTimeout = time.Hour
)

// customEvent is what a custom resource's function gets (CloudFormation user
// guide, "Custom resource request objects").
type customEvent struct {
	RequestType           string
	RequestID             string `json:"RequestId"`
	ResponseURL           string
	StackID               string `json:"StackId"`
	ServiceToken          string
	ResourceType          string
	LogicalResourceID     string         `json:"LogicalResourceId"`
	PhysicalResourceID    string         `json:"PhysicalResourceId,omitempty"`
	ResourceProperties    map[string]any `json:",omitempty"`
	OldResourceProperties map[string]any `json:",omitempty"`
}

type customResponse struct {
	Status, Reason     string
	PhysicalResourceID string `json:"PhysicalResourceId"`
	StackID            string `json:"StackId"`
	RequestID          string `json:"RequestId"`
	LogicalResourceID  string `json:"LogicalResourceId"`
	NoEcho             bool
	Data               map[string]any
}

// customAnswers are the places where answers are awaited, by the token in their URL.
type customAnswers struct {
	mu      sync.Mutex
	waiting map[string]chan customResponse
}

func (a *customAnswers) await(token string) <-chan customResponse {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = map[string]chan customResponse{}
	}
	answer := make(chan customResponse, 1)
	a.waiting[token] = answer
	return answer
}

// take returns where the answer to a token goes, once: a second one is as if it
// were never sent.
func (a *customAnswers) take(token string) chan<- customResponse {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := a.waiting[token]
	delete(a.waiting, token)
	return answer
}

// ServeHTTP takes an answer, as S3 would.
func (a *customAnswers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		http.Error(w, "the answer is too large", http.StatusRequestEntityTooLarge)
		return
	}
	var response customResponse
	switch err := json.Unmarshal(body, &response); {
	case len(body) > maxCustomResponse:
		response = customResponse{Status: "FAILED", Reason: "Response object is too long."}
	case err != nil:
		response = customResponse{Status: "FAILED", Reason: "Invalid response object: " + err.Error()}
	}
	if answer := a.take(strings.TrimPrefix(r.URL.Path, responsePath)); answer != nil {
		answer <- response
	}
}

func (s *Server) createCustom(r request) (result, error) {
	return s.custom(r, customEvent{RequestType: "Create"})
}

func (s *Server) updateCustom(r request) (result, error) {
	return s.custom(r, customEvent{RequestType: "Update", PhysicalResourceID: r.PhysicalID, OldResourceProperties: scalarsAsText(r.Previous)})
}

func (s *Server) deleteCustom(r request) error {
	_, err := s.custom(r, customEvent{RequestType: "Delete", PhysicalResourceID: r.PhysicalID})
	return err
}

// custom hands an event to the function and waits for its answer.
func (s *Server) custom(r request, e customEvent) (result, error) {
	// A request that failed may have made something: the function is told to delete it.
	failed := result{PhysicalID: cmp.Or(r.PhysicalID, r.GeneratedName(128)), Partial: true}
	p, err := decode[struct {
		ServiceToken   string
		ServiceTimeout json.RawMessage
	}](r.Properties)
	if err != nil {
		return result{}, err
	}
	timeout, err := serviceTimeout(p.ServiceTimeout)
	if err != nil {
		return result{}, err
	}
	token := awsapi.NewHex(16)
	answer := s.answers.await(token)
	defer s.answers.take(token)
	e.RequestID, e.ResponseURL = awsapi.NewID(), s.URL()+responsePath+token
	e.StackID, e.LogicalResourceID, e.ServiceToken = r.StackID, r.LogicalID, p.ServiceToken
	e.ResourceType, e.ResourceProperties = r.Type, scalarsAsText(r.Properties)
	event, err := json.Marshal(e)
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	invoked := s.Lambda.InvokeAsync(ctx, p.ServiceToken, event)
	select {
	case response := <-answer:
		return customResult(response, e, failed)
	default:
	}
	if errors.As(invoked, new(*awsapi.Error)) {
		return failed, fmt.Errorf("Invalid service token: %w", invoked) //nolint:staticcheck // AWS's words
	}
	err = fmt.Errorf("CloudFormation did not receive a response from your Custom Resource. Please check your logs for requestId [%s].", e.RequestID) //nolint:staticcheck // AWS's words
	if invoked != nil {
		err = fmt.Errorf("%w The function %s failed: %w", err, p.ServiceToken, invoked)
	}
	return failed, err
}

func customResult(response customResponse, e customEvent, failed result) (result, error) {
	if response.PhysicalResourceID != "" {
		failed.PhysicalID = response.PhysicalResourceID
	}
	switch {
	case response.Status == "FAILED":
		return failed, fmt.Errorf("Received response status [FAILED] from custom resource. Message returned: %s (RequestId: %s)", response.Reason, e.RequestID) //nolint:staticcheck // AWS's words
	case response.Status != "SUCCESS":
		return failed, fmt.Errorf("Invalid response status %q from custom resource (RequestId: %s)", response.Status, e.RequestID) //nolint:staticcheck // AWS's words
	case response.PhysicalResourceID == "":
		return failed, errors.New("Invalid PhysicalResourceId") //nolint:staticcheck // AWS's words
	case response.StackID != e.StackID || response.RequestID != e.RequestID || response.LogicalResourceID != e.LogicalResourceID:
		return failed, errors.New("Invalid response: StackId, RequestId and LogicalResourceId must be those of the request") //nolint:staticcheck // AWS's words
	}
	return result{PhysicalID: response.PhysicalResourceID, Attributes: response.Data}, nil
}

// serviceTimeout is in seconds, as a number or text.
func serviceTimeout(raw json.RawMessage) (time.Duration, error) {
	text := strings.Trim(string(raw), `"`)
	if text == "" {
		return defaultServiceTimeout, nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 1 || seconds > 3600 {
		return 0, fmt.Errorf("ServiceTimeout %s must be from 1 to 3600 seconds", raw)
	}
	return time.Duration(seconds) * time.Second, nil
}

// scalarsAsText writes numbers and booleans as text, as CloudFormation does for
// custom resources.
func scalarsAsText(properties map[string]any) map[string]any {
	if properties == nil {
		return nil
	}
	return asText(properties).(map[string]any)
}

func asText(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			out[name] = asText(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = asText(value)
		}
		return out
	case string, nil:
		return v
	}
	return fmt.Sprint(v)
}
