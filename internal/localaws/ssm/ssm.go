// Package ssm keeps Systems Manager parameters: a deployment reads the version
// of the CDK's bootstrap stack from one.
//
// Known differences from AWS: parameters are made by stacks only, are Strings, and
// have neither versions nor dates.
package ssm

import (
	"encoding/json"
	"sync"

	"lastwill/internal/localaws/awsapi"
)

// A Service holds the parameters of one account and region.
type Service struct {
	mu         sync.RWMutex
	parameters map[string]string
}

// New returns a Service without parameters.
func New() *Service { return &Service{parameters: map[string]string{}} }

// Put sets a parameter.
func (s *Service) Put(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parameters[name] = value
}

// Delete removes a parameter. One that does not exist is no error.
func (s *Service) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parameters, name)
}

// Get returns the value of a parameter.
func (s *Service) Get(name string) (string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, ok := s.parameters[name]
	if !ok {
		return "", awsapi.Errorf("ParameterNotFound", "SSM parameter %s does not exist", name)
	}
	return value, nil
}

// MarshalJSON returns all parameters.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return json.Marshal(s.parameters)
}

// UnmarshalJSON brings saved parameters back.
func (s *Service) UnmarshalJSON(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Unmarshal(b, &s.parameters)
}
