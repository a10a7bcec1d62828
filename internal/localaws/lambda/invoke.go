package lambda

import (
	"archive/zip"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/loopback"
)

// attempts are what Lambda makes of an asynchronous invocation (developer guide,
// "How Lambda handles errors and retries with asynchronous invocation").
const attempts = 3

var errStopped = errors.New("this endpoint is shutting down")

// InvokeAsync hands an event to a function until it succeeds, three times at most.
// All attempts have the same request id. It returns the last failure.
func (s *Service) InvokeAsync(ctx context.Context, name string, event []byte) error {
	id := awsapi.NewID()
	var err error
	for range attempts {
		if _, err = s.invoke(ctx, name, id, event); err == nil || ctx.Err() != nil || s.stopped.Err() != nil {
			return err
		}
	}
	return err
}

// Invoke runs a function once and returns its answer. Its error is a
// *FunctionError where the function itself failed.
func (s *Service) Invoke(ctx context.Context, name string, event []byte) ([]byte, error) {
	return s.invoke(ctx, name, awsapi.NewID(), event)
}

func (s *Service) invoke(ctx context.Context, name, id string, event []byte) ([]byte, error) {
	s.mu.Lock()
	if s.stopped.Err() != nil {
		s.mu.Unlock()
		return nil, errStopped
	}
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.stopped, cancel)()
	f, err := s.Get(name)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lastwill-function-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is in the temp folder
	archive, err := s.code(f)
	if err != nil {
		return nil, err
	}
	if err := unpack(archive, dir); err != nil {
		return nil, fmt.Errorf("code of %s: %w", name, err)
	}
	stream := time.Now().UTC().Format("2006/01/02") + "/[$LATEST]" + awsapi.NewHex(16)
	log := func(line string) { s.options.Log(f.Role, f.LogGroup, stream, line) }
	environment, err := s.environment(f, dir, stream)
	if err != nil {
		return nil, err
	}
	log("START RequestId: " + id + " Version: $LATEST")
	began := time.Now()
	answer, err := run(ctx, f, id, event, dir, environment, log)
	if err != nil {
		log(id + " " + err.Error())
	}
	log("END RequestId: " + id)
	log(fmt.Sprintf("REPORT RequestId: %s\tDuration: %.2f ms\tMemory Size: %d MB", id, float64(time.Since(began).Microseconds())/1000, f.MemoryMB))
	return answer, err
}

// environment is all that the process gets (developer guide, "Defined runtime
// environment variables"): nothing of this endpoint's own.
func (s *Service) environment(f Function, dir, stream string) ([]string, error) {
	credentials, err := s.options.Assume(f.Role, f.Name)
	if err != nil {
		return nil, fmt.Errorf("role of function %s: %w", f.Name, err)
	}
	reach, err := s.options.Environment()
	if err != nil {
		return nil, err
	}
	region := s.options.Account.Region
	environment := []string{
		"_HANDLER=" + f.Handler, "LAMBDA_TASK_ROOT=" + dir, "LAMBDA_RUNTIME_DIR=" + dir,
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(f.MemoryMB),
		"AWS_LAMBDA_LOG_GROUP_NAME=" + f.LogGroup, "AWS_LAMBDA_LOG_STREAM_NAME=" + stream,
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand", "AWS_EXECUTION_ENV=AWS_Lambda_" + f.Runtime,
		"AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region,
		"AWS_ACCESS_KEY_ID=" + credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + credentials.SecretAccessKey,
		"AWS_SESSION_TOKEN=" + credentials.SessionToken,
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=en_US.UTF-8", "TZ=:UTC",
	}
	environment = append(environment, reach...)
	for name, value := range f.Environment {
		environment = append(environment, name+"="+value)
	}
	return environment, nil
}

func unpack(archive *zip.Reader, dir string) error {
	for _, file := range archive.File {
		if strings.HasSuffix(file.Name, "/") {
			continue
		}
		if !filepath.IsLocal(file.Name) {
			return fmt.Errorf("%q leads out of the archive", file.Name)
		}
		if err := unpackFile(file, filepath.Join(dir, file.Name)); err != nil { //nolint:gosec // the name is local
			return err
		}
	}
	return nil
}

func unpackFile(file *zip.File, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	from, err := file.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	// A process that is started meanwhile would hold the program open for writing
	// for a moment, and the kernel does not start what somebody may still change.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, file.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	// The header's size has been checked; what is beyond it is no part of the file.
	_, err = io.CopyN(to, from, int64(file.UncompressedSize64))
	return errors.Join(err, to.Close())
}

