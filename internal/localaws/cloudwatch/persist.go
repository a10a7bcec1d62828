package cloudwatch

import (
	"encoding/json"
	"fmt"
)

type saved struct {
	Metrics    map[string]*series
	Alarms     map[string]*Alarm
	Dashboards map[string]*Dashboard
}

// MarshalJSON returns all metrics, alarms and dashboards.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(saved{s.metrics, s.alarms, s.dashboards})
}

// UnmarshalJSON brings saved metrics, alarms and dashboards back.
func (s *Service) UnmarshalJSON(b []byte) error {
	in := saved{map[string]*series{}, map[string]*Alarm{}, map[string]*Dashboard{}}
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("saved CloudWatch: %w", err)
	}
	for name, a := range in.Alarms {
		if err := a.check(); err != nil {
			return fmt.Errorf("saved CloudWatch alarm %s: %w", name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metrics, s.alarms, s.dashboards = in.Metrics, in.Alarms, in.Dashboards
	return nil
}
