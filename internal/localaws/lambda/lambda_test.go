package lambda_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	runtimeapi "github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/lambda"
)

var account = awsapi.Account{ID: "123456789012", Region: "us-east-1"}

// The functions of these tests are this very program, with AWS's own library.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		function(os.Getenv("_HANDLER"))
	}
	os.Exit(m.Run())
}

// function never returns.
func function(handler string) {
	switch handler {
	case "exit":
		fmt.Println("giving up")
		os.Exit(7)
	case "deaf":
		fmt.Println("pid", os.Getpid())
		select {}
	}
	runtimeapi.Start(func(ctx context.Context, event map[string]any) (map[string]any, error) {
		c, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		fmt.Println("event", event["n"], c.AwsRequestID)
		switch handler {
		case "error":
			return nil, errors.New("out of order")
		case "panic":
			panic("out of control")
		}
		return map[string]any{
			"event": event["n"], "arn": c.InvokedFunctionArn, "left": time.Until(deadline).Seconds(), "environment": os.Environ(),
		}, nil
	})
}

type service struct {
	*lambda.Service
	mu    sync.Mutex
	lines []string
}

func start(t *testing.T, code []byte) *service {
	t.Helper()
	s := &service{}
	s.Service = lambda.New(lambda.Options{
		Account: account,
		Object: func(bucket, key string) ([]byte, error) {
			if bucket != "assets" || key != "code.zip" {
				return nil, fs.ErrNotExist
			}
			return code, nil
		},
		Assume: func(role, function string) (lambda.Credentials, error) {
			if role != "role" {
				return lambda.Credentials{}, errors.New("no such role")
			}
			return lambda.Credentials{AccessKeyID: "id of " + function, SecretAccessKey: "secret", SessionToken: "token"}, nil
		},
		Environment: func() ([]string, error) { return []string{"AWS_ENDPOINT_URL=http://endpoint"}, nil },
		Log: func(_, group, _, line string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lines = append(s.lines, group+": "+line)
		},
	})
	return s
}

// count returns how many log lines contain a text.
func (s *service) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(strings.Join(s.lines, "\n"), text)
}

func archive(t testing.TB, name string, mode fs.FileMode, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	header := &zip.FileHeader{Name: name, Method: zip.Store}
	header.SetMode(mode)
	w, err := z.CreateHeader(header)
	check(t, err)
	_, err = w.Write(content)
	check(t, err)
	check(t, z.Close())
	return b.Bytes()
}

// own is the code of a function that is this program.
var own = sync.OnceValue(func() []byte {
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		panic(err)
	}
	return content
})

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func describe(handler string) lambda.Function {
	return lambda.Function{
		Name: "check", Role: "role", Runtime: lambda.Runtime, Handler: handler, Architecture: lambda.Architecture(),
		Bucket: "assets", Key: "code.zip", Timeout: 20 * time.Second, Environment: map[string]string{"OWN": "value"},
	}
}

func TestAFunctionRunsAsItsRoleAndKnowsNothingElse(t *testing.T) {
	t.Setenv("SECRET_OF_THE_ENDPOINT", "x")
	s := start(t, archive(t, "bootstrap", 0o755, own()))
	f, err := s.Create(describe("echo"))
	check(t, err)
	answer, err := s.Invoke(t.Context(), f.ARN, []byte(`{"n":42}`))
	check(t, err)
	var got struct {
		Event       float64
		ARN         string
		Left        float64
		Environment []string
	}
	check(t, json.Unmarshal(answer, &got))
	if got.Event != 42 || got.ARN != f.ARN || got.Left < 1 || got.Left > 20 {
		t.Errorf("the function saw %+v", got)
	}
	all := "\n" + strings.Join(got.Environment, "\n") + "\n"
	for _, want := range []string{
		"AWS_ACCESS_KEY_ID=id of check", "AWS_SESSION_TOKEN=token", "AWS_REGION=us-east-1", "AWS_ENDPOINT_URL=http://endpoint",
		"AWS_LAMBDA_FUNCTION_NAME=check", "AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/check", "OWN=value", "_HANDLER=echo",
	} {
		if !strings.Contains(all, "\n"+want+"\n") {
			t.Errorf("%s is not in the environment:%s", want, all)
		}
	}
	if strings.Contains(all, "SECRET_OF_THE_ENDPOINT") {
		t.Error("the function sees the endpoint's environment")
	}
	for _, line := range []string{"START RequestId", "event 42", "END RequestId", "REPORT RequestId"} {
		if s.count("/aws/lambda/check: "+line) != 1 {
			t.Errorf("%q is not in the log: %q", line, s.lines)
		}
	}
}

