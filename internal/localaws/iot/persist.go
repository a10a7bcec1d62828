package iot

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

// saved is the registry as it is kept, and the retained messages. Connections and
// sessions are not.
type saved struct {
	Things       []savedThing
	Certificates []savedCertificate
	Policies     []savedPolicy
	Rules        []TopicRule
	Retained     []RetainedMessage
}

type savedThing struct {
	Thing
	Principals []string
}

type savedCertificate struct {
	Certificate
	Policies []string
}

type savedPolicy struct {
	Name, ARN string
	Tags      awsapi.Tags
	Versions  []PolicyVersion
	Last      int
}

// MarshalJSON returns the registry and the retained messages.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := saved{Retained: s.ListRetainedMessages()}
	for _, name := range slices.Sorted(maps.Keys(s.things)) {
		t := s.things[name]
		out.Things = append(out.Things, savedThing{t.Thing, slices.Sorted(maps.Keys(t.principals))})
	}
	for _, id := range slices.Sorted(maps.Keys(s.certificates)) {
		c := s.certificates[id]
		out.Certificates = append(out.Certificates, savedCertificate{c.Certificate, c.attachedPolicies()})
	}
	for _, name := range slices.Sorted(maps.Keys(s.policies)) {
		p := s.policies[name]
		kept := savedPolicy{Name: p.name, ARN: p.arn, Tags: p.tags, Last: p.last}
		for _, v := range p.versions {
			kept.Versions = append(kept.Versions, p.version(v))
		}
		out.Policies = append(out.Policies, kept)
	}
	for _, name := range slices.Sorted(maps.Keys(s.rules)) {
		out.Rules = append(out.Rules, s.rules[name].TopicRule)
	}
	return json.Marshal(out)
}

// UnmarshalJSON brings a saved registry and the retained messages back.
func (s *Service) UnmarshalJSON(b []byte) error {
	var in saved
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("saved registry: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range in.Retained {
		s.broker.retained.byTopic[m.Topic] = m
	}
	for _, t := range in.Things {
		s.things[t.Name] = &thing{Thing: t.Thing, principals: set(t.Principals)}
	}
	for _, c := range in.Certificates {
		s.certificates[c.ID] = &certificate{Certificate: c.Certificate, policies: set(c.Policies)}
	}
	for _, p := range in.Policies {
		restored := &iotPolicy{name: p.Name, arn: p.ARN, tags: p.Tags, last: p.Last}
		for _, v := range p.Versions {
			parsed, err := policy.ParseIdentity([]byte(v.Document)) // checked when it was made
			if err != nil {
				return fmt.Errorf("saved policy %s: %w", p.Name, err)
			}
			version := &policyVersion{id: v.ID, document: v.Document, parsed: parsed, created: v.Created}
			restored.versions = append(restored.versions, version)
			if v.IsDefault {
				restored.inForce = version
			}
		}
		s.policies[p.Name] = restored
	}
	for _, r := range in.Rules {
		restored, err := s.compileRule(r.Name, r.Payload, r.Tags)
		if err != nil {
			return fmt.Errorf("saved rule %s: %w", r.Name, err)
		}
		restored.Created = r.Created
		s.putRule(restored)
	}
	return nil
}

func set(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, name := range names {
		out[name] = true
	}
	return out
}
