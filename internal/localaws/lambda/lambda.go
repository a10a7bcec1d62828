// Package lambda runs functions for real: the program of a function's asset as a
// process of this machine, fed by a local Lambda runtime API.
//
// Known differences from AWS Lambda:
//   - Runtime provided.al2023 only, of this machine's architecture, with the code
//     in an S3 object. The object is read at each invocation; AWS keeps a copy.
//   - A process for each invocation, with the rights of whoever runs this
//     endpoint: no sandbox, no limit of memory. AWS freezes it and uses it again.
//   - An asynchronous invocation that fails is tried again at once, twice; AWS
//     waits one and two minutes.
package lambda

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// Limits of a function (developer guide, "Lambda quotas" and "Configure Lambda
// function timeout").
const (
	MaxTimeout       = 15 * time.Minute
	maxUnpackedBytes = 250 << 20
	maxPayloadBytes  = 6 << 20
)

// Runtime is the only one here: a program that asks the runtime API for work.
const Runtime = "provided.al2023"

// bootstrap is the program's name in the code of such a function.
const bootstrap = "bootstrap"

// A Function as callers see it: a copy.
type Function struct {
	Name, ARN, Description string
	// Role is the ARN of the execution role.
	Role                           string
	Runtime, Handler, Architecture string
	// Bucket and Key are the S3 object with the code.
	Bucket, Key  string
	Timeout      time.Duration
	MemoryMB     int
	Environment  map[string]string
	LogGroup     string
	Tags         awsapi.Tags
	LastModified time.Time
}

// Credentials are an execution role's, for one invocation.
type Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }

// Options of a Service.
type Options struct {
	Account awsapi.Account
	// Object reads an S3 object.
	Object func(bucket, key string) ([]byte, error)
	// Assume gives out credentials of a role that trusts Lambda, for a session of
	// the function's name.
	Assume func(role, function string) (Credentials, error)
	// Environment is what a process needs to reach this endpoint.
	Environment func() ([]string, error)
	// Log writes a line into a log group, if the role may.
	Log func(role, group, stream, line string)
}

// A Service holds the functions of one account and region.
type Service struct {
	options Options
	// stopped ends all invocations; running are their processes.
	stopped context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	functions map[string]*Function // by name
}

// New returns a Service without functions.
func New(o Options) *Service {
	stopped, stop := context.WithCancel(context.Background())
	return &Service{options: o, stopped: stopped, stop: stop, functions: map[string]*Function{}}
}

// Stop ends all invocations with their processes; none begins any more.
func (s *Service) Stop() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.running.Wait()
}

// Architecture is that of this machine, in Lambda's words.
func Architecture() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

