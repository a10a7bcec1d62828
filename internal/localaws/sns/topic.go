package sns

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

// Attributes of a topic that can be set.
const (
	displayName = "DisplayName"
	policyName  = "Policy"
)

// topicName is in the API reference, CreateTopic, Name.
var topicName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)

// maxDisplayName is in characters (CloudFormation template reference,
// AWS::SNS::Topic, DisplayName).
const maxDisplayName = 100

// CreateTopic returns the ARN of a topic, which is made unless it exists. An
// existing topic that has other attributes or tags than those given is an error.
func (s *Service) CreateTopic(name string, attributes map[string]string, tags awsapi.Tags) (string, error) {
	if !topicName.MatchString(name) {
		return "", invalid("Topic Name Reason: %q must have 1 to 256 letters, digits, hyphens or underscores; FIFO topics are not supported here", name)
	}
	if err := checkTags(tags); err != nil {
		return "", err
	}
	arn := s.account.ARN("sns", name)
	wanted := &topic{ARN: arn, Tags: awsapi.Tags{}}
	maps.Copy(wanted.Tags, tags)
	if err := wanted.set(policyName, s.defaultPolicy(arn)); err != nil {
		return "", err
	}
	for name, value := range attributes {
		if err := s.setAttribute(wanted, name, value); err != nil {
			return "", err
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	existing, ok := s.topics[arn]
	if !ok {
		s.topics[arn] = wanted
		return arn, nil
	}
	for name := range attributes {
		if existing.get(name) != wanted.get(name) {
			return "", invalid("Attributes Reason: Topic already exists with different attributes: %s", name)
		}
	}
	if tags != nil && !maps.Equal(existing.Tags, wanted.Tags) {
		return "", invalid("Tags Reason: Topic already exists with different tags")
	}
	return arn, nil
}

// DeleteTopic deletes a topic and its confirmed subscriptions. Pending ones
// stay until they expire. A topic that does not exist is no error.
func (s *Service) DeleteTopic(arn string) error {
	if err := checkARN("TopicArn", arn, 6); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.topics, arn)
	maps.DeleteFunc(s.subscriptions, func(_ string, sub *subscription) bool {
		return sub.TopicARN == arn && sub.Confirmed
	})
	return nil
}

// ListTopics returns the ARNs of all topics, sorted.
func (s *Service) ListTopics() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var arns []string
	for _, t := range sorted(s.topics) {
		arns = append(arns, t.ARN)
	}
	return arns
}

// GetTopicAttributes returns the attributes of a topic (API reference,
// GetTopicAttributes).
func (s *Service) GetTopicAttributes(arn string) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.topic(arn)
	if err != nil {
		return nil, err
	}
	s.expire()
	confirmed, pending := 0, 0
	for _, sub := range s.subscriptions {
		switch {
		case sub.TopicARN != arn:
		case sub.Confirmed:
			confirmed++
		default:
			pending++
		}
	}
	return map[string]string{
		"TopicArn":               arn,
		"Owner":                  s.account.ID,
		displayName:              t.DisplayName,
		policyName:               t.Policy,
		"SubscriptionsConfirmed": strconv.Itoa(confirmed),
		"SubscriptionsPending":   strconv.Itoa(pending),
		"SubscriptionsDeleted":   strconv.Itoa(t.Deleted),
	}, nil
}

// SetTopicAttributes sets DisplayName or Policy. An empty policy is the one
// that a new topic has.
func (s *Service) SetTopicAttributes(arn, name, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.topic(arn)
	if err != nil {
		return err
	}
	return s.setAttribute(t, name, value)
}

func (s *Service) setAttribute(t *topic, name, value string) error {
	if name == policyName && value == "" {
		value = s.defaultPolicy(t.ARN)
	}
	return t.set(name, value)
}

func (t *topic) set(name, value string) error {
	switch name {
	case displayName:
		if utf8.RuneCountInString(value) > maxDisplayName || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			return invalid("%s Reason: must have at most %d characters and no control characters: %.120q", name, maxDisplayName, value)
		}
		t.DisplayName = value
	case policyName:
		parsed, err := parsePolicy(value)
		if err != nil {
			return err
		}
		t.Policy, t.parsed = value, parsed
	default:
		return invalid("AttributeName Reason: topics have %s and %s here, not %q", displayName, policyName, name)
	}
	return nil
}

// policyActions are what a topic's policy may allow or deny (developer guide, "Amazon
// SNS API permissions: Actions and resources reference"). A wildcard is not among
// them.
var policyActions = []string{
	"sns:addpermission", "sns:deletetopic", "sns:getdataprotectionpolicy", "sns:gettopicattributes", "sns:listsubscriptionsbytopic",
	"sns:listtagsforresource", "sns:publish", "sns:putdataprotectionpolicy", "sns:receive", "sns:removepermission",
	"sns:settopicattributes", "sns:subscribe", "sns:tagresource", "sns:untagresource",
}

func parsePolicy(document string) (*policy.Document, error) {
	parsed, err := policy.ParseResource([]byte(document))
	if err != nil {
		return nil, invalid("Policy Error: %v", err)
	}
	outOfScope := false
	err = parsed.Check(policy.Rules{Key: policy.KnownInIAM, Action: func(action string) string {
		if outOfScope = !slices.Contains(policyActions, action); outOfScope {
			return "Policy statement action out of service scope!"
		}
		return ""
	}})
	switch {
	case outOfScope:
		return nil, invalid("Policy statement action out of service scope!")
	case err != nil:
		return nil, invalid("Policy Error: %v", err)
	}
	return parsed, nil
}

func (t *topic) get(name string) string {
	if name == displayName {
		return t.DisplayName
	}
	return t.Policy
}

// defaultPolicy lets the owner's account in, and nobody else (developer guide,
// "Amazon SNS access policy", default policy). AWS gives AWS:SourceOwner to
// requests that its own services make for an account; a role needs its own
// permission.
func (s *Service) defaultPolicy(arn string) string {
	type statement struct {
		Sid, Effect string
		Principal   map[string]string
		Action      []string
		Resource    string
		Condition   map[string]map[string]string
	}
	document, err := json.Marshal(struct {
		Version   string
		ID        string `json:"Id"`
		Statement []statement
	}{
		Version: "2008-10-17",
		ID:      "__default_policy_ID",
		Statement: []statement{{
			Sid: "__default_statement_ID", Effect: "Allow",
			Principal: map[string]string{"AWS": "*"},
			Action: []string{
				"SNS:GetTopicAttributes", "SNS:SetTopicAttributes", "SNS:AddPermission", "SNS:RemovePermission",
				"SNS:DeleteTopic", "SNS:Subscribe", "SNS:ListSubscriptionsByTopic", "SNS:Publish",
			},
			Resource:  arn,
			Condition: map[string]map[string]string{"StringEquals": {"AWS:SourceOwner": s.account.ID}},
		}},
	})
	if err != nil {
		panic(err) // structs of strings always marshal
	}
	return string(document)
}
