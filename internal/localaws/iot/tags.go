package iot

import (
	"strings"

	"lastwill/internal/localaws/awsapi"
)

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
