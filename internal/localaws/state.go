package localaws

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"lastwill/internal/atomicfile"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/cloudwatch"
	"lastwill/internal/localaws/ecr"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/lambda"
	"lastwill/internal/localaws/logs"
	"lastwill/internal/localaws/s3"
	"lastwill/internal/localaws/sns"
	"lastwill/internal/localaws/sqs"
	"lastwill/internal/localaws/ssm"
)

// formatVersion of the saved state. A folder with another one is refused.
const formatVersion = 1

// A state keeps the services in one file, so that what is saved fits together:
// a resource is never there without the stack's record of it. Mails, assets and
// the authority's key have files of their own.
type state struct {
	file string // empty: nothing is kept
	lock *os.File
	// gate is held for reading while a resource and its record change, and for
	// writing while the services are read.
	gate sync.RWMutex

	saving sync.Mutex // one save at a time
	last   []byte
	frozen bool
	// unsaved is true since a save failed.
	unsaved atomic.Bool
	// changed wakes the saver; a save that is due needs no second wake.
	changed chan struct{}
	done    chan struct{}
	stopped sync.Once
}

type document struct {
	Version        int
	IAM            *iam.Service
	SSM            *ssm.Service
	ECR            *ecr.Service
	S3             *s3.Service
	Lambda         *lambda.Service
	Logs           *logs.Service
	SNS            *sns.Service
	SQS            *sqs.Service
	CloudWatch     *cloudwatch.Service
	IoT            *iot.Service
	CloudFormation *cloudformation.Service
}

func (s *Server) document() document {
	return document{formatVersion, s.IAM, s.SSM, s.ECR, s.S3, s.Lambda, s.Logs, s.SNS, s.SQS, s.CloudWatch, s.IoT, s.CloudFormation}
}

// atomically runs a change that no save may see half of.
func (st *state) atomically(f func()) {
	st.gate.RLock()
	defer st.gate.RUnlock()
	f()
}

// wake asks for a save soon.
func (st *state) wake() {
	select {
	case st.changed <- struct{}{}:
	default:
	}
}

func (st *state) stop() { st.stopped.Do(func() { close(st.done) }) }

// load brings the saved state back and goes on with interrupted operations.
func (s *Server) load() error {
	kept, err := os.ReadFile(s.state.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.restore(kept); err != nil {
		return fmt.Errorf("%s is damaged: %w; move the folder away to start with an empty one", s.state.file, err)
	}
	s.state.last = kept
	return nil
}

// restore reads a saved state, which has all services.
func (s *Server) restore(kept []byte) error {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(kept, &parts); err != nil {
		return err
	}
	var version int
	if err := json.Unmarshal(parts["Version"], &version); err != nil {
		return errors.New("it has no version")
	}
	if version != formatVersion {
		return fmt.Errorf("it has format %d, this program reads %d: use the program that wrote it", version, formatVersion)
	}
	d := s.document()
	for field := range reflect.TypeFor[document]().Fields() {
		if _, ok := parts[field.Name]; !ok {
			return fmt.Errorf("%s is missing", field.Name)
		}
	}
	return json.Unmarshal(kept, &d)
}

// save writes the state if it has changed. When it returns, all that was done
// before the call is on the disk.
func (s *Server) save() error {
	if s.state.file == "" {
		return nil
	}
	s.state.saving.Lock()
	defer s.state.saving.Unlock()
	s.state.gate.Lock()
	b, err := json.Marshal(s.document())
	s.state.gate.Unlock()
	if err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	if bytes.Equal(b, s.state.last) || s.state.frozen {
		return nil
	}
	err = atomicfile.Write(s.state.file, b)
	s.state.unsaved.Store(err != nil)
	if err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	s.state.last = b
	return nil
}

// freeze keeps what is saved as it is.
func (st *state) freeze() {
	st.saving.Lock()
	defer st.saving.Unlock()
	st.frozen = true
}

// keepSaving saves what happens outside of requests: the steps of deployments.
func (s *Server) keepSaving() {
	for {
		select {
		case <-s.state.changed:
			if err := s.save(); err != nil {
				s.log.Error("state not saved", "error", err)
			}
		case <-s.state.done:
			return
		}
	}
}

// openState prepares the data folder.
func (s *Server) openState(dir string) (err error) {
	s.state.changed, s.state.done = make(chan struct{}, 1), make(chan struct{})
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if s.state.lock, err = lockDir(dir); err != nil {
		return err
	}
	s.state.file = filepath.Join(dir, "state.json")
	return nil
}

// durable answers a request only once what it changed is saved. The links in
// mails change something although they are followed with GET.
func (s *Server) durable(next http.Handler) http.Handler {
	if s.state.file == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if onlyReads(r) {
			next.ServeHTTP(w, r)
			return
		}
		if s.state.unsaved.Load() { // so nothing is done that would be lost
			if err := s.save(); err != nil {
				s.api.Fail(w, r, notSaved("nothing was done: the state cannot be saved", err))
				return
			}
		}
		answer := &heldAnswer{header: http.Header{}, status: http.StatusOK}
		next.ServeHTTP(answer, r)
		if err := s.save(); err != nil {
			s.log.Error("state not saved", "error", err)
			s.api.Fail(w, r, notSaved("it was done, but the state cannot be saved", err))
			return
		}
		maps.Copy(w.Header(), answer.header)
		w.WriteHeader(answer.status)
		_, _ = w.Write(answer.body.Bytes()) // the client is gone; there is nobody to tell
	})
}

// notSaved has a status on which no SDK tries again: a change would be made twice.
func notSaved(what string, err error) error {
	return &awsapi.Error{Code: "StateNotSaved", Status: http.StatusConflict, Message: fmt.Sprintf("%s: %v; make room on the disk", what, err)}
}

var (
	// readAction is an operation of the Query protocol that changes nothing, readTarget
	// one of the JSON protocol or of RPC v2.
	readAction = regexp.MustCompile(`(?:^|&)Action=(?:Describe|Get|List|AssumeRole\b)`)
	readTarget = regexp.MustCompile(`(?:\.|/operation/)(?:Describe|Filter|Get|List)\w*$`)
)

// onlyReads reports whether a request changes nothing. The links in mails change
// something although they are followed with GET.
func onlyReads(r *http.Request) bool {
	switch {
	case strings.HasPrefix(r.URL.Path, sns.LinkPath):
		return false
	case strings.Contains(r.URL.RawQuery, "Action="):
		return readAction.MatchString(r.URL.RawQuery)
	case r.Method == http.MethodHead, r.Method == http.MethodGet:
		return true
	case readTarget.MatchString(r.Header.Get("X-Amz-Target")), readTarget.MatchString(r.URL.Path), strings.HasPrefix(r.URL.Path, "/policy-targets/"):
		return true
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		return false
	}
	body := bufio.NewReaderSize(r.Body, 4096)
	start, _ := body.Peek(1024) // SDKs write the action first
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	return readAction.Match(start)
}

// heldAnswer keeps an answer until it may be given.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *heldAnswer) Header() http.Header         { return a.header }
func (a *heldAnswer) WriteHeader(status int)      { a.status = status }
func (a *heldAnswer) Write(b []byte) (int, error) { return a.body.Write(b) }
