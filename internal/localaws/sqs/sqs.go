// Package sqs is the local Amazon SQS: standard queues that SNS delivers to.
//
// Where it differs from AWS:
//   - Messages come from SNS only, without attributes of their own; there is no
//     SendMessage. They are in the order of their arrival, and only as many as a
//     receiver asks for stay away.
//   - Attributes that SNS's deliveries do not need (delay, dead-letter queue,
//     encryption, FIFO) are refused.
//   - Changes hold at once. The name of a deleted queue is free at once.
//   - A queue holds at most 64 MB; what comes beyond is refused. Messages are not
//     kept over a restart, queues are.
package sqs

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

// Attributes of a queue that can be set.
const (
	policyName    = "Policy"
	visibility    = "VisibilityTimeout"
	retention     = "MessageRetentionPeriod"
	receiveWait   = "ReceiveMessageWaitTimeSeconds"
	maxQueueBytes = 64 << 20
)

// settings are the numbers among them, in seconds: default, least and most (API
// reference, SetQueueAttributes).
var settings = map[string]struct{ usual, least, most int }{
	visibility:  {30, 0, 43_200},
	retention:   {345_600, 60, 1_209_600},
	receiveWait: {0, 0, 20},
}

// A Service holds the queues of one account and region. Its errors are
// *awsapi.Error.
type Service struct {
	account awsapi.Account
	baseURL string
	now     func() time.Time

	mu      sync.Mutex
	queues  map[string]*queue // by name
	stopped chan struct{}     // closed when nobody may wait for messages any more
	stop    func()
}

// A queue and its state.
type queue struct {
	Name              string
	Attributes        map[string]string // as they were set
	Created, Modified time.Time

	arn      string
	parsed   *policy.Document // the attribute Policy; nil without one
	messages []*message       // by arrival
	bytes    int
	changed  chan struct{} // closed when a message arrives or the queue is deleted
}

// New returns a Service without queues, whose queues' URLs begin with baseURL.
func New(account awsapi.Account, baseURL string) *Service {
	s := &Service{
		account: account, baseURL: strings.TrimSuffix(baseURL, "/"), now: time.Now,
		queues: map[string]*queue{}, stopped: make(chan struct{}),
	}
	s.stop = sync.OnceFunc(func() { close(s.stopped) })
	return s
}

// Stop lets nobody wait for messages any more.
func (s *Service) Stop() { s.stop() }

// queueName is in the API reference, CreateQueue, QueueName.
var queueName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

// CreateQueue returns the URL of a queue, which is made unless it exists. An
// existing queue with other attributes than those given is an error.
func (s *Service) CreateQueue(name string, attributes map[string]string) (string, error) {
	if !queueName.MatchString(name) {
		return "", awsapi.Errorf("InvalidParameterValue", "Queue name %q can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length; FIFO queues are not supported here", name)
	}
	wanted := s.newQueue(name)
	if err := wanted.set(attributes); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	existing, ok := s.queues[name]
	if !ok {
		s.queues[name] = wanted
		return s.url(name), nil
	}
	for key := range attributes {
		if existing.Attributes[key] != wanted.Attributes[key] {
			return "", awsapi.Errorf("QueueNameExists", "A queue already exists with the same name and a different value for attribute %s", key)
		}
	}
	return s.url(name), nil
}

func (s *Service) newQueue(name string) *queue {
	now := s.now().UTC()
	q := &queue{Name: name, arn: s.account.ARN("sqs", name), Created: now, Modified: now, Attributes: map[string]string{}, changed: make(chan struct{})}
	for setting, limits := range settings {
		q.Attributes[setting] = strconv.Itoa(limits.usual)
	}
	return q
}

// policyAction says what is wrong with an action of a queue's policy.
func policyAction(action string) string {
	if action != "*" && !strings.HasPrefix(action, "sqs:") {
		return "Policy statement action out of service scope!"
	}
	return ""
}

// set sets attributes: all or none.
func (q *queue) set(attributes map[string]string) error {
	var parsed *policy.Document
	for key, value := range attributes {
		limits, isNumber := settings[key]
		switch n, err := strconv.Atoi(value); {
		case isNumber && (err != nil || n < limits.least || n > limits.most):
			return awsapi.Errorf("InvalidAttributeValue", "Invalid value for the parameter %s: %q, must be from %d to %d", key, value, limits.least, limits.most)
		case isNumber, key == policyName && value == "":
		case key == policyName:
			if parsed, err = policy.ParseResource([]byte(value)); err == nil {
				err = parsed.Check(policy.Rules{Key: policy.KnownInIAM, Action: policyAction})
			}
			if err != nil {
				return awsapi.Errorf("InvalidAttributeValue", "Invalid value for the parameter %s: %v", key, err)
			}
		default:
			return awsapi.Errorf("InvalidAttributeName", "Unknown Attribute %s: queues have %s, %s, %s and %s here", key, policyName, visibility, retention, receiveWait)
		}
	}
	maps.Copy(q.Attributes, attributes)
	if _, ok := attributes[policyName]; ok {
		q.parsed = parsed
	}
	return nil
}

