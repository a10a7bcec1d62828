package iot

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

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

// maxTags is for one resource (AWS general reference, "Tagging your AWS resources").
const maxTags = 50

func checkTags(t awsapi.Tags) error {
	for _, key := range slices.Sorted(maps.Keys(t)) {
		switch {
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return awsapi.Errorf("InvalidRequestException", "tag key %.150q begins with aws:, which is reserved", key)
		case key == "" || utf8.RuneCountInString(key) > 128 || utf8.RuneCountInString(t[key]) > 256:
			return awsapi.Errorf("InvalidRequestException", "tag %.150q must have a key of 1 to 128 characters and a value of at most 256", key)
		}
	}
	if len(t) > maxTags {
		return &awsapi.Error{Code: "LimitExceededException", Status: http.StatusGone, Message: fmt.Sprintf("a resource has at most %d tags, not %d", maxTags, len(t))}
	}
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
