// Package cloudformation deploys templates: it resolves their intrinsics,
// creates, updates and deletes resources in the order of their dependencies,
// independent ones side by side, and rolls back what fails. What a resource type
// does is given to it as a table, so this package knows none.
//
// Known differences from CloudFormation:
//   - Templates in JSON and YAML; no macros, nested stacks, stack sets, imports,
//     hooks, stack policies or CreationPolicy. What is not here is named, all of it at
//     once, before anything is made.
//   - Drift is found and reverted by change sets with the mode REVERT_DRIFT; there is no
//     DetectStackDrift.
//   - Dynamic references are to SSM parameters, without versions.
//   - A resource has one event CREATE_IN_PROGRESS, before it has a physical id; on
//     AWS a second one follows with it.
//   - The value that an SSM parameter resolved to is not shown.
//   - The last 100 deleted stacks are remembered; AWS remembers all for 90 days.
//   - A change set lists a resource as modified when its definition or a resource
//     or parameter that it refers to changes; AWS looks at resolved values too.
package cloudformation

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// maxDeleted is how many deleted stacks are remembered.
const maxDeleted = 100

// A Type is what can be done with one resource type.
type Type struct {
	// Properties are the ones it takes.
	Properties []string
	// Others are properties that it has on AWS only.
	Others []string
	// Replacement are the properties whose change needs a new resource.
	Replacement []string
	// Create makes the resource.
	Create func(Request) (Result, error)
	// Update changes the resource in place. Default: any change replaces it.
	Update func(Request) (Result, error)
	// Delete removes it. A resource that is gone already is no error, and a
	// *LeftError does not fail the deletion.
	Delete func(Request) error
	// Drift compares the resource with its properties. Default: it is as it was made.
	Drift func(Request) (Drift, error)
	// AnyProperties takes properties of every name.
	AnyProperties bool
	// Slow tells that the functions above may take minutes and call this endpoint
	// themselves: a save does not wait for them, so that after a crash one may run
	// a second time.
	Slow bool
}

// A Drift is what became of a resource behind CloudFormation's back: nothing, or one of
// these.
type Drift string

// Drifts, by CloudFormation's own names.
const (
	Modified Drift = "MODIFIED"
	Deleted  Drift = "DELETED"
)

// CustomResourceType is the type of all resources whose type begins with Custom::.
const CustomResourceType = "AWS::CloudFormation::CustomResource"

// kind finds a resource type.
func (o Options) kind(name string) (Type, bool) {
	if strings.HasPrefix(name, "Custom::") {
		name = CustomResourceType
	}
	kind, ok := o.Types[name]
	return kind, ok
}

// A LeftError tells that AWS leaves a resource behind when its stack is deleted.
// The deletion succeeds; the event of the resource has the reason.
type LeftError struct{ Reason string }

func (e *LeftError) Error() string { return e.Reason }

// A Request asks a Type to do something with one resource.
type Request struct {
	StackName, StackID, LogicalID, Type string
	// PhysicalID of the existing resource; empty on create.
	PhysicalID string
	// Properties with all intrinsics resolved.
	Properties map[string]any
	// Previous are the properties before an update; nil otherwise.
	Previous map[string]any
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
	// Partial tells, beside an error, that the resource may be there all the same:
	// the rollback deletes it, or changes it back.
	Partial bool
}

// A Stack as callers see it: a copy.
type Stack struct {
	Name, ID, Description     string
	Status, StatusReason      string
	Created, Updated, Deleted time.Time
	// TemplateBody is the template as it was given; empty until the first deployment.
	TemplateBody          string
	Parameters            map[string]string
	Hidden                []string // parameters that nobody may see: NoEcho
	Imports               map[string]bool
	Tags                  awsapi.Tags
	RoleARN               string
	TerminationProtection bool
	DisableRollback       bool
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
	// Tags of the stack when the resource was made or changed last.
	Tags awsapi.Tags
	// DependsOn are the resources that must outlive this one.
	DependsOn                           []string
	DeletionPolicy, UpdateReplacePolicy string
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
	// Atomically runs a change of a resource together with its record in the
	// stack, so that nobody saves one without the other. Default: it just runs it.
	Atomically func(func())
}

