package iam

import (
	"encoding/json"
	"fmt"

	"lastwill/internal/localaws/policy"
)

// MarshalJSON returns all roles.
func (s *Service) MarshalJSON() ([]byte, error) { return json.Marshal(s.ListRoles()) }

// UnmarshalJSON brings saved roles back.
func (s *Service) UnmarshalJSON(b []byte) error {
	var saved []Role
	if err := json.Unmarshal(b, &saved); err != nil {
		return fmt.Errorf("saved roles: %w", err)
	}
	roles := map[string]*role{}
	for _, r := range saved {
		trust, err := policy.ParseTrust([]byte(r.TrustPolicy)) // checked when it was made
		if err != nil {
			return fmt.Errorf("saved role %s: %w", r.Name, err)
		}
		restored := &role{Role: r, trust: trust, policies: map[string]*policy.Document{}}
		for name, document := range r.Policies {
			if restored.policies[name], err = policy.ParseIdentity([]byte(document)); err != nil {
				return fmt.Errorf("saved role %s: %w", r.Name, err)
			}
		}
		roles[r.Name] = restored
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles = roles
	return nil
}
