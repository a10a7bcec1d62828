package lambda

import "encoding/json"

// MarshalJSON saves all functions.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.functions)
}

// UnmarshalJSON brings them back.
func (s *Service) UnmarshalJSON(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Unmarshal(b, &s.functions)
}
