package resources

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
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/lambda"
)

// ResponsePath is where functions put the answers of custom resources; on AWS it
// is a presigned URL of an S3 object.
const ResponsePath = "/_lwt/cloudformation/response/"

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

// Answers are the places where the answers of custom resources are awaited, by the
// token in their URL.
type Answers struct {
	baseURL string

	mu      sync.Mutex
	waiting map[string]chan customResponse
}

// NewAnswers returns the Answers of an endpoint: the handler of ResponsePath.
func NewAnswers(baseURL string) *Answers {
	return &Answers{baseURL: baseURL, waiting: map[string]chan customResponse{}}
}

func (a *Answers) await(token string) <-chan customResponse {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := make(chan customResponse, 1)
	a.waiting[token] = answer
	return answer
}

// take returns where the answer to a token goes, once: a second one is as if it
// were never sent.
func (a *Answers) take(token string) chan<- customResponse {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := a.waiting[token]
	delete(a.waiting, token)
	return answer
}

// ServeHTTP takes an answer, as S3 would.
func (a *Answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	if answer := a.take(strings.TrimPrefix(r.URL.Path, ResponsePath)); answer != nil {
		answer <- response
	}
}

// custom is the type of custom resources, whose properties are what their function
// takes: they are handed on as they are.
func custom(functions *lambda.Service, answers *Answers) cloudformation.Type {
	h := customResource{functions, answers}
	return cloudformation.Type{
		AnyProperties: true, Replacement: []string{"ServiceToken"}, Slow: true,
		Create: func(r request) (result, error) { return h.ask(r, customEvent{RequestType: "Create"}) },
		Update: func(r request) (result, error) {
			return h.ask(r, customEvent{RequestType: "Update", PhysicalResourceID: r.PhysicalID, OldResourceProperties: scalarsAsText(r.Previous)})
		},
		Delete: func(r request) error {
			_, err := h.ask(r, customEvent{RequestType: "Delete", PhysicalResourceID: r.PhysicalID})
			return err
		},
	}
}

type customResource struct {
	lambda  *lambda.Service
	answers *Answers
}

// ask hands an event to the function and waits for its answer.
func (h customResource) ask(r request, e customEvent) (result, error) {
	// A request that failed may have made something: the function is told to delete it.
	failed := result{PhysicalID: cmp.Or(r.PhysicalID, r.GeneratedName(128)), Partial: true}
	e.ResourceType, e.ResourceProperties = r.Type, scalarsAsText(r.Properties)
	e.ServiceToken, _ = e.ResourceProperties["ServiceToken"].(string)
	if e.ServiceToken == "" {
		return result{}, errors.New("Property validation failure: [The property {/ServiceToken} is required]") //nolint:staticcheck // AWS's words
	}
	timeout, err := serviceTimeout(e.ResourceProperties["ServiceTimeout"])
	if err != nil {
		return result{}, err
	}
	token := awsapi.NewHex(16)
	answer := h.answers.await(token)
	defer h.answers.take(token)
	e.RequestID, e.ResponseURL = awsapi.NewID(), h.answers.baseURL+ResponsePath+token
	e.StackID, e.LogicalResourceID = r.StackID, r.LogicalID
	event, err := json.Marshal(e)
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	invoked := h.lambda.InvokeAsync(ctx, e.ServiceToken, event)
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
		err = fmt.Errorf("%w The function %s failed: %w", err, e.ServiceToken, invoked)
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

// serviceTimeout is in seconds.
func serviceTimeout(v any) (time.Duration, error) {
	if v == nil {
		return defaultServiceTimeout, nil
	}
	text, _ := v.(string)
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 1 || seconds > 3600 {
		return 0, fmt.Errorf("ServiceTimeout %v must be from 1 to 3600 seconds", v)
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