func (q *queue) seconds(setting string) time.Duration {
	n, _ := strconv.Atoi(q.Attributes[setting]) // set has checked it
	return time.Duration(n) * time.Second
}

// SetQueueAttributes sets attributes of a queue.
func (s *Service) SetQueueAttributes(queueURL string, attributes map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(queueURL)
	if err != nil {
		return err
	}
	q.Modified = s.now().UTC()
	return q.set(attributes)
}

// GetQueueAttributes returns all attributes of a queue (API reference,
// GetQueueAttributes).
func (s *Service) GetQueueAttributes(queueURL string) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(queueURL)
	if err != nil {
		return nil, err
	}
	now := s.now()
	q.expire(now)
	hidden := 0
	for _, m := range q.messages {
		if m.visible.After(now) {
			hidden++
		}
	}
	all := maps.Clone(q.Attributes)
	maps.Copy(all, map[string]string{
		"QueueArn":                              q.arn,
		"ApproximateNumberOfMessages":           strconv.Itoa(len(q.messages) - hidden),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(hidden),
		"CreatedTimestamp":                      strconv.FormatInt(q.Created.Unix(), 10),
		"LastModifiedTimestamp":                 strconv.FormatInt(q.Modified.Unix(), 10),
	})
	if all[policyName] == "" {
		delete(all, policyName)
	}
	return all, nil
}

// GetQueueURL returns the URL of a queue.
func (s *Service) GetQueueURL(name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.queues[name]; !ok {
		return "", noQueue(name)
	}
	return s.url(name), nil
}

// ListQueues returns the URLs of the queues whose names begin with a prefix, sorted.
func (s *Service) ListQueues(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var urls []string
	for _, name := range slices.Sorted(maps.Keys(s.queues)) {
		if strings.HasPrefix(name, prefix) {
			urls = append(urls, s.url(name))
		}
	}
	return urls
}

// DeleteQueue deletes a queue with its messages.
func (s *Service) DeleteQueue(queueURL string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(queueURL)
	if err != nil {
		return err
	}
	delete(s.queues, q.Name)
	q.wake()
	return nil
}

func (s *Service) url(name string) string { return s.baseURL + "/" + s.account.ID + "/" + name }

// queue finds a queue by its URL, whatever the host in it; s.mu is held.
func (s *Service) queue(queueURL string) (*queue, error) {
	u, err := url.Parse(queueURL)
	if err != nil {
		return nil, awsapi.Errorf("InvalidAddress", "The address %q is not valid for this endpoint.", queueURL)
	}
	name, ok := strings.CutPrefix(u.Path, "/"+s.account.ID+"/")
	if q, found := s.queues[name]; ok && found {
		return q, nil
	}
	return nil, noQueue(queueURL)
}

func noQueue(name string) error {
	return awsapi.Errorf("QueueDoesNotExist", "The specified queue does not exist: %s", name)
}

// wake tells those who wait for messages to look again.
func (q *queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// Send puts a message into the queue of an ARN, if the queue's policy lets the
// sender. The request context holds condition keys such as aws:SourceArn.
func (s *Service) Send(queueARN, body string, sender policy.Principal, context map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, ok := s.queues[strings.TrimPrefix(queueARN, s.account.ARN("sqs", ""))]
	if !ok {
		return noQueue(queueARN)
	}
	if sender.Context == nil {
		sender.Context = s.account.Context()
	}
	request := policy.Request{Principal: sender, Action: "sqs:SendMessage", Resource: q.arn, Context: context}
	if q.parsed == nil || q.parsed.Evaluate(request) != policy.Allow {
		return awsapi.Errorf("AccessDenied", "Access to the resource %s is denied: the queue's policy does not allow sqs:SendMessage", queueARN)
	}
	now := s.now()
	q.expire(now)
	if q.bytes+len(body) > maxQueueBytes {
		return awsapi.Errorf("OverLimit", "queue %s has %d bytes: a queue holds at most %d here", q.Name, q.bytes, maxQueueBytes)
	}
	q.messages = append(q.messages, &message{ID: awsapi.NewID(), Body: body, sent: now})
	q.bytes += len(body)
	q.wake()
	return nil
}
