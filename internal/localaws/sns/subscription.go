package sns

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/mail"
)

const (
	// tokenLife is how long a confirmation link works (API reference,
	// ConfirmSubscription).
	tokenLife = 2 * 24 * time.Hour
	// pendingLife is how long AWS keeps a subscription that nobody confirms
	// (developer guide, "Deleting an Amazon SNS topic and subscription").
	pendingLife = 3 * 24 * time.Hour
)

// pendingARN stands in lists for the ARN of a subscription that nobody has
// confirmed.
const pendingARN = "PendingConfirmation"

// A Subscription as lists show it.
type Subscription struct {
	// ARN is "PendingConfirmation" until the subscription is confirmed.
	ARN                string
	TopicARN           string
	Protocol, Endpoint string
	Owner              string
}

// Protocols of subscriptions.
const (
	emailProtocol = "email"
	sqsProtocol   = "sqs"
)

// Subscribe makes a subscription. That of an e-mail address is pending and gets
// a confirmation mail, once more if it was pending already; that of a queue is
// confirmed, as the queue is of the topic's account (developer guide, "Subscribing
// an Amazon SQS queue to an Amazon SNS topic"). A confirmed one is left as it is.
// The ARN that is returned is the subscription's own, also while it is pending.
func (s *Service) Subscribe(topicARN, protocol, endpoint string, attributes map[string]string) (string, error) {
	wanted := &subscription{TopicARN: topicARN, Protocol: protocol, Endpoint: endpoint}
	if err := s.checkEndpoint(protocol, endpoint); err != nil {
		return "", err
	}
	for name, value := range attributes {
		if err := wanted.set(name, value); err != nil {
			return "", err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.topic(topicARN)
	if err != nil {
		return "", err
	}
	s.expire()
	sub := s.find(topicARN, protocol, endpoint)
	if sub == nil {
		sub = wanted
		sub.ARN, sub.Token, sub.Created = topicARN+":"+awsapi.NewID(), awsapi.NewHex(tokenBytes), s.now()
	}
	if sub.Confirmed {
		return sub.ARN, sub.same(wanted)
	}
	if protocol == sqsProtocol {
		sub.Confirmed = true
		s.subscriptions[sub.ARN] = sub
		return sub.ARN, nil
	}
	if err := s.mails.Send(s.confirmationMail(t, sub)); err != nil {
		return "", deliveryError(err)
	}
	sub.TokenExpires = s.now().Add(tokenLife)
	s.subscriptions[sub.ARN] = sub
	return sub.ARN, nil
}

// tokenBytes is long enough that nobody guesses a token.
const tokenBytes = 32

func (s *Service) checkEndpoint(protocol, endpoint string) error {
	switch protocol {
	case emailProtocol:
		if err := mail.CheckAddress(endpoint); err != nil {
			return invalid("Email address Reason: %v", err)
		}
	case sqsProtocol:
		if name, ok := strings.CutPrefix(endpoint, s.account.ARN("sqs", "")); !ok || name == "" {
			return invalid("SQS endpoint ARN Reason: %q is not the ARN of a queue of this account and region", endpoint)
		}
	default:
		return invalid("Protocol Reason: this endpoint has email and sqs only, not %q", protocol)
	}
	return nil
}

// same refuses to subscribe an endpoint again in another way.
func (sub *subscription) same(wanted *subscription) error {
	if sub.Raw != wanted.Raw {
		return invalid("Attributes Reason: Subscription already exists with different attributes")
	}
	return nil
}

func (s *Service) find(topicARN, protocol, endpoint string) *subscription {
	for _, sub := range s.subscriptions {
		if sub.TopicARN == topicARN && sub.Protocol == protocol && sub.Endpoint == endpoint {
			return sub
		}
	}
	return nil
}

// ConfirmSubscription confirms with the token of a confirmation mail and
// returns the subscription's ARN. To confirm twice is no error.
func (s *Service) ConfirmSubscription(topicARN, token string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.topic(topicARN); err != nil {
		return "", err
	}
	s.expire()
	for _, sub := range s.subscriptions {
		if sub.TopicARN != topicARN || sub.Token != token {
			continue
		}
		if !sub.Confirmed && !s.now().Before(sub.TokenExpires) {
			return "", invalid("Token Reason: it expired at %s, subscribe again", sub.TokenExpires.UTC().Format(time.RFC3339))
		}
		sub.Confirmed = true
		return sub.ARN, nil
	}
	return "", invalid("Token Reason: no subscription of this topic has it")
}

// Unsubscribe deletes a confirmed subscription. One that does not exist is no
// error; a pending one cannot be deleted (developer guide, "Deleting an Amazon
// SNS topic and subscription").
func (s *Service) Unsubscribe(arn string) error {
	if err := checkSubscriptionARN(arn); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	sub, ok := s.subscriptions[arn]
	if !ok {
		return nil
	}
	if !sub.Confirmed {
		return invalid("SubscriptionArn Reason: %s is pending confirmation, it cannot be deleted and goes away by itself", arn)
	}
	delete(s.subscriptions, arn)
	if t, ok := s.topics[sub.TopicARN]; ok {
		t.Deleted++
	}
	return nil
}

// ListSubscriptions returns all subscriptions, pending ones included, sorted by
// topic.
func (s *Service) ListSubscriptions() []Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	var list []Subscription
	for _, sub := range sorted(s.subscriptions) {
		list = append(list, s.listed(sub))
	}
	return list
}

// ListSubscriptionsByTopic returns the subscriptions of a topic.
func (s *Service) ListSubscriptionsByTopic(topicARN string) ([]Subscription, error) {
	s.mu.RLock()
	_, err := s.topic(topicARN)
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(s.ListSubscriptions(), func(sub Subscription) bool { return sub.TopicARN != topicARN }), nil
}

func (s *Service) listed(sub *subscription) Subscription {
	arn := sub.ARN
	if !sub.Confirmed {
		arn = pendingARN
	}
	return Subscription{ARN: arn, TopicARN: sub.TopicARN, Protocol: sub.Protocol, Endpoint: sub.Endpoint, Owner: s.account.ID}
}

// GetSubscriptionAttributes returns the attributes of a subscription (API
// reference, GetSubscriptionAttributes).
func (s *Service) GetSubscriptionAttributes(arn string) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, err := s.subscription(arn)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"SubscriptionArn":              sub.ARN,
		"TopicArn":                     sub.TopicARN,
		"Protocol":                     sub.Protocol,
		"Endpoint":                     sub.Endpoint,
		"Owner":                        s.account.ID,
		"PendingConfirmation":          strconv.FormatBool(!sub.Confirmed),
		"ConfirmationWasAuthenticated": strconv.FormatBool(sub.Protocol == sqsProtocol),
		"RawMessageDelivery":           strconv.FormatBool(sub.Raw),
	}, nil
}

func (sub *subscription) set(name, value string) error {
	raw := strings.EqualFold(value, "true")
	if name != "RawMessageDelivery" || raw && sub.Protocol == emailProtocol || !raw && !strings.EqualFold(value, "false") {
		return invalid("Attributes Reason: a subscription of protocol %s cannot have %s %q here", sub.Protocol, name, value)
	}
	sub.Raw = raw
	return nil
}

func (s *Service) subscription(arn string) (*subscription, error) {
	s.expire()
	if sub, ok := s.subscriptions[arn]; ok {
		return sub, nil
	}
	if err := checkSubscriptionARN(arn); err != nil {
		return nil, err
	}
	return nil, awsapi.NotFoundf("NotFound", "Subscription does not exist: %s", arn)
}

func checkSubscriptionARN(arn string) error { return checkARN("SubscriptionArn", arn, 7) }

// expire forgets the subscriptions that nobody confirmed in time.
func (s *Service) expire() {
	oldest := s.now().Add(-pendingLife)
	maps.DeleteFunc(s.subscriptions, func(_ string, sub *subscription) bool {
		return !sub.Confirmed && sub.Created.Before(oldest)
	})
}