// run starts the program and serves it the runtime API until it has answered,
// ended or run out of time.
func run(ctx context.Context, f Function, id string, event []byte, dir string, environment []string, log func(string)) ([]byte, error) {
	deadline := time.Now().Add(f.Timeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	listener, err := loopback.Listen("")
	if err != nil {
		return nil, err
	}
	api := &runtimeAPI{
		function: f, id: id, event: event, deadline: deadline,
		done: make(chan struct{}),
	}
	server := &http.Server{Handler: api.handler(), ReadHeaderTimeout: 10 * time.Second}
	defer func() { _ = server.Close() }()      // nobody is connected any more
	go func() { _ = server.Serve(listener) }() // it ends with ErrServerClosed

	cmd := exec.CommandContext(ctx, filepath.Join(dir, bootstrap))
	cmd.Dir = dir
	cmd.Env = append(environment, "AWS_LAMBDA_RUNTIME_API="+listener.Addr().String())
	lines := &lineWriter{line: log}
	cmd.Stdout, cmd.Stderr = lines, lines
	cmd.WaitDelay = time.Second // a child of the program may hold its output open
	endWithChildren(cmd)
	if err := cmd.Start(); err != nil {
		return nil, exited(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-api.done:
		cancel()
		<-ended
		lines.flush()
		return api.result()
	case err := <-ended:
		lines.flush()
		select {
		case <-api.done: // it ended right after its answer
			return api.result()
		default:
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && !time.Now().Before(deadline) {
			return nil, &FunctionError{"Sandbox.Timedout", fmt.Sprintf("Task timed out after %.2f seconds", f.Timeout.Seconds())}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, exited(err)
	}
}

// A runtimeAPI is what a program asks for one event and tells its answer
// (developer guide, "Using the Lambda runtime API for custom runtimes").
type runtimeAPI struct {
	function Function
	id       string
	event    []byte
	deadline time.Time

	mu     sync.Mutex
	taken  bool
	answer []byte
	err    error
	done   chan struct{}
	ended  bool
}

func (a *runtimeAPI) handler() http.Handler {
	mux := http.NewServeMux()
	const invocation = "/2018-06-01/runtime/invocation/"
	mux.HandleFunc("GET "+invocation+"next", a.next)
	mux.HandleFunc("POST "+invocation+"{id}/response", a.response)
	mux.HandleFunc("POST "+invocation+"{id}/error", a.failure)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", a.failure)
	return mux
}

// next gives out the event once. Whoever asks again waits, as in a frozen
// sandbox, until the process is ended.
func (a *runtimeAPI) next(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	again := a.taken
	a.taken = true
	a.mu.Unlock()
	if again {
		a.end(nil, errNoAnswer)
		<-r.Context().Done()
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", a.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(a.deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", a.function.ARN)
	_, _ = w.Write(a.event) // the process is gone; its end is noticed
}

func (a *runtimeAPI) response(w http.ResponseWriter, r *http.Request) {
	body, ok := a.read(w, r)
	if ok {
		a.end(body, nil)
	}
}

func (a *runtimeAPI) failure(w http.ResponseWriter, r *http.Request) {
	body, ok := a.read(w, r)
	if !ok {
		return
	}
	failed := &FunctionError{}
	if err := json.Unmarshal(body, failed); err != nil || failed.Message == "" {
		failed.Message = string(body)
	}
	if kind := r.Header.Get("Lambda-Runtime-Function-Error-Type"); failed.Type == "" {
		failed.Type = kind
	}
	a.end(nil, failed)
}

func (a *runtimeAPI) read(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	if id := r.PathValue("id"); id != "" && id != a.id {
		http.Error(w, `{"errorType":"InvalidRequestID","errorMessage":"Invalid request ID"}`, http.StatusBadRequest)
		return nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayloadBytes))
	if err != nil {
		a.end(nil, &FunctionError{"Function.ResponseSizeTooLarge", fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", maxPayloadBytes)})
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return nil, false
	}
	w.WriteHeader(http.StatusAccepted)
	return body, true
}

// end takes the first answer.
func (a *runtimeAPI) end(answer []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.answer, a.err, a.ended = answer, err, true
	close(a.done)
}

func (a *runtimeAPI) result() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answer, a.err
}

// maxLogBytes bounds what one invocation may write.
const maxLogBytes = 1 << 20

// A lineWriter passes on whole lines.
type lineWriter struct {
	line func(string)

	mu      sync.Mutex
	rest    []byte
	written int
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if room := maxLogBytes - w.written; len(p) > room {
		return len(p), nil // the rest of it is lost, not the function
	}
	w.written += len(p)
	w.rest = append(w.rest, p...)
	for {
		advance, token, _ := bufio.ScanLines(w.rest, false)
		if advance == 0 {
			return len(p), nil
		}
		w.line(string(token))
		w.rest = w.rest[advance:]
	}
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.line(string(w.rest))
		w.rest = nil
	}
}
