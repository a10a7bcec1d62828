// Package cloudformation deploys templates: it resolves their intrinsics,
// creates resources in the order of their dependencies, independent ones side
// by side, and deletes them in reverse. A failed create rolls back. What a
// resource type does is given to it as a table, so this package knows none.
package cloudformation

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// A Type is what can be done with one resource type.
type Type struct {
	// Properties are the ones it takes; any other fails the resource.
	Properties []string
	// Required are the properties without which it cannot be created.
	Required []string
	// Create makes the resource.
	Create func(Request) (Result, error)
	// Delete removes it. A resource that is gone already is no error.
	Delete func(Request) error
}

// A Request asks a Type to do something with one resource.
type Request struct {
	StackName, StackID, LogicalID string
	// PhysicalID of the existing resource; empty on create.
	PhysicalID string
	// Properties with all intrinsics resolved.
	Properties map[string]any
	// Tags of the stack, which its resources inherit.
	Tags awsapi.Tags
}

// GeneratedName is the name of a resource that the template leaves unnamed:
// stack, logical id and twelve random characters, shortened to at most limit.
func (r Request) GeneratedName(limit int) string {
	random := strings.ToUpper(awsapi.NewHex(6))
	prefix := r.StackName + "-" + r.LogicalID
	if room := limit - len(random) - 1; len(prefix) > room {
		prefix = prefix[:room]
	}
	return prefix + "-" + random
}

// A Result is a resource that exists.
type Result struct {
	// PhysicalID is what Ref returns.
	PhysicalID string
	// Attributes are what Fn::GetAtt returns.
	Attributes map[string]any
}

// A Stack as callers see it: a copy.
type Stack struct {
	Name, ID, Description string
	Status, StatusReason  string
	Created, Deleted      time.Time
	Template              *Template
	Parameters            map[string]string
	Tags                  awsapi.Tags
	Outputs               []Output
	Resources             map[string]*Resource
	Events                []Event
}

// Output returns the value of an output, or "" if the stack has none of that key.
func (s *Stack) Output(key string) string {
	for _, o := range s.Outputs {
		if o.Key == key {
			return o.Value
		}
	}
	return ""
}

// An Output of a stack.
type Output struct{ Key, Value, Description, ExportName string }

// A Resource of a stack.
type Resource struct {
	LogicalID, PhysicalID, Type string
	Status, StatusReason        string
	Updated                     time.Time
	Properties                  map[string]any
	Attributes                  map[string]any
	// DependsOn are the resources that must outlive this one.
	DependsOn      []string
	DeletionPolicy string
}

// An Event tells a change of state of a stack or one of its resources.
type Event struct {
	ID, StackID, StackName      string
	LogicalID, PhysicalID, Type string
	Status, StatusReason        string
	Time                        time.Time
}

// StackType is the resource type of a stack in its own events.
const StackType = "AWS::CloudFormation::Stack"

// Options of a Service.
type Options struct {
	Account awsapi.Account
	// Types are the resource types that can be deployed.
	Types map[string]Type
	// Parameter reads an SSM parameter, for template parameters of that type.
	Parameter func(name string) (string, error)
	// OnEvent is told every event as it happens; it must not block. Default: nobody is told.
	OnEvent func(Event)
	Log     *slog.Logger
}

// A Service holds the stacks of one account and region.
type Service struct {
	options Options

	mu     sync.Mutex
	stacks map[string]*Stack // by id
	work   sync.WaitGroup
}

// New returns a Service without stacks.
func New(o Options) *Service {
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	return &Service{options: o, stacks: map[string]*Stack{}}
}

// Wait returns when no stack operation is under way.
func (s *Service) Wait() { s.work.Wait() }

// CreateInput describes a stack to create.
type CreateInput struct {
	Name         string
	TemplateBody []byte
	Parameters   map[string]string
	Tags         awsapi.Tags
}

