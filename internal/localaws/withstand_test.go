package localaws_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go"

	"lastwill/internal/localaws"
	cfn "lastwill/internal/localaws/cloudformation"
)

// A deployment whose function does not end, when the time to close is over: no process is
// left, and the deployment goes on after a restart.
func TestCloseEndsAFunctionThatHangs(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	c := restart(t, data, t.TempDir())
	pids := make(chan string, 3)
	var goOn atomic.Bool
	ask := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pids <- r.URL.Query().Get("pids")
		if goOn.Load() {
			w.WriteHeader(http.StatusGone)
		}
	}))
	t.Cleanup(ask.Close)
	id, err := c.CloudFormation.Create(cfn.Input{Name: "Custom", TemplateBody: c.customStack(t, "hang with a child", object{"Ask": ask.URL})})
	check(t, err)
	processes := wait(t, pids, "the function has not begun")

	closing, cancel := context.WithCancel(deadline(t))
	cancel()
	if err := c.Close(closing); err == nil || !strings.Contains(err.Error(), "stack Custom is still CREATE_IN_PROGRESS") {
		t.Errorf("Close says %v, want the stack that has not ended", err)
	}
	for text := range strings.SplitSeq(processes, ",") {
		pid, err := strconv.Atoi(text)
		check(t, err)
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) && !isZombie(pid) {
			t.Errorf("process %d is left: %v", pid, err)
		}
	}

	goOn.Store(true) // the function's next run ends
	again := restart(t, copyDir(t, data), t.TempDir())
	_, err = again.CloudFormation.Await(deadline(t), id)
	check(t, err)
}

// isZombie is true for a process that has ended, but whose parent has not asked about it.
func isZombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestDamagedStateIsNamed(t *testing.T) {
	t.Parallel()
	whole := filepath.Join(t.TempDir(), "whole")
	server, err := localaws.Start(localaws.Options{DataDir: whole})
	check(t, err)
	check(t, server.Close(deadline(t)))
	saved, err := os.ReadFile(filepath.Join(whole, "state.json"))
	check(t, err)
	for _, c := range []struct{ claim, state, says string }{
		{"an empty object", "{}", "it has no version"},
		{"null", "null", "it has no version"},
		{"nothing", "", "unexpected end"},
		{"half of it", string(saved[:len(saved)/2]), "unexpected end"},
		{"a service that is missing", strings.Replace(string(saved), `"ECR":`, `"":`, 1), "ECR is missing"},
		{"another format", strings.Replace(string(saved), `"Version":1`, `"Version":99`, 1), "it has format 99"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			check(t, os.WriteFile(filepath.Join(dir, "state.json"), []byte(c.state), 0o600))
			_, err := localaws.Start(localaws.Options{DataDir: dir})
			if err == nil || !strings.Contains(err.Error(), "state.json is damaged: ") || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("the error is %v, want %q in it", err, c.says)
			}
			if left, err := os.ReadFile(filepath.Join(dir, "state.json")); err != nil || string(left) != c.state {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

// A disk that takes nothing more: what cannot be kept is refused in the protocol's form and
// not tried again, what only reads is answered, and all goes on once there is room.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	c := restart(t, data, t.TempDir())
	requests := 0
	config := aws.Config{
		Region: localaws.Account.Region, BaseEndpoint: aws.String(c.URL()), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient: doer(func(r *http.Request) (*http.Response, error) {
			requests++
			return http.DefaultClient.Do(r)
		}),
	}
	topics, stacks := sns.NewFromConfig(config), cloudformation.NewFromConfig(config)
	create := func(name string) error {
		_, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &name})
		return err
	}
	check(t, create("before"))
	state := filepath.Join(data, "state.json")
	check(t, os.Remove(state))
	check(t, os.MkdirAll(filepath.Join(state, "full"), 0o700)) // no file can take its place

	for _, said := range []string{"it was done, but the state cannot be saved", "nothing was done: the state cannot be saved"} {
		requests = 0
		err := create("topic-" + strconv.Itoa(len(said)))
		var refusal smithy.APIError
		if !errors.As(err, &refusal) || refusal.ErrorCode() != "StateNotSaved" || !strings.HasPrefix(refusal.ErrorMessage(), said) || requests != 1 {
			t.Errorf("after %d requests the error is %v, want one request and %q", requests, err, said)
		}
	}
	if got := len(c.SNS.ListTopics()); got != 2 {
		t.Errorf("there are %d topics, want the two that were made", got)
	}
	listed, err := topics.ListTopics(t.Context(), nil)
	check(t, err)
	if len(listed.Topics) != 2 {
		t.Errorf("%d topics are listed", len(listed.Topics))
	}
	_, err = stacks.DescribeStacks(t.Context(), nil)
	check(t, err)

	check(t, os.RemoveAll(state))
	check(t, create("after"))
	if got := len(c.SNS.ListTopics()); got != 3 {
		t.Errorf("there are %d topics once there is room", got)
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// A web page whose name leads to this machine reads nothing.
func TestStatusAnswersItsOwnHostOnly(t *testing.T) {
	t.Parallel()
	c := start(t)
	for host, want := range map[string]int{"": 200, "localhost": 200, "[::1]:4566": 200, "evil.example": 403, "127.0.0.1.evil.example:4566": 403} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL()+localaws.StatusPath, nil)
		check(t, err)
		r.Host = host
		answer, err := http.DefaultClient.Do(r)
		check(t, err)
		body, err := io.ReadAll(answer.Body)
		check(t, errors.Join(err, answer.Body.Close()))
		if answer.StatusCode != want || want != 200 && strings.Contains(string(body), "BEGIN") {
			t.Errorf("for the host %q the answer is %d: %.100s", host, answer.StatusCode, body)
		}
	}
}
