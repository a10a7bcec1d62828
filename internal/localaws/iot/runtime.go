package iot

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lastwill/internal/iotsql"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
	"lastwill/internal/localaws/sns"
)

// maxHops is how often rules may republish one message into each other.
const maxHops = 10

// iotPrincipal is the service that runs rules.
const iotPrincipal = "iot.amazonaws.com"

// An action is a compiled rule action.
type action interface {
	role() string
	// run gives the action what the rule's SELECT made of the message.
	run(caller policy.Identity, m *Message, env *iotsql.Message, output []byte) error
	// failed names kind and resource for the error action's message.
	failed() (kind, resource string)
}

// runRules evaluates every rule whose filter matches the message's topic, or the
// one that a topic of Basic Ingest names, and runs the actions of those that fire.
func (s *Service) runRules(m *Message) {
	s.mu.RLock()
	var matching []*rule
	if rest, ok := strings.CutPrefix(m.Topic, basicIngest); ok {
		name, _, _ := strings.Cut(rest, "/")
		if r, ok := s.rules[name]; ok && !r.Payload.RuleDisabled {
			matching = append(matching, r)
		} else {
			s.options.Log.Warn("Basic Ingest names a rule that does not exist or is disabled", "rule", name, "topic", m.Topic, "client", m.ClientID)
		}
	} else {
		for r := range s.index.Match(m.Topic) {
			matching = append(matching, r)
		}
	}
	s.mu.RUnlock()
	for _, r := range matching {
		s.runRule(r, m)
	}
}

func (s *Service) runRule(r *rule, m *Message) {
	env := &iotsql.Message{
		Topic: m.Topic, Payload: m.Payload, ClientID: m.ClientID, Principal: m.Principal, SourceIP: m.SourceIP,
		AccountID: s.options.Account.ID, Time: m.Time,
	}
	result, err := r.query.Eval(env)
	if err != nil {
		// Errors of the SQL do not reach the error action, which is for actions that fail
		// (developer guide, "Error handling (error action)").
		s.observe(Event{Kind: NotMatched, ClientID: m.ClientID, Rule: r.Name, Message: m, Detail: err.Error(), Err: err, Query: r.query})
		return
	}
	if !result.Fired {
		why, _ := r.query.Explain(env) // its errors are those of Eval
		s.observe(Event{Kind: NotMatched, ClientID: m.ClientID, Rule: r.Name, Message: m, Detail: why.String(), Query: r.query})
		return
	}
	s.observe(Event{Kind: Matched, ClientID: m.ClientID, Rule: r.Name, Message: m, Query: r.query, Output: result.Payload})
	var failures []failure
	for _, a := range r.actions {
		if err := s.runAction(r, a, false, m, env, result.Payload); err != nil {
			kind, resource := a.failed()
			failures = append(failures, failure{kind, resource, err.Error()})
		}
	}
	if len(failures) > 0 && r.errorAction != nil {
		_ = s.runAction(r, r.errorAction, true, m, env, errorMessage(r, m, failures)) // observed and logged there
	}
}

func (s *Service) runAction(r *rule, a action, isErrorAction bool, m *Message, env *iotsql.Message, output []byte) error {
	kind, resource := a.failed()
	event := Event{Kind: ActionDone, ClientID: m.ClientID, Rule: r.Name, Message: m, Detail: kind, Action: kind, ErrorAction: isErrorAction, Output: output}
	caller, err := s.assume(r, a.role())
	if err == nil {
		err = a.run(caller, m, env, output)
	}
	if err != nil {
		s.options.Log.Warn("rule action failed", "rule", r.Name, "action", kind, "resource", resource, "error", err)
		event.Kind, event.Err, event.Detail = ActionFailed, err, kind+": "+err.Error()
	}
	s.observe(event)
	return err
}

// assume lets a rule act as a role; the trust policy sees which rule asks
// (developer guide, "Granting an AWS IoT rule the access it requires").
func (s *Service) assume(r *rule, roleARN string) (policy.Identity, error) {
	return s.options.IAM.Assume(roleARN, iotPrincipal, r.context)
}

