// Package policy reads and evaluates AWS's policy documents: IAM policies, role
// trust policies, SNS topic policies and AWS IoT policies share one language
// (IAM user guide, "JSON policy elements reference").
//
// Known difference from AWS: a condition operator, key or variable that cannot be
// decided on here makes the document an error that names it.
package policy

import "strings"

// A Decision is what a policy, or several together, say of a request.
type Decision int

// An explicit deny beats an allow, an allow beats silence, silence denies
// (IAM user guide, "Policy evaluation logic").
const (
	ImplicitDeny Decision = iota
	Allow
	ExplicitDeny
)

// A Principal is who asks.
type Principal struct {
	// ARN of a user, role or session; empty for a service.
	ARN string
	// Role is the ARN of the role that a session belongs to. A policy that names it
	// means the session too.
	Role string
	// Account the principal belongs to.
	Account string
	// Service such as iot.amazonaws.com; empty for others.
	Service string
	// Context holds the condition keys that come with the principal.
	Context map[string]string
}

// A Request is one action on one resource.
type Request struct {
	Principal Principal
	// Action such as sns:Publish.
	Action string
	// Resource is the ARN acted on.
	Resource string
	// Context holds condition keys, such as aws:SourceArn, and policy variables.
	// Keys are compared without regard to case.
	Context map[string]string
	// Sets are the condition keys that may have several values.
	Sets map[string][]string
}

// values are those of a condition key; none if the request does not have it.
func (r *Request) values(key string) []string {
	if value, ok := vars(r.Context).get(key); ok {
		return []string{value}
	}
	for k, values := range r.Sets {
		if strings.EqualFold(k, key) {
			return values
		}
	}
	return nil
}

// An Identity is a caller and what its own policies allow it.
type Identity interface {
	Principal() Principal
	// Decide evaluates the identity's policies; the request's Principal is filled in.
	Decide(Request) Decision
}

// Combine joins the decisions of several policies on one request.
func Combine(decisions ...Decision) Decision {
	result := ImplicitDeny
	for _, d := range decisions {
		result = max(result, d)
	}
	return result
}
