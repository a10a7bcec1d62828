// Package logs keeps CloudWatch Logs log groups, where a topic rule's error
// action writes.
//
// Known differences from AWS: events are written by rules and functions only; a
// group keeps its newest events, and retention does not remove any; filter patterns
// are words and text in quotation marks.
package logs

import (
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// maxEvents are the events that a log group keeps; older ones go first. AWS
// keeps them by age (RetentionInDays); here the process would grow for ever.
const maxEvents = 10_000

// A Group as callers see it: a copy.
type Group struct {
	Name, ARN       string
	RetentionInDays int // 0: events do not expire
	Tags            awsapi.Tags
	Created         time.Time
}

// An Event is one line of a log stream.
type Event struct {
	Stream  string
	Time    time.Time
	Message string
}

type group struct {
	Group
	Events []Event
}

// A Service holds the log groups of one account and region.
type Service struct {
	account awsapi.Account

	mu     sync.Mutex
	groups map[string]*group
}

// New returns a Service without log groups.
func New(account awsapi.Account) *Service {
	return &Service{account: account, groups: map[string]*group{}}
}

var groupName = regexp.MustCompile(`^[\w./#-]{1,512}$`)

// Create creates a log group; retention 0 keeps events for ever.
func (s *Service) Create(name string, retentionInDays int, tags awsapi.Tags) (Group, error) {
	if !groupName.MatchString(name) {
		return Group{}, awsapi.Errorf("InvalidParameterException", "log group name %q must have 1 to 512 characters out of letters, digits and _-/.#", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.groups[name]; ok {
		return Group{}, awsapi.Errorf("ResourceAlreadyExistsException", "The specified log group already exists")
	}
	g := &group{Group: Group{
		Name: name, ARN: s.account.ARN("logs", "log-group:"+name), RetentionInDays: retentionInDays,
		Tags: maps.Clone(tags), Created: time.Now().UTC(),
	}}
	s.groups[name] = g
	return g.Group, nil
}

// Update sets the retention and the tags of a log group.
func (s *Service) Update(name string, retentionInDays int, tags awsapi.Tags) (Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.get(name)
	if err != nil {
		return Group{}, err
	}
	g.RetentionInDays, g.Tags = retentionInDays, maps.Clone(tags)
	return g.Group, nil
}

// Delete deletes a log group with its events.
func (s *Service) Delete(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.get(name); err != nil {
		return err
	}
	delete(s.groups, name)
	return nil
}

// Groups returns all log groups by name.
func (s *Service) Groups() []Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Group, 0, len(s.groups))
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		out = append(out, s.groups[name].Group)
	}
	return out
}

// Put appends an event to a stream of a log group.
func (s *Service) Put(name, stream, message string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.get(name)
	if err != nil {
		return err
	}
	if len(g.Events) >= maxEvents {
		g.Events = slices.Delete(g.Events, 0, len(g.Events)-maxEvents+1)
	}
	g.Events = append(g.Events, Event{Stream: stream, Time: time.Now().UTC(), Message: message})
	return nil
}

// Events returns the events of a log group, oldest first.
func (s *Service) Events(name string) ([]Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.get(name)
	if err != nil {
		return nil, err
	}
	return slices.Clone(g.Events), nil
}

func (s *Service) get(name string) (*group, error) {
	g, ok := s.groups[name]
	if !ok {
		return nil, awsapi.Errorf("ResourceNotFoundException", "The specified log group does not exist: %s", name)
	}
	return g, nil
}
