package logs

import (
	"encoding/json"
	"fmt"
)

// MarshalJSON returns all log groups with their events.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.groups)
}

// UnmarshalJSON brings saved log groups back.
func (s *Service) UnmarshalJSON(b []byte) error {
	groups := map[string]*group{}
	if err := json.Unmarshal(b, &groups); err != nil {
		return fmt.Errorf("saved log groups: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups = groups
	return nil
}