// A Service holds the stacks of one account and region.
type Service struct {
	options Options

	mu     sync.Mutex
	stacks map[string]*stack // by id
	work   sync.WaitGroup
}

// stack is a Stack with what only its operations need. Exported fields are saved.
type stack struct {
	Stack
	ChangeSets map[string]*ChangeSet // by name
	// Pending is the operation under way, nil if none is.
	Pending *pending
	// Begun is the number of events before the last operation.
	Begun int

	// template is TemplateBody, parsed.
	template *Template
	// idle is closed when no operation is under way.
	idle chan struct{}
}

// parsed is the stack's template as it is; s.mu is held.
func (st *stack) parsed() *Template {
	if st.template == nil {
		if t, err := ParseTemplate([]byte(st.TemplateBody)); err == nil {
			st.template = t
		} else {
			return &Template{} // there is none yet
		}
	}
	return st.template
}

// pending is what an operation needs to go on after a restart.
type pending struct {
	Input Input // empty for a deletion
	// Undo is what a rollback takes back, in the order in which it was done.
	Undo []undo
	// Cleanup are resources to delete once the operation has succeeded.
	Cleanup []*Resource
}

// New returns a Service without stacks.
func New(o Options) *Service {
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	if o.Atomically == nil {
		o.Atomically = func(f func()) { f() }
	}
	return &Service{options: o, stacks: map[string]*stack{}}
}

