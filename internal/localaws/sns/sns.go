// Package sns is the local Amazon SNS: standard topics with e-mail
// subscriptions that their owners must confirm, and subscriptions of queues of the
// same account, which need no confirmation.
//
// Where it differs from AWS:
//   - E-mail and SQS are the only protocols. Attributes that other protocols need
//     (filter and delivery policies, encryption, FIFO topics) are refused.
//   - What a queue gets is not signed. A queue that does not take it is not tried
//     again.
//   - The limit of 10 e-mails a second for each subscription is not applied.
//   - Mails come from the account's own SMTP server, their links lead to this
//     endpoint, and unsubscribing sends no mail about it.
package sns

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/mail"
	"lastwill/internal/localaws/policy"
)

// A Sender takes mails that are to be delivered.
type Sender interface {
	Send(mail.Message) error
}

// Queues take messages for SQS queues.
type Queues interface {
	Send(queueARN, body string, sender policy.Principal, context map[string]string) error
}

// A Service holds the topics and subscriptions of one account and region. Its
// errors are *awsapi.Error.
type Service struct {
	account awsapi.Account
	mails   Sender
	queues  Queues
	baseURL string
	now     func() time.Time
	count   func(metric, topicName string)

	mu            sync.RWMutex
	topics        map[string]*topic        // by ARN
	subscriptions map[string]*subscription // by ARN
}

// A topic and its state.
type topic struct {
	ARN         string
	DisplayName string
	Policy      string // as it was given
	Tags        awsapi.Tags
	Deleted     int // subscriptions that were deleted

	parsed *policy.Document // Policy
}

// A subscription and its state. It outlives its topic while nobody has
// confirmed it, as on AWS.
type subscription struct {
	ARN, TopicARN string
	Protocol      string // email or sqs
	Endpoint      string
	Raw           bool // delivers the message alone
	Token         string
	TokenExpires  time.Time
	Created       time.Time
	Confirmed     bool
}

// New returns a Service without topics. The links in its mails begin with
// baseURL, which must lead to Handler.
func New(account awsapi.Account, mails Sender, queues Queues, baseURL string) *Service {
	return &Service{
		account: account, mails: mails, queues: queues, baseURL: strings.TrimSuffix(baseURL, "/"), now: time.Now,
		count:  func(string, string) {},
		topics: map[string]*topic{}, subscriptions: map[string]*subscription{},
	}
}

// CountWith has the metrics of topics counted: NumberOfMessagesPublished and what
// became of the notifications (developer guide, "Monitoring topics using
// CloudWatch"). A mail counts as delivered when it is on its way. It must be
// called before the first message.
func (s *Service) CountWith(count func(metric, topicName string)) { s.count = count }

// SetTags sets the tags of a topic: these and no others.
func (s *Service) SetTags(topicARN string, tags awsapi.Tags) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.tagged(topicARN)
	if err == nil {
		err = checkTags(tags)
	}
	if err == nil {
		t.Tags = maps.Clone(tags)
	}
	return err
}

// ListTagsForResource returns the tags of a topic.
func (s *Service) ListTagsForResource(topicARN string) (awsapi.Tags, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, err := s.tagged(topicARN)
	if err != nil {
		return nil, err
	}
	return maps.Clone(t.Tags), nil
}

// tagged finds a topic for the tag actions, which have an error code of their own.
func (s *Service) tagged(arn string) (*topic, error) {
	if t, ok := s.topics[arn]; ok {
		return t, nil
	}
	return nil, awsapi.NotFoundf("ResourceNotFound", "Resource does not exist: %s", arn)
}

// maxTags is SNS's for one topic (developer guide, "Amazon SNS topic tagging").
const maxTags = 50

func checkTags(tags awsapi.Tags) error {
	if len(tags) > maxTags {
		return awsapi.Errorf("TagLimitExceeded", "Could not complete request: tag quota of %d per resource exceeded by %d tags", maxTags, len(tags))
	}
	for key, value := range tags {
		if key == "" || len([]rune(key)) > 128 || len([]rune(value)) > 256 || strings.HasPrefix(key, "aws:") {
			return invalid("Tags Reason: %q must have a key of 1 to 128 characters that does not begin with aws:, and a value of at most 256", key)
		}
	}
	return nil
}

func (s *Service) topic(arn string) (*topic, error) {
	if t, ok := s.topics[arn]; ok {
		return t, nil
	}
	if err := checkARN("TopicArn", arn, 6); err != nil {
		return nil, err
	}
	return nil, awsapi.NotFoundf("NotFound", "Topic does not exist: %s", arn)
}

// checkARN tells a malformed ARN from one of something that does not exist.
func checkARN(parameter, arn string, elements int) error {
	if n := len(strings.Split(arn, ":")); n < elements {
		return invalid("%s Reason: An ARN must have at least %d elements, not %d: %q", parameter, elements, n, arn)
	}
	if !strings.HasPrefix(arn, "arn:aws:sns:") {
		return invalid("%s Reason: %q is not the ARN of an SNS resource", parameter, arn)
	}
	return nil
}

// invalid is SNS's most common error, in its form of words.
func invalid(format string, args ...any) error {
	return awsapi.Errorf("InvalidParameter", "Invalid parameter: "+format, args...)
}

func internalError(err error) error {
	return &awsapi.Error{Code: "InternalError", Status: http.StatusInternalServerError, Message: err.Error()}
}

// sorted returns the values of m by their keys.
func sorted[K cmp.Ordered, V any](m map[K]V) []V {
	values := make([]V, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[key])
	}
	return values
}
