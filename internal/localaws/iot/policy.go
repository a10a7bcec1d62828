package iot

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

// Limits of IoT policies (general reference, "AWS IoT Core endpoints and quotas").
const (
	maxPolicyBytes         = 2048 // without white space
	MaxPolicyVersions      = 5
	maxCertificatePolicies = 10
)

// A Policy as callers see it: a copy.
type Policy struct {
	Name, ARN string
	// DefaultVersion is the one in force.
	DefaultVersion string
	// Document of the default version.
	Document string
	Tags     awsapi.Tags
}

// A PolicyVersion is one version of a policy.
type PolicyVersion struct {
	ID, Document string
	IsDefault    bool
	Created      time.Time
}

type iotPolicy struct {
	name, arn string
	tags      awsapi.Tags
	versions  []*policyVersion
	inForce   *policyVersion
	last      int
}

type policyVersion struct {
	id, document string
	parsed       *policy.Document
	created      time.Time
}

var policyName = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)

// CreatePolicy creates a policy with its first version.
func (s *Service) CreatePolicy(name, document string, t awsapi.Tags) (Policy, error) {
	if !policyName.MatchString(name) {
		return Policy{}, awsapi.Errorf("InvalidRequestException", "policy name %q must have 1 to 128 characters out of letters, digits and _+=,.@-", name)
	}
	if err := checkTags(t); err != nil {
		return Policy{}, err
	}
	p := &iotPolicy{name: name, arn: s.options.Account.ARN("iot", "policy/"+name), tags: tags(t)}
	if err := p.add(document, true); err != nil {
		return Policy{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.policies[name]; ok {
		return Policy{}, awsapi.Conflictf("ResourceAlreadyExistsException", "Policy cannot be created - name already exists (name=%s)", name)
	}
	s.policies[name] = p
	return p.copy(), nil
}

// CreatePolicyVersion adds a version to a policy, which keeps at most five.
func (s *Service) CreatePolicyVersion(name, document string, setDefault bool) (PolicyVersion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.policy(name)
	if err != nil {
		return PolicyVersion{}, err
	}
	if len(p.versions) >= MaxPolicyVersions {
		return PolicyVersion{}, awsapi.Conflictf("VersionsLimitExceededException", "The policy %s already has the maximum number of versions (%d)", name, MaxPolicyVersions)
	}
	if err := p.add(document, setDefault); err != nil {
		return PolicyVersion{}, err
	}
	return p.version(p.versions[len(p.versions)-1]), nil
}

// TagPolicy sets the tags of a policy.
func (s *Service) TagPolicy(name string, t awsapi.Tags) error {
	if err := checkTags(t); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.policy(name)
	if err != nil {
		return err
	}
	p.tags = tags(t)
	return nil
}

// DeletePolicyVersion removes a version that is not the default one.
func (s *Service) DeletePolicyVersion(name, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, v, err := s.policyVersion(name, id)
	if err != nil {
		return err
	}
	if v == p.inForce {
		return awsapi.Conflictf("DeleteConflictException", "Cannot delete the default version of a policy (name=%s, version=%s)", name, id)
	}
	p.versions = slices.DeleteFunc(p.versions, func(other *policyVersion) bool { return other == v })
	return nil
}

// ListPolicyVersions returns the versions of a policy, newest first.
func (s *Service) ListPolicyVersions(name string) ([]PolicyVersion, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, err := s.policy(name)
	if err != nil {
		return nil, err
	}
	var out []PolicyVersion
	for _, v := range slices.Backward(p.versions) {
		out = append(out, p.version(v))
	}
	return out, nil
}

// policyVersion finds a version of a policy; s.mu is held.
func (s *Service) policyVersion(name, id string) (*iotPolicy, *policyVersion, error) {
	p, err := s.policy(name)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range p.versions {
		if v.id == id {
			return p, v, nil
		}
	}
	return nil, nil, awsapi.NotFoundf("ResourceNotFoundException", "Policy version %s of %s was not found", id, name)
}

// GetPolicy returns a policy with the document that is in force.
func (s *Service) GetPolicy(name string) (Policy, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, err := s.policy(name)
	if err != nil {
		return Policy{}, err
	}
	return p.copy(), nil
}

// ListPolicies returns all policies by name.
func (s *Service) ListPolicies() []Policy {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Policy, 0, len(s.policies))
	for _, name := range slices.Sorted(maps.Keys(s.policies)) {
		out = append(out, s.policies[name].copy())
	}
	return out
}

// DeletePolicy removes a policy that has one version and no targets.
func (s *Service) DeletePolicy(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.policy(name)
	if err != nil {
		return err
	}
	for _, c := range s.certificates {
		if c.policies[name] {
			return awsapi.Conflictf("DeleteConflictException", "The policy cannot be deleted as the policy is attached to one or more principals (name=%s)", name)
		}
	}
	if len(p.versions) > 1 {
		return awsapi.Conflictf("DeleteConflictException", "Cannot delete the policy because it has one or more policy versions attached to it (name=%s)", name)
	}
	delete(s.policies, name)
	return nil
}

// AttachPolicy attaches a policy to a certificate.
func (s *Service) AttachPolicy(name, targetARN string) error {
	return s.onAttachment(name, targetARN, func(c *certificate) error {
		if len(c.policies) >= maxCertificatePolicies && !c.policies[name] {
			return &awsapi.Error{Code: "LimitExceededException", Status: http.StatusGone, Message: fmt.Sprintf("certificate %s has %d policies, which is the most that it can have", c.ID, maxCertificatePolicies)}
		}
		c.policies[name] = true
		return nil
	})
}

// DetachPolicy detaches a policy from a certificate.
func (s *Service) DetachPolicy(name, targetARN string) error {
	return s.onAttachment(name, targetARN, func(c *certificate) error { delete(c.policies, name); return nil })
}

func (s *Service) onAttachment(name, targetARN string, f func(*certificate) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.policy(name); err != nil {
		return err
	}
	c, err := s.principal(targetARN)
	if err != nil {
		return err
	}
	return f(c)
}

// ListTargetsForPolicy returns the ARNs of the certificates a policy is attached to.
func (s *Service) ListTargetsForPolicy(name string) ([]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if _, err := s.policy(name); err != nil {
		return nil, err
	}
	var out []string
	for _, id := range slices.Sorted(maps.Keys(s.certificates)) {
		if c := s.certificates[id]; c.policies[name] {
			out = append(out, c.ARN)
		}
	}
	return out, nil
}

// decide evaluates all policies of a certificate.
func (s *Service) decide(certificateID string, r policy.Request) policy.Decision {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.certificates[certificateID]
	if !ok || c.Status != statusActive {
		return policy.ImplicitDeny
	}
	decision := policy.ImplicitDeny
	for name := range c.policies {
		decision = policy.Combine(decision, s.policies[name].inForce.parsed.Evaluate(r))
	}
	return decision
}

// policy finds a policy; s.mu is held.
func (s *Service) policy(name string) (*iotPolicy, error) {
	p, ok := s.policies[name]
	if !ok {
		return nil, awsapi.NotFoundf("ResourceNotFoundException", "Policy not found (name=%s)", name)
	}
	return p, nil
}

func (p *iotPolicy) add(document string, setDefault bool) error {
	if n := policy.Size(document); n > maxPolicyBytes {
		return awsapi.Errorf("MalformedPolicyException", "Policy document is Malformed: policy %s has %d characters without white space, at most %d are allowed", p.name, n, maxPolicyBytes)
	}
	parsed, err := parsePolicy(document)
	if err != nil {
		return err
	}
	p.last++
	v := &policyVersion{id: strconv.Itoa(p.last), document: document, parsed: parsed, created: time.Now().UTC()}
	p.versions = append(p.versions, v)
	if setDefault {
		p.inForce = v
	}
	return nil
}

func (p *iotPolicy) version(v *policyVersion) PolicyVersion {
	return PolicyVersion{ID: v.id, Document: v.document, IsDefault: v == p.inForce, Created: v.created}
}

func (p *iotPolicy) copy() Policy {
	return Policy{Name: p.name, ARN: p.arn, DefaultVersion: p.inForce.id, Document: p.inForce.document, Tags: tags(p.tags)}
}