// Wait returns when no stack operation is under way, or ctx ends.
func (s *Service) Wait(ctx context.Context) error {
	idle := make(chan struct{})
	go func() {
		s.work.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.stacks {
		if st.busy() {
			return fmt.Errorf("stack %s is still %s: %w", st.Name, st.Status, ctx.Err())
		}
	}
	return nil
}

// Input describes what a stack shall be.
type Input struct {
	Name         string
	TemplateBody []byte
	Parameters   map[string]string
	Tags         awsapi.Tags
	RoleARN      string
	// DisableRollback leaves a failed stack as it is.
	DisableRollback bool
	// Capabilities that the caller knows of. Default: all.
	Capabilities []string
	// RevertDrift makes resources what the template says that were changed or deleted
	// behind CloudFormation's back.
	RevertDrift bool
	// TerminationProtection is taken on create only.
	TerminationProtection bool
}

var stackName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,127}$`)

// badStackName is a refusal in AWS's words.
func badStackName(name string) error {
	constraint := "Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*|arn:[-a-zA-Z0-9:/._+]*"
	if len(name) > 128 {
		constraint = "Member must have length less than or equal to 128"
	}
	return awsapi.Errorf("ValidationError", "1 validation error detected: Value '%.200s' at 'stackName' failed to satisfy constraint: %s", name, constraint)
}

// Create begins to create a stack and returns its id. Await waits for the end.
func (s *Service) Create(in Input) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if existing := s.find(in.Name); existing != nil {
		return "", awsapi.Errorf("AlreadyExistsException", "Stack [%s] already exists", in.Name)
	}
	st, err := s.newStack(in)
	if err != nil {
		return "", err
	}
	target, err := s.target(st, in)
	if err != nil {
		return "", err
	}
	s.stacks[st.ID] = st
	s.begin(st, in, "CREATE_IN_PROGRESS", func(op *operation) { op.create(target) })
	return st.ID, nil
}

// Update begins to update a stack, named by name or ARN.
func (s *Service) Update(in Input) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.find(in.Name)
	if st == nil {
		return "", s.notUpdatable(in.Name)
	}
	if err := st.checkUpdatable(); err != nil {
		return "", err
	}
	target, err := s.target(st, in)
	if err != nil {
		return "", err
	}
	if !st.differs(target) {
		return "", awsapi.Errorf("ValidationError", "No updates are to be performed.")
	}
	s.begin(st, in, "UPDATE_IN_PROGRESS", func(op *operation) { op.update(target) })
	return st.ID, nil
}

// Delete begins to delete a stack, named by name or ARN. A stack that does not
// exist is no error, as on AWS.
func (s *Service) Delete(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.find(name)
	if st == nil {
		return nil
	}
	switch {
	case st.TerminationProtection:
		return awsapi.Errorf("ValidationError", "Stack [%s] cannot be deleted while TerminationProtection is enabled", st.Name)
	case st.busy():
		return awsapi.Errorf("ValidationError", "Stack [%s] cannot be deleted while in status %s", st.Name, st.Status)
	}
	for _, output := range st.Outputs {
		if importer := s.importer(st, output.ExportName); importer != "" {
			return awsapi.Errorf("ValidationError", "Delete canceled. Cannot delete export %s as it is in use by %s.", output.ExportName, importer)
		}
	}
	s.begin(st, Input{}, "DELETE_IN_PROGRESS", (*operation).delete)
	return nil
}

// Await waits until no operation is under way on a stack, named by ARN, and
// returns it. If the last operation did not end well the error has the reasons.
func (s *Service) Await(ctx context.Context, id string) (*Stack, error) {
	s.mu.Lock()
	st, ok := s.stacks[id]
	if !ok {
		s.mu.Unlock()
		return nil, notFound(id)
	}
	idle := st.idle
	s.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for stack %s: %w", st.Name, ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch st.Status {
	case "CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE":
		return st.copy(), nil
	}
	return st.copy(), fmt.Errorf("stack %s is %s: %s", st.Name, st.Status, st.failures())
}

// Describe returns a stack by name or ARN. A deleted one is found by ARN only.
func (s *Service) Describe(name string) (*Stack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.find(name)
	if st == nil {
		st = s.stacks[name]
	}
	if st == nil {
		return nil, notFound(name)
	}
	return st.copy(), nil
}

// Previous returns the template of a stack, and its parameters as they are, also those
// that nobody may see.
func (s *Service) Previous(name string) (body []byte, parameters map[string]string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.find(name)
	if st == nil {
		return nil, nil, doesNotExist(name)
	}
	return []byte(st.TemplateBody), maps.Clone(st.Parameters), nil
}

// doesNotExist is what all operations but DescribeStacks say.
func doesNotExist(name string) error {
	return awsapi.Errorf("ValidationError", "Stack [%s] does not exist", name)
}

func notFound(name string) error {
	return awsapi.Errorf("ValidationError", "Stack with id %s does not exist", name)
}

// List returns all stacks, deleted ones included, oldest first.
func (s *Service) List() []*Stack {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Stack, 0, len(s.stacks))
	for _, st := range s.stacks {
		out = append(out, st.copy())
	}
	slices.SortFunc(out, func(a, b *Stack) int { return a.Created.Compare(b.Created) })
	return out
}

// SetTerminationProtection protects a stack from deletion, or no longer.
func (s *Service) SetTerminationProtection(name string, on bool) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.find(name)
	if st == nil {
		return "", doesNotExist(name)
	}
	st.TerminationProtection = on
	return st.ID, nil
}

// newStack makes the record of a stack that does not exist yet; s.mu is held.
func (s *Service) newStack(in Input) (*stack, error) {
	if !stackName.MatchString(in.Name) {
		return nil, badStackName(in.Name)
	}
	idle := make(chan struct{})
	close(idle)
	return &stack{
		Stack: Stack{
			Name: in.Name, ID: s.options.Account.ARN("cloudformation", "stack/"+in.Name+"/"+awsapi.NewID()),
			Created: time.Now().UTC(), TerminationProtection: in.TerminationProtection,
			Resources: map[string]*Resource{},
		},
		ChangeSets: map[string]*ChangeSet{}, idle: idle,
	}, nil
}

// begin runs an operation on a stack in the background; s.mu is held. The stack
// has its new status at once: whoever asks after the call must not take the
// status before it for the end.
func (s *Service) begin(st *stack, in Input, status string, run func(*operation)) {
	st.Pending, st.Begun = &pending{Input: in}, len(st.Events)
	op := s.run(st, run)
	op.stackEventLocked(status, "User Initiated")
}

// run runs an operation until its last event; s.mu is held.
func (s *Service) run(st *stack, f func(*operation)) *operation {
	op := &operation{service: s, stack: st}
	st.idle = make(chan struct{})
	s.work.Go(func() { f(op) })
	return op
}

// forgetDeleted forgets the stacks that were deleted long ago; s.mu is held.
func (s *Service) forgetDeleted() {
	var deleted []*stack
	for _, st := range s.stacks {
		if st.Status == "DELETE_COMPLETE" {
			deleted = append(deleted, st)
		}
	}
	slices.SortFunc(deleted, func(a, b *stack) int { return b.Deleted.Compare(a.Deleted) })
	for _, st := range deleted[min(maxDeleted, len(deleted)):] {
		delete(s.stacks, st.ID)
	}
}

// find returns the living stack of a name or ARN; s.mu is held.
func (s *Service) find(name string) *stack {
	for _, st := range s.stacks {
		if (st.Name == name || st.ID == name) && st.Status != "DELETE_COMPLETE" {
			return st
		}
	}
	return nil
}

// imported returns the value of another stack's export; s.mu is held.
func (s *Service) imported(export string) (string, error) {
	for _, st := range s.stacks {
		if st.Status == "DELETE_COMPLETE" {
			continue
		}
		for _, output := range st.Outputs {
			if output.ExportName == export {
				return output.Value, nil
			}
		}
	}
	return "", fmt.Errorf("No export named %s found.", export) //nolint:staticcheck // AWS's words
}

// importer names another stack that imports an export of this one; s.mu is held.
func (s *Service) importer(of *stack, export string) string {
	for _, st := range s.stacks {
		if export != "" && st != of && st.Status != "DELETE_COMPLETE" && st.Imports[export] {
			return st.Name
		}
	}
	return ""
}

func (st *stack) busy() bool {
	select {
	case <-st.idle:
		return false
	default:
		return true
	}
}

// notUpdatable refuses a stack that does not exist, or no longer; s.mu is held.
func (s *Service) notUpdatable(name string) error {
	if st := s.stacks[name]; st != nil {
		return st.checkUpdatable()
	}
	return doesNotExist(name)
}

func (st *stack) checkUpdatable() error {
	switch st.Status {
	case "CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "CREATE_FAILED", "UPDATE_FAILED":
		if !st.busy() {
			return nil
		}
	}
	return awsapi.Errorf("ValidationError", "Stack:%s is in %s state and can not be updated.", st.ID, st.Status)
}

func (s *Stack) copy() *Stack {
	c := *s
	c.Resources = make(map[string]*Resource, len(s.Resources))
	for id, r := range s.Resources {
		resource := *r
		c.Resources[id] = &resource
	}
	c.Parameters, c.Tags = maps.Clone(s.Parameters), maps.Clone(s.Tags)
	for _, name := range s.Hidden {
		c.Parameters[name] = "****"
	}
	c.Events = slices.Clone(s.Events)
	c.Outputs = slices.Clone(s.Outputs)
	return &c
}

// failures collects the reasons for which resources failed in the last
// operation, for a person.
func (st *stack) failures() string {
	var reasons []string
	for _, e := range st.Events[st.Begun:] {
		if e.LogicalID != st.Name && strings.HasSuffix(e.Status, "_FAILED") {
			reasons = append(reasons, fmt.Sprintf("%s (%s): %s", e.LogicalID, e.Type, e.StatusReason))
		}
	}
	if len(reasons) == 0 {
		return st.StatusReason
	}
	return strings.Join(reasons, "; ")
}
