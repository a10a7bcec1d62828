package sns

import (
	"cmp"
	"encoding/json"
	"fmt"

	"lastwill/internal/localaws/policy"
)

type saved struct {
	Topics        map[string]*topic
	Subscriptions map[string]*subscription
}

// MarshalJSON returns all topics and subscriptions.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return json.Marshal(saved{s.topics, s.subscriptions})
}

// UnmarshalJSON brings saved topics and subscriptions back.
func (s *Service) UnmarshalJSON(b []byte) error {
	in := saved{map[string]*topic{}, map[string]*subscription{}}
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("saved SNS topics: %w", err)
	}
	for _, sub := range in.Subscriptions {
		sub.Protocol = cmp.Or(sub.Protocol, emailProtocol) // the only one that there once was
	}
	for arn, t := range in.Topics {
		parsed, err := policy.Parse([]byte(t.Policy))
		if err != nil {
			return fmt.Errorf("saved SNS topic %s: %w", arn, err)
		}
		t.parsed = parsed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics, s.subscriptions = in.Topics, in.Subscriptions
	return nil
}
