package sqs

import (
	"encoding/json"
	"fmt"
)

type saved struct{ Queues map[string]*queue }

// MarshalJSON returns all queues, without their messages.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(saved{s.queues})
}

// UnmarshalJSON brings saved queues back.
func (s *Service) UnmarshalJSON(b []byte) error {
	in := saved{}
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("saved SQS queues: %w", err)
	}
	queues := map[string]*queue{}
	for name, kept := range in.Queues {
		q := s.newQueue(name)
		q.Created, q.Modified = kept.Created, kept.Modified
		if err := q.set(kept.Attributes); err != nil {
			return fmt.Errorf("saved SQS queue %s: %w", name, err)
		}
		queues[name] = q
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues = queues
	return nil
}