func TestFailuresOfAFunctionAreNamed(t *testing.T) {
	t.Parallel()
	code := archive(t, "bootstrap", 0o755, own())
	for _, c := range []struct{ handler, kind, says string }{
		{"error", "errorString", "out of order"},
		{"panic", "string", "out of control"},
		{"exit", "Runtime.ExitError", "exit status 7"},
		{"deaf", "Sandbox.Timedout", "Task timed out after 1.00 seconds"},
	} {
		t.Run(c.handler, func(t *testing.T) {
			t.Parallel()
			s := start(t, code)
			f := describe(c.handler)
			if c.handler == "deaf" {
				f.Timeout = time.Second
			}
			_, err := s.Create(f)
			check(t, err)
			_, err = s.Invoke(t.Context(), f.Name, []byte(`{}`))
			failed, ok := errors.AsType[*lambda.FunctionError](err)
			if !ok || failed.Type != c.kind || !strings.Contains(failed.Message, c.says) {
				t.Errorf("the invocation ended with %#v", err)
			}
			if s.count(c.says) == 0 {
				t.Errorf("%q is not in the log: %q", c.says, s.lines)
			}
		})
	}
}

func TestAFunctionThatRunsOutOfTimeIsKilled(t *testing.T) {
	t.Parallel()
	s := start(t, archive(t, "bootstrap", 0o755, own()))
	f := describe("deaf")
	f.Timeout = time.Second
	_, err := s.Create(f)
	check(t, err)
	if _, err := s.Invoke(t.Context(), f.Name, []byte(`{}`)); err == nil {
		t.Fatal("the invocation succeeded")
	}
	pid := 0
	for _, line := range s.lines {
		_, _ = fmt.Sscanf(line, "/aws/lambda/check: pid %d", &pid)
	}
	if pid == 0 {
		t.Fatalf("the function did not tell its process: %q", s.lines)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
}

func TestAnAsynchronousInvocationIsTriedThreeTimesWithOneID(t *testing.T) {
	t.Parallel()
	s := start(t, archive(t, "bootstrap", 0o755, own()))
	_, err := s.Create(describe("error"))
	check(t, err)
	if err := s.InvokeAsync(t.Context(), "check", []byte(`{"n":1}`)); err == nil {
		t.Fatal("the invocation succeeded")
	}
	ids := map[string]int{}
	for _, line := range s.lines {
		if _, id, ok := strings.Cut(line, ": event 1 "); ok {
			ids[id]++
		}
	}
	for id, n := range ids {
		if len(ids) != 1 || n != 3 {
			t.Errorf("%d attempts with id %s, of %d ids", n, id, len(ids))
		}
	}
	if len(ids) == 0 {
		t.Errorf("no attempt: %q", s.lines)
	}
}

func TestWhatCannotRunIsRefused(t *testing.T) {
	t.Parallel()
	good := archive(t, "bootstrap", 0o755, []byte("program"))
	for _, c := range []struct {
		claim  string
		code   []byte
		change func(*lambda.Function)
		says   string
	}{
		{"no code", good, func(f *lambda.Function) { f.Key = "other" }, "GetObject"},
		{"no archive", []byte("program"), func(*lambda.Function) {}, "Could not unzip"},
		{"no program", archive(t, "main", 0o755, nil), func(*lambda.Function) {}, "no executable file bootstrap"},
		{"a program that is not executable", archive(t, "bootstrap", 0o644, nil), func(*lambda.Function) {}, "no executable file bootstrap"},
		{"another runtime", good, func(f *lambda.Function) { f.Runtime = "nodejs22.x" }, "nodejs22.x"},
		{"another architecture", good, func(f *lambda.Function) { f.Architecture = "riscv" }, "riscv"},
		{"a role that does not trust Lambda", good, func(f *lambda.Function) { f.Role = "other" }, "cannot be assumed"},
		{"a quarter of an hour and more", good, func(f *lambda.Function) { f.Timeout = 901 * time.Second }, "15m1s"},
		{"a name with a slash", good, func(f *lambda.Function) { f.Name = "a/b" }, "a/b"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			f := describe("echo")
			c.change(&f)
			_, err := start(t, c.code).Create(f)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("creating it ended with %v", err)
			}
		})
	}
}

func TestCodeStaysInItsFolder(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"bootstrap", "../escaped"} {
		header := &zip.FileHeader{Name: name}
		header.SetMode(0o755)
		_, err := z.CreateHeader(header)
		check(t, err)
	}
	check(t, z.Close())
	s := start(t, b.Bytes())
	_, err := s.Create(describe("echo"))
	check(t, err)
	if _, err := s.Invoke(t.Context(), "check", nil); err == nil || !strings.Contains(err.Error(), "../escaped") {
		t.Errorf("the invocation ended with %v", err)
	}
}
