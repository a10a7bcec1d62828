package sns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/mail"
	"lastwill/internal/localaws/policy"
)

// Limits of Publish (API reference, Publish, Message and Subject).
const (
	maxMessageBytes = 256 * 1024
	maxSubject      = 100 // characters; a subject has fewer
)

// PublishInput is a message to a topic.
type PublishInput struct {
	TopicARN string
	Message  string
	// Subject of the mails. Default: AWS Notification Message.
	Subject string
	// MessageStructure is empty, or json for a Message with a text per protocol.
	MessageStructure string
}

// Publish delivers a message to the confirmed subscriptions of a topic and
// returns its id. The caller needs the permission from its own policies or the
// topic's; nil is the account's root. The request context holds condition keys
// such as aws:SecureTransport.
func (s *Service) Publish(in PublishInput, caller policy.Identity, context map[string]string) (string, error) {
	id := awsapi.NewID()
	deliveries, err := s.deliveriesOf(id, in, caller, context)
	if err != nil {
		return "", err
	}
	name := in.TopicARN[strings.LastIndex(in.TopicARN, ":")+1:]
	s.count("NumberOfMessagesPublished", name)
	var errs []error
	for _, deliver := range deliveries {
		err := deliver()
		if err == nil {
			s.count("NumberOfNotificationsDelivered", name)
		} else {
			s.count("NumberOfNotificationsFailed", name)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return "", deliveryError(err)
	}
	return id, nil
}

func (s *Service) deliveriesOf(id string, in PublishInput, caller policy.Identity, context map[string]string) ([]func() error, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, notFound := s.topic(in.TopicARN)
	if err := s.authorize(t, in.TopicARN, caller, context); err != nil {
		return nil, err
	}
	if notFound != nil {
		return nil, notFound
	}
	texts, err := in.texts()
	if err != nil {
		return nil, err
	}
	var deliveries []func() error
	for _, sub := range s.subscriptions {
		if !sub.Confirmed || sub.TopicARN != t.ARN {
			continue
		}
		text := texts.of(sub.Protocol)
		if sub.Protocol == sqsProtocol {
			deliveries = append(deliveries, s.toQueue(id, *sub, in.Subject, text))
			continue
		}
		notification := s.notificationMail(t, sub, in.Subject, text)
		deliveries = append(deliveries, func() error { return s.mails.Send(notification) })
	}
	return deliveries, nil
}

// authorize joins the caller's own policies with the topic's, as it is within
// one account: either may allow, each may deny (IAM user guide, "Policy
// evaluation logic").
func (s *Service) authorize(t *topic, arn string, caller policy.Identity, context map[string]string) error {
	request := policy.Request{Action: "sns:Publish", Resource: arn, Context: context}
	var own policy.Decision
	if caller == nil {
		request.Principal = policy.Principal{ARN: s.account.GlobalARN("iam", "root"), Account: s.account.ID, Context: s.account.Context()}
		own = policy.Allow
	} else {
		request.Principal = caller.Principal()
		if request.Principal.Context == nil {
			request.Principal.Context = s.account.Context()
		}
		own = caller.Decide(request)
	}
	decision := own
	if t != nil {
		decision = policy.Combine(own, t.parsed.Evaluate(request))
	}
	if decision == policy.Allow {
		return nil
	}
	who := request.Principal.ARN
	if who == "" {
		who = request.Principal.Service
	}
	return &awsapi.Error{
		Code: "AuthorizationError", Status: http.StatusForbidden,
		Message: fmt.Sprintf("User: %s is not authorized to perform: SNS:Publish on resource: %s %s", who, arn, because(decision, own)),
	}
}

func because(decision, own policy.Decision) string {
	switch {
	case own == policy.ExplicitDeny:
		return "with an explicit deny in an identity-based policy"
	case decision == policy.ExplicitDeny:
		return "with an explicit deny in a resource-based policy"
	default:
		return "because no identity-based policy allows the SNS:Publish action"
	}
}

// protocolTexts is the text of a message for each protocol, with the key default
// for those that have none of their own.
type protocolTexts map[string]string

func (t protocolTexts) of(protocol string) string {
	if own, ok := t[protocol]; ok {
		return own
	}
	return t[defaultText]
}

const defaultText = "default"

// texts is what subscribers get to read of the message.
func (in PublishInput) texts() (protocolTexts, error) {
	switch {
	case in.Message == "":
		return nil, invalid("Empty message")
	case len(in.Message) > maxMessageBytes:
		return nil, invalid("Message too long: %d bytes, at most %d", len(in.Message), maxMessageBytes)
	case !utf8.ValidString(in.Message):
		return nil, invalid("Message Reason: it is not UTF-8")
	case utf8.RuneCountInString(in.Subject) >= maxSubject || !utf8.ValidString(in.Subject) || strings.ContainsFunc(in.Subject, unicode.IsControl):
		return nil, invalid("Subject Reason: it must have fewer than %d characters and no line breaks or control characters", maxSubject)
	}
	switch in.MessageStructure {
	case "":
		return protocolTexts{defaultText: in.Message}, nil
	case "json":
		return jsonTexts(in.Message)
	default:
		return nil, invalid("MessageStructure Reason: it is json or absent, not %q", in.MessageStructure)
	}
}

// jsonTexts takes the texts out of a message of structure json: a JSON object
// with a string "default" and perhaps one for a protocol. Values that are no
// strings and other keys are ignored, duplicate keys are refused (API
// reference, Publish, MessageStructure).
func jsonTexts(message string) (protocolTexts, error) {
	found, err := topLevelStrings(message)
	if err != nil {
		return nil, invalid("Message Structure - JSON message body failed to parse: %v", err)
	}
	texts := protocolTexts(found)
	if _, ok := texts[defaultText]; !ok {
		return nil, invalid("Message Structure - No default entry in JSON message body")
	}
	for _, protocol := range []string{emailProtocol, sqsProtocol} {
		if texts.of(protocol) == "" {
			return nil, invalid("Empty message")
		}
	}
	return texts, nil
}

// topLevelStrings reads a JSON object by hand where encoding/json would let
// the last of two equal keys win.
func topLevelStrings(message string) (map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(message)))
	if opening, err := d.Token(); err != nil || opening != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	seen := map[string]bool{}
	texts := map[string]string{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		key := token.(string) // Token allows nothing else for a key
		if seen[key] {
			return nil, fmt.Errorf("key %q is there twice", key)
		}
		seen[key] = true
		var value any
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		if text, ok := value.(string); ok {
			texts[key] = text
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the JSON object")
	}
	return texts, nil
}

func deliveryError(err error) error {
	if errors.Is(err, mail.ErrQueueFull) {
		return &awsapi.Error{Code: "Throttled", Status: http.StatusTooManyRequests, Message: err.Error()}
	}
	return internalError(err)
}
