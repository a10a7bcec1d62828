package cloudformation

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// A ChangeSet is a deployment that waits to be executed.
type ChangeSet struct {
	Name, ID, Description string
	StackName, StackID    string
	// Type is CREATE or UPDATE.
	Type string
	// Status is CREATE_COMPLETE, or FAILED where there is nothing to do.
	Status, StatusReason string
	// ExecutionStatus is AVAILABLE or UNAVAILABLE.
	ExecutionStatus string
	Created         time.Time
	Input           Input
	Changes         []Change
	Hidden          []string // parameters that nobody may see: NoEcho

	// target is what the input says; it is found again after a restart.
	target *target
}

// A Change is what a change set does to one resource.
type Change struct {
	// Action is Add, Modify or Remove.
	Action                      string
	LogicalID, PhysicalID, Type string
	// Replacement is True or False on Modify.
	Replacement string
	// Properties that differ, on Modify.
	Properties []string
	// Drift that is reverted.
	Drift Drift
}

// noChanges is what AWS says of a change set without changes; the CDK CLI looks
// for these words.
const noChanges = "The submitted information didn't contain changes. Submit different information to create a change set."

var changeSetName = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9]{0,127}$`)

// CreateChangeSet compares an input with a stack. With create, the stack must
// not exist and waits in REVIEW_IN_PROGRESS for the execution.
func (s *Service) CreateChangeSet(name, description string, create bool, in Input) (*ChangeSet, error) {
	if !changeSetName.MatchString(name) {
		return nil, awsapi.Errorf("ValidationError", "change set name %q must begin with a letter and have letters, digits and hyphens only, at most 128", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.changeSetStack(name, create, in)
	if err != nil {
		return nil, err
	}
	if _, ok := st.ChangeSets[name]; ok {
		return nil, awsapi.Errorf("AlreadyExistsException", "ChangeSet %s already exists", name)
	}
	target, err := s.target(st, in)
	if err != nil {
		return nil, err
	}
	c := &ChangeSet{
		Name: name, ID: s.options.Account.ARN("cloudformation", "changeSet/"+name+"/"+awsapi.NewID()), Description: description,
		StackName: st.Name, StackID: st.ID, Type: "UPDATE", Created: time.Now().UTC(), Input: in,
		Status: "CREATE_COMPLETE", ExecutionStatus: "AVAILABLE",
		Changes: s.changes(st, target), target: target, Hidden: target.template.hidden(),
	}
	if create {
		c.Type = "CREATE"
	} else if !st.differs(target) {
		c.Status, c.StatusReason, c.ExecutionStatus = "FAILED", noChanges, "UNAVAILABLE"
	}
	if st.Status == "" {
		s.stacks[st.ID] = st
		op := &operation{service: s, stack: st}
		op.stackEventLocked("REVIEW_IN_PROGRESS", "User Initiated")
	}
	st.ChangeSets[name] = c
	return c.copy(), nil
}

// changeSetStack finds or makes the stack of a new change set; s.mu is held.
func (s *Service) changeSetStack(name string, create bool, in Input) (*stack, error) {
	st := s.find(in.Name)
	switch {
	case create && st == nil && s.stacks[in.Name] == nil:
		return s.newStack(in)
	case create && st != nil && st.Status == "REVIEW_IN_PROGRESS":
		return st, nil
	case create:
		return nil, awsapi.Errorf("ValidationError", "Stack [%s] already exists and cannot be created again with the changeSet [%s].", in.Name, name)
	case st == nil:
		return nil, s.notUpdatable(in.Name)
	}
	return st, st.checkUpdatable()
}

// DescribeChangeSet returns a change set by its ARN, or by name with its stack.
func (s *Service) DescribeChangeSet(name, stackName string) (*ChangeSet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, c, err := s.findChangeSet(name, stackName)
	if err != nil {
		return nil, err
	}
	return c.copy(), nil
}

// ListChangeSets returns the change sets of a stack, by name.
func (s *Service) ListChangeSets(stackName string) ([]*ChangeSet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.find(stackName)
	if st == nil {
		return nil, doesNotExist(stackName)
	}
	var out []*ChangeSet
	for _, name := range slices.Sorted(maps.Keys(st.ChangeSets)) {
		out = append(out, st.ChangeSets[name].copy())
	}
	return out, nil
}

// DeleteChangeSet deletes a change set. One that does not exist is no error as
// long as its stack does, as on AWS.
func (s *Service) DeleteChangeSet(name, stackName string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, c, err := s.findChangeSet(name, stackName)
	if st == nil {
		return err
	}
	if c != nil {
		delete(st.ChangeSets, c.Name)
	}
	return nil
}

// ExecuteChangeSet begins the deployment of a change set; the stack's change
// sets are gone with it.
func (s *Service) ExecuteChangeSet(name, stackName string, disableRollback bool) (stackID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, c, err := s.findChangeSet(name, stackName)
	if err != nil {
		return "", err
	}
	if c.ExecutionStatus != "AVAILABLE" {
		return "", awsapi.Errorf("InvalidChangeSetStatus", "ChangeSet [%s] cannot be executed in its current execution status of [%s]", c.ID, c.ExecutionStatus)
	}
	if st.Status != "REVIEW_IN_PROGRESS" {
		if err := st.checkUpdatable(); err != nil {
			return "", err
		}
	}
	in := c.Input
	in.DisableRollback = disableRollback
	target := c.target
	if target == nil {
		if target, err = s.target(st, in); err != nil {
			return "", err
		}
	}
	target.input.DisableRollback = disableRollback
	st.ChangeSets = map[string]*ChangeSet{}
	if st.Status == "REVIEW_IN_PROGRESS" {
		s.begin(st, in, "CREATE_IN_PROGRESS", func(op *operation) { op.create(target) })
	} else {
		s.begin(st, in, "UPDATE_IN_PROGRESS", func(op *operation) { op.update(target) })
	}
	return st.ID, nil
}

// findChangeSet finds a change set, and its stack also where the change set does
// not exist; s.mu is held.
func (s *Service) findChangeSet(name, stackName string) (*stack, *ChangeSet, error) {
	for _, st := range s.stacks {
		if stackName != "" && st.Name != stackName && st.ID != stackName || st.Status == "DELETE_COMPLETE" {
			continue
		}
		for _, c := range st.ChangeSets {
			if c.ID == name || stackName != "" && c.Name == name {
				return st, c, nil
			}
		}
	}
	if stackName == "" && !strings.HasPrefix(name, "arn:") {
		return nil, nil, awsapi.Errorf("ValidationError", "StackName must be specified if ChangeSetName is not specified as an ARN.")
	}
	missing := &awsapi.Error{Code: "ChangeSetNotFound", Status: 404, Message: "ChangeSet [" + name + "] does not exist"}
	if st := s.find(stackName); st != nil {
		return st, nil, missing
	}
	if stackName != "" {
		return nil, nil, doesNotExist(stackName)
	}
	return nil, nil, missing
}

// changes lists what a target does to the resources of a stack; s.mu is held.
func (s *Service) changes(st *stack, t *target) []Change {
	old := st.parsed()
	oldValues, _ := s.parameters(old, st.Parameters, st) // they were resolved before
	var out []Change
	touched := map[string]bool{} // resources and parameters whose value may differ
	for name, value := range t.values {
		touched[name] = !reflect.DeepEqual(value, oldValues[name])
	}
	for _, id := range t.template.order {
		if !t.has(id) {
			continue
		}
		definition := t.template.Resources[id]
		existing, exists := st.Resources[id]
		drift := t.drifted[id]
		if !exists || drift == Deleted {
			out = append(out, Change{Action: "Add", LogicalID: id, Type: definition.Type, Drift: drift})
			touched[id] = true
			continue
		}
		c, modified := s.modification(t.template, existing, old.Resources[id], definition, touched)
		if modified || drift != "" {
			c.Drift = drift
			out = append(out, c)
			touched[id] = c.Replacement == "True"
		}
	}
	for _, id := range slices.Sorted(maps.Keys(st.Resources)) {
		if r := st.Resources[id]; !t.has(id) {
			out = append(out, Change{Action: "Remove", LogicalID: id, PhysicalID: r.PhysicalID, Type: r.Type})
		}
	}
	return out
}

// modification compares an existing resource with its new definition.
func (s *Service) modification(t *Template, r *Resource, old, now ResourceDefinition, touched map[string]bool) (Change, bool) {
	c := Change{Action: "Modify", LogicalID: r.LogicalID, PhysicalID: r.PhysicalID, Type: r.Type, Replacement: "False"}
	names := maps.Clone(now.Properties)
	if names == nil {
		names = map[string]any{}
	}
	maps.Copy(names, old.Properties)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		found := references{template: t}
		_ = found.visit(now.Properties[name]) // the template is checked
		refers := slices.ContainsFunc(append(found.resources, found.parameters...), func(target string) bool { return touched[target] })
		if refers || !reflect.DeepEqual(old.Properties[name], now.Properties[name]) {
			c.Properties = append(c.Properties, name)
		}
	}
	kind, _ := s.options.kind(now.Type)
	if old.Type != now.Type || kind.Update == nil && len(c.Properties) > 0 ||
		slices.ContainsFunc(c.Properties, func(name string) bool { return slices.Contains(kind.Replacement, name) }) {
		c.Replacement = "True"
	}
	return c, len(c.Properties) > 0 || old.Type != now.Type
}

func (c *ChangeSet) copy() *ChangeSet {
	copied := *c
	copied.Changes = slices.Clone(c.Changes)
	copied.Input.Parameters = maps.Clone(c.Input.Parameters)
	for _, name := range c.Hidden {
		if _, ok := copied.Input.Parameters[name]; ok {
			copied.Input.Parameters[name] = "****"
		}
	}
	return &copied
}