var stackName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,127}$`)

// Create creates a stack and returns when it is complete or rolled back. The
// error of a stack that failed carries the reasons; the stack is still there,
// in state ROLLBACK_COMPLETE.
func (s *Service) Create(ctx context.Context, in CreateInput) (*Stack, error) {
	op, err := s.startCreate(in)
	if err != nil {
		return nil, err
	}
	defer s.work.Done()
	op.create(ctx)
	stack := op.snapshot()
	if stack.Status != "CREATE_COMPLETE" {
		return stack, fmt.Errorf("stack %s is %s: %s", stack.Name, stack.Status, failures(stack))
	}
	return stack, nil
}

func (s *Service) startCreate(in CreateInput) (*operation, error) {
	if !stackName.MatchString(in.Name) {
		return nil, awsapi.Errorf("ValidationError", "stack name %q must begin with a letter and have letters, digits and hyphens only, at most 128", in.Name)
	}
	template, err := ParseTemplate(in.TemplateBody)
	if err != nil {
		return nil, awsapi.Errorf("ValidationError", "%v", err)
	}
	id := s.options.Account.ARN("cloudformation", "stack/"+in.Name+"/"+awsapi.NewID())
	parameters, err := s.parameters(template, in, id)
	if err != nil {
		return nil, awsapi.Errorf("ValidationError", "%v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if existing := s.find(in.Name); existing != nil {
		return nil, awsapi.Errorf("AlreadyExistsException", "Stack [%s] already exists", in.Name)
	}
	stack := &Stack{
		Name: in.Name, ID: id, Description: template.Description, Created: time.Now().UTC(),
		Template: template, Parameters: maps.Clone(in.Parameters), Tags: maps.Clone(in.Tags),
		Resources: map[string]*Resource{},
	}
	op := &operation{service: s, stack: stack}
	op.scope = &scope{template: template, parameters: parameters, resource: op.resource, imported: s.imported}
	if err := op.scope.checkRules(); err != nil {
		return nil, awsapi.Errorf("ValidationError", "%v", err)
	}
	s.stacks[id] = stack
	s.work.Add(1)
	return op, nil
}

// Delete deletes a stack, named by name or ARN, and returns when that is done. A
// stack that does not exist is no error, as on AWS.
func (s *Service) Delete(ctx context.Context, name string) error {
	s.mu.Lock()
	stack := s.find(name)
	if stack == nil {
		s.mu.Unlock()
		return nil
	}
	if strings.HasSuffix(stack.Status, "_IN_PROGRESS") {
		s.mu.Unlock()
		return awsapi.Errorf("ValidationError", "Stack [%s] cannot be deleted while in status %s", stack.Name, stack.Status)
	}
	if importer := s.importer(stack); importer != "" {
		s.mu.Unlock()
		return awsapi.Errorf("ValidationError", "Stack [%s] has exports that stack %s imports: delete that one first", stack.Name, importer)
	}
	s.work.Add(1)
	s.mu.Unlock()
	defer s.work.Done()
	op := &operation{service: s, stack: stack}
	op.delete(ctx)
	if stack := op.snapshot(); stack.Status != "DELETE_COMPLETE" {
		return fmt.Errorf("stack %s is %s: %s", stack.Name, stack.Status, failures(stack))
	}
	return nil
}

// Describe returns a stack by name or ARN. A deleted one is found by ARN only.
func (s *Service) Describe(name string) (*Stack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stack := s.find(name)
	if stack == nil {
		stack = s.stacks[name]
	}
	if stack == nil {
		return nil, awsapi.Errorf("ValidationError", "Stack with id %s does not exist", name)
	}
	return stack.copy(), nil
}

// List returns all stacks that are not deleted, by name.
func (s *Service) List() []*Stack {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Stack
	for _, stack := range s.stacks {
		if stack.Status != "DELETE_COMPLETE" {
			out = append(out, stack.copy())
		}
	}
	slices.SortFunc(out, func(a, b *Stack) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// find returns the living stack of a name or ARN; s.mu is held.
func (s *Service) find(name string) *Stack {
	for _, stack := range s.stacks {
		if (stack.Name == name || stack.ID == name) && stack.Status != "DELETE_COMPLETE" {
			return stack
		}
	}
	return nil
}

// imported returns the value of another stack's export.
func (s *Service) imported(export string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stack := range s.stacks {
		if stack.Status == "DELETE_COMPLETE" {
			continue
		}
		for _, output := range stack.Outputs {
			if output.ExportName == export {
				return output.Value, nil
			}
		}
	}
	return "", fmt.Errorf("no export named %s found", export)
}

// importer names a stack that imports one of this stack's exports; s.mu is held.
func (s *Service) importer(of *Stack) string {
	exports := map[string]bool{}
	for _, output := range of.Outputs {
		if output.ExportName != "" {
			exports[output.ExportName] = true
		}
	}
	for _, stack := range s.stacks {
		if stack != of && stack.Status != "DELETE_COMPLETE" && len(exports) > 0 && stack.Template.imports(exports) {
			return stack.Name
		}
	}
	return ""
}

func (s *Stack) copy() *Stack {
	c := *s
	c.Resources = make(map[string]*Resource, len(s.Resources))
	for id, r := range s.Resources {
		resource := *r
		c.Resources[id] = &resource
	}
	c.Events = slices.Clone(s.Events)
	c.Outputs = slices.Clone(s.Outputs)
	return &c
}

// failures collects the reasons for which resources failed, for a person.
func failures(s *Stack) string {
	var reasons []string
	for _, e := range s.Events {
		if e.LogicalID != s.Name && strings.HasSuffix(e.Status, "_FAILED") {
			reasons = append(reasons, fmt.Sprintf("%s (%s): %s", e.LogicalID, e.Type, e.StatusReason))
		}
	}
	if len(reasons) == 0 {
		return s.StatusReason
	}
	return strings.Join(reasons, "; ")
}