// allowed is an error unless the caller may do the action.
func allowed(caller policy.Identity, action, resource string) error {
	if caller.Decide(policy.Request{Action: action, Resource: resource}) == policy.Allow {
		return nil
	}
	return &awsapi.Error{
		Code: "AccessDenied", Status: http.StatusForbidden,
		Message: fmt.Sprintf("%s is not authorized to perform: %s on resource: %s", caller.Principal().ARN, action, resource),
	}
}

type snsAction struct {
	SNSAction
	service *Service
}

func (a snsAction) role() string             { return a.RoleARN }
func (a snsAction) failed() (string, string) { return "SnsAction", a.TargetARN }

func (a snsAction) run(caller policy.Identity, _ *Message, _ *iotsql.Message, output []byte) error {
	in := sns.PublishInput{TopicARN: a.TargetARN, Message: string(output)}
	if a.MessageFormat == "JSON" {
		in.MessageStructure = "json"
	}
	_, err := a.service.options.SNS.Publish(in, caller, map[string]string{"aws:SecureTransport": "true"})
	return err
}

type republishAction struct {
	RepublishAction
	topic   *iotsql.Template
	service *Service
}

func (a republishAction) role() string             { return a.RoleARN }
func (a republishAction) failed() (string, string) { return "RepublishAction", a.Topic }

func (a republishAction) run(caller policy.Identity, m *Message, env *iotsql.Message, output []byte) error {
	topic, err := a.topic.Eval(env)
	if err != nil {
		return err
	}
	if err := allowed(caller, "iot:Publish", a.service.topicARN(topic)); err != nil {
		return err
	}
	if err := checkPublish(topic, len(output), a.QoS); err != nil {
		return err
	}
	if m.hops >= maxHops {
		return fmt.Errorf("message was republished %d times already: this looks like a rule that feeds itself", m.hops)
	}
	a.service.publish(&Message{
		Topic: topic, Payload: output, ClientID: m.ClientID, Principal: m.Principal, SourceIP: m.SourceIP,
		QoS: a.QoS, Time: time.Now(), hops: m.hops + 1,
	})
	return nil
}

type logsAction struct {
	CloudwatchLogsAction
	service *Service
}

func (a logsAction) role() string             { return a.RoleARN }
func (a logsAction) failed() (string, string) { return "CloudwatchLogsAction", a.LogGroupName }

func (a logsAction) run(caller policy.Identity, m *Message, _ *iotsql.Message, output []byte) error {
	group := a.service.options.Account.ARN("logs", "log-group:"+a.LogGroupName)
	// Permissions that the action needs (developer guide, "CloudWatch Logs" rule action).
	for _, needed := range []string{"logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"} {
		err := allowed(caller, needed, group+":log-stream:"+m.ClientID)
		if err != nil && allowed(caller, needed, group) != nil {
			return err
		}
	}
	return a.service.options.Logs.Put(a.LogGroupName, m.ClientID, string(output))
}

type failure struct {
	FailedAction   string `json:"failedAction"`
	FailedResource string `json:"failedResource"`
	ErrorMessage   string `json:"errorMessage"`
}

// errorMessage is what an error action gets (developer guide, "Error handling
// (error action)", message format).
func errorMessage(r *rule, m *Message, failures []failure) []byte {
	b, err := json.Marshal(struct {
		RuleName              string    `json:"ruleName"`
		Topic                 string    `json:"topic"`
		CloudwatchTraceID     string    `json:"cloudwatchTraceId"`
		ClientID              string    `json:"clientId"`
		Base64OriginalPayload string    `json:"base64OriginalPayload"`
		Failures              []failure `json:"failures"`
	}{r.Name, m.Topic, awsapi.NewID(), m.ClientID, base64.StdEncoding.EncodeToString(m.Payload), failures})
	if err != nil {
		panic(err) // strings always marshal
	}
	return b
}

func (s *Service) topicARN(topic string) string { return s.options.Account.ARN("iot", "topic/"+topic) }
