package iot

import (
	"maps"
	"net/http"
	"regexp"
	"slices"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/will"
)

// A Thing as callers see it: a copy.
type Thing struct {
	Name, ARN, ID string
	Attributes    map[string]string
	Version       int
}

type thing struct {
	Thing
	principals map[string]bool // certificate ids
}

// Limits of a thing without a type, of which there are none here (API reference,
// AttributePayload; general reference, "AWS IoT Core thing resource limits and quotas").
const maxAttributes = 3

var (
	attributeName  = regexp.MustCompile(`^[a-zA-Z0-9_.,@/:#-]{1,128}$`)
	attributeValue = regexp.MustCompile(`^[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}$`)
)

func checkAttributes(attributes map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		switch value := attributes[name]; {
		case !attributeName.MatchString(name):
			return awsapi.Errorf("InvalidRequestException", "attribute name %.150q must have 1 to 128 characters out of letters, digits and _.,@/:#-", name)
		case !attributeValue.MatchString(value):
			return awsapi.Errorf("InvalidRequestException", "value %.150q of attribute %s must have at most 800 characters out of letters, digits and _.,@/:#=[]-", value, name)
		}
	}
	if len(attributes) > maxAttributes {
		return awsapi.Errorf("InvalidRequestException", "a thing without a thing type has at most %d attributes, not %d", maxAttributes, len(attributes))
	}
	return nil
}

// CreateThing registers a thing. One that exists with the same attributes is
// returned as it is (API reference, CreateThing).
func (s *Service) CreateThing(name string, attributes map[string]string) (Thing, error) {
	if err := will.CheckThingName(name); err != nil {
		return Thing{}, awsapi.Errorf("InvalidRequestException", "%v", err)
	}
	if err := checkAttributes(attributes); err != nil {
		return Thing{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if existing, ok := s.things[name]; ok {
		if !maps.Equal(existing.Attributes, attributes) {
			return Thing{}, awsapi.Conflictf("ResourceAlreadyExistsException", "Thing %s already exists in account with different properties", name)
		}
		return existing.copy(), nil
	}
	t := &thing{
		Thing: Thing{
			Name: name, ARN: s.options.Account.ARN("iot", "thing/"+name), ID: awsapi.NewID(),
			Attributes: maps.Clone(attributes), Version: 1,
		},
		principals: map[string]bool{},
	}
	s.things[name] = t
	return t.copy(), nil
}

// UpdateThing sets the attributes of a thing.
func (s *Service) UpdateThing(name string, attributes map[string]string) (Thing, error) {
	if err := checkAttributes(attributes); err != nil {
		return Thing{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.thing(name)
	if err != nil {
		return Thing{}, err
	}
	t.Attributes = maps.Clone(attributes)
	t.Version++
	return t.copy(), nil
}

// DescribeThing returns a thing.
func (s *Service) DescribeThing(name string) (Thing, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, err := s.thing(name)
	if err != nil {
		return Thing{}, err
	}
	return t.copy(), nil
}

// ListThings returns all things by name.
func (s *Service) ListThings() []Thing {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Thing, 0, len(s.things))
	for _, name := range slices.Sorted(maps.Keys(s.things)) {
		out = append(out, s.things[name].copy())
	}
	return out
}

// DeleteThing removes a thing without principals.
func (s *Service) DeleteThing(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.thing(name)
	if err != nil {
		return err
	}
	if len(t.principals) > 0 {
		return awsapi.Errorf("InvalidRequestException", "Cannot delete. Thing %s is still attached to one or more principals", name)
	}
	delete(s.things, name)
	return nil
}

// AttachThingPrincipal attaches a certificate to a thing.
func (s *Service) AttachThingPrincipal(thingName, principalARN string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, c, err := s.ends(thingName, principalARN)
	if err != nil {
		return err
	}
	t.principals[c.ID] = true
	return nil
}

// ends are what an attachment connects.
func (s *Service) ends(thingName, principalARN string) (*thing, *certificate, error) {
	t, err := s.thing(thingName)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.principal(principalARN)
	return t, c, err
}

// DetachThingPrincipal detaches a certificate from a thing.
func (s *Service) DetachThingPrincipal(thingName, principalARN string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, c, err := s.ends(thingName, principalARN)
	if err != nil {
		return err
	}
	if !t.principals[c.ID] {
		return awsapi.NotFoundf("ResourceNotFoundException", "Principal %s is not attached to thing %s", principalARN, thingName)
	}
	delete(t.principals, c.ID)
	return nil
}

// ListThingPrincipals returns the ARNs of the certificates attached to a thing.
func (s *Service) ListThingPrincipals(thingName string) ([]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, err := s.thing(thingName)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, id := range slices.Sorted(maps.Keys(t.principals)) {
		out = append(out, s.certificates[id].ARN)
	}
	return out, nil
}

// thing finds a thing; s.mu is held.
func (s *Service) thing(name string) (*thing, error) {
	t, ok := s.things[name]
	if !ok {
		return nil, &awsapi.Error{Code: "ResourceNotFoundException", Status: http.StatusNotFound, Message: "Thing " + name + " not found."}
	}
	return t, nil
}

func (t *thing) copy() Thing {
	c := t.Thing
	c.Attributes = maps.Clone(t.Attributes)
	return c
}