var functionName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Create creates a function.
func (s *Service) Create(f Function) (Function, error) {
	if !functionName.MatchString(f.Name) {
		return f, awsapi.Errorf("InvalidParameterValueException", "function name %q must have 1 to 64 letters, digits, hyphens and underscores", f.Name)
	}
	f.ARN = s.options.Account.ARN("lambda", "function:"+f.Name)
	if err := s.complete(&f); err != nil {
		return f, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.functions[f.Name]; ok {
		return f, awsapi.Conflictf("ResourceConflictException", "Function already exist: %s", f.Name)
	}
	s.functions[f.Name] = &f
	return f.copy(), nil
}

// Update changes all of a function but its name.
func (s *Service) Update(f Function) (Function, error) {
	f.ARN = s.options.Account.ARN("lambda", "function:"+f.Name)
	if err := s.complete(&f); err != nil {
		return f, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.get(f.Name); err != nil {
		return f, err
	}
	s.functions[f.Name] = &f
	return f.copy(), nil
}

// complete fills in defaults and checks the rest as Lambda does: the role can be
// assumed, and the code is there.
func (s *Service) complete(f *Function) error {
	f.Architecture = cmp.Or(f.Architecture, "x86_64")
	f.Timeout = cmp.Or(f.Timeout, 3*time.Second)
	f.MemoryMB = cmp.Or(f.MemoryMB, 128)
	f.LogGroup = cmp.Or(f.LogGroup, "/aws/lambda/"+f.Name)
	f.LastModified = time.Now().UTC()
	switch {
	case f.Runtime != Runtime:
		return awsapi.Errorf("InvalidParameterValueException", "runtime %q is not supported here: it has %s", f.Runtime, Runtime)
	case f.Architecture != Architecture():
		return awsapi.Errorf("InvalidParameterValueException", "architecture %q cannot run on this machine, which has %s: deploy with that architecture", f.Architecture, Architecture())
	case f.Timeout < time.Second || f.Timeout > MaxTimeout:
		return awsapi.Errorf("InvalidParameterValueException", "timeout of %s must be from 1 to %d seconds", f.Timeout, MaxTimeout/time.Second)
	case f.MemoryMB < 128 || f.MemoryMB > 10240:
		return awsapi.Errorf("InvalidParameterValueException", "memory of %d MB must be from 128 to 10240", f.MemoryMB)
	}
	if _, err := s.options.Assume(f.Role, f.Name); err != nil {
		return awsapi.Errorf("InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda. (%v)", err)
	}
	_, err := s.code(*f)
	return err
}

// code reads the function's archive and makes sure that it has the program.
func (s *Service) code(f Function) (*zip.Reader, error) {
	content, err := s.options.Object(f.Bucket, f.Key)
	if err != nil {
		return nil, awsapi.Errorf("InvalidParameterValueException", "Error occurred while GetObject. %v", err)
	}
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, awsapi.Errorf("InvalidParameterValueException", "Could not unzip uploaded file s3://%s/%s: %v", f.Bucket, f.Key, err)
	}
	var size uint64
	program := false
	for _, file := range archive.File {
		if size += file.UncompressedSize64; size > maxUnpackedBytes {
			return nil, awsapi.Errorf("InvalidParameterValueException", "Unzipped size must be smaller than %d bytes", maxUnpackedBytes)
		}
		program = program || file.Name == bootstrap && file.Mode()&0o111 != 0
	}
	if !program {
		return nil, awsapi.Errorf("InvalidParameterValueException", "s3://%s/%s has no executable file %s, which the runtime %s starts", f.Bucket, f.Key, bootstrap, Runtime)
	}
	return archive, nil
}

// Delete removes a function.
func (s *Service) Delete(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.get(name); err != nil {
		return err
	}
	delete(s.functions, name)
	return nil
}

// Get returns a function by name or ARN.
func (s *Service) Get(name string) (Function, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.get(name)
	if err != nil {
		return Function{}, err
	}
	return f.copy(), nil
}

// List returns all functions by name.
func (s *Service) List() []Function {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Function, 0, len(s.functions))
	for _, name := range slices.Sorted(maps.Keys(s.functions)) {
		out = append(out, s.functions[name].copy())
	}
	return out
}

func (s *Service) get(name string) (*Function, error) {
	for _, f := range s.functions {
		if f.Name == name || f.ARN == name {
			return f, nil
		}
	}
	return nil, awsapi.NotFoundf("ResourceNotFoundException", "Function not found: %s", name)
}

func (f *Function) copy() Function {
	c := *f
	c.Environment, c.Tags = maps.Clone(f.Environment), maps.Clone(f.Tags)
	return c
}

// A FunctionError is a function's own failure: it answered with an error, ended or
// ran out of time.
type FunctionError struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

func (e *FunctionError) Error() string {
	return cmp.Or(e.Type, "Unhandled") + ": " + e.Message
}

var errNoAnswer = errors.New("the function asked for more work without an answer")

func exited(err error) *FunctionError {
	if err == nil {
		return &FunctionError{"Runtime.ExitError", "Runtime exited without providing a reason"}
	}
	return &FunctionError{"Runtime.ExitError", fmt.Sprintf("Runtime exited with error: %v", err)}
}
