package deployed

// An ErrorActionMessage is what the rule's error action writes into the log
// (developer guide, "Error handling (error action)", message format).
type ErrorActionMessage struct {
	RuleName, Topic, ClientID string
	Base64OriginalPayload     []byte
	Failures                  []Failure
}

// A Failure is one of the rule's actions that failed.
type Failure struct{ FailedAction, FailedResource, ErrorMessage string }
