// Package ecr knows container repositories by name. cdk bootstrap makes one in
// every account; lastwill has no container images, so nothing is ever in it.
//
// Known difference from AWS: there is no API; policies and lifecycle rules have no
// effect.
package ecr

import (
	"encoding/json"
	"slices"
	"sync"

	"lastwill/internal/localaws/awsapi"
)

// A Service holds the repositories of one account and region.
type Service struct {
	account awsapi.Account

	mu    sync.Mutex
	names []string
}

// New returns a Service without repositories.
func New(account awsapi.Account) *Service { return &Service{account: account} }

// Create makes a repository and returns its ARN.
func (s *Service) Create(name string) (arn string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.names, name) {
		return "", awsapi.Errorf("RepositoryAlreadyExistsException", "repository %s already exists", name)
	}
	s.names = append(s.names, name)
	return s.ARN(name), nil
}

// ARN of a repository.
func (s *Service) ARN(name string) string { return s.account.ARN("ecr", "repository/"+name) }

// Delete removes a repository. One that does not exist is no error.
func (s *Service) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = slices.DeleteFunc(s.names, func(n string) bool { return n == name })
}

// Repositories returns all names.
func (s *Service) Repositories() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names)
}

// MarshalJSON returns all names.
func (s *Service) MarshalJSON() ([]byte, error) { return json.Marshal(s.Repositories()) }

// UnmarshalJSON brings saved repositories back.
func (s *Service) UnmarshalJSON(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Unmarshal(b, &s.names)
}
