package iot

import (
	"maps"
	"slices"
	"strings"

	"lastwill/internal/localaws/awsapi"
)

// maxTags is for one resource (general reference, "Tagging AWS resources").
const maxTags = 50

// ListTagsForResource returns the tags of a policy or topic rule; things and
// certificates have none (developer guide, "Tagging your AWS IoT resources").
func (s *Service) ListTagsForResource(arn string) (awsapi.Tags, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, err := s.tagged(arn)
	if err != nil {
		return nil, err
	}
	return tags(*t), nil
}

// TagResource adds tags to those of a policy or topic rule.
func (s *Service) TagResource(arn string, added awsapi.Tags) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.tagged(arn)
	if err != nil {
		return err
	}
	merged := awsapi.Tags{}
	maps.Copy(merged, *t)
	maps.Copy(merged, added)
	if len(merged) > maxTags {
		return &awsapi.Error{Code: "LimitExceededException", Status: 410, Message: "A resource can have at most 50 tags: " + arn}
	}
	*t = merged
	return nil
}

// UntagResource removes tags; keys that the resource does not have are no error.
func (s *Service) UntagResource(arn string, keys []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.tagged(arn)
	if err != nil {
		return err
	}
	left := tags(*t)
	maps.DeleteFunc(left, func(key, _ string) bool { return slices.Contains(keys, key) })
	*t = left
	return nil
}

// tagged finds the tags of a resource; s.mu is held.
func (s *Service) tagged(arn string) (*awsapi.Tags, error) {
	kind, name, _ := strings.Cut(strings.TrimPrefix(arn, s.options.Account.ARN("iot", "")), "/")
	switch kind {
	case "policy":
		p, err := s.policy(name)
		if err != nil {
			return nil, err
		}
		return &p.tags, nil
	case "rule":
		if r, ok := s.rules[name]; ok {
			return &r.Tags, nil
		}
	}
	return nil, awsapi.NotFoundf("ResourceNotFoundException", "%q is not the ARN of a policy or topic rule of this account and region", arn)
}
