package e2e

import (
	"bytes"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
)

// An environment for a pull request is created, checked and destroyed by one
// command, also if the check fails, and at Ctrl-C whenever that comes. Killed, it
// does so when it runs again.
func TestAnEphemeralEnvironmentIsAlwaysDestroyed(t *testing.T) {
	t.Parallel()
	c := startCloud(t, filepath.Join(t.TempDir(), "data"))
	c.cdk("bootstrap", "--app", c.synth("app", "email=ops@example.com"), "aws://"+c.status.Account+"/"+c.status.Region)
	const destroyed = "pending subscription ops@example.com" // and nothing else
	for _, run := range []struct {
		claim, name string
		args        []string
		// meanwhile does something to the command while it runs. Default: nothing is done.
		meanwhile func(*ephemeral)
		code      int
		says      []string
	}{
		{"the check fails", "feature/FOO_bar", []string{"-e", "127.0.0.1:1"}, nil, 1, []string{"environment feature-FOO-bar-7b3b5e\n", "lwt: error: ", destroyed}},
		{"Ctrl-C during the deployment", "pr-1", []string{"-c", "check=true", "-c", "checkLimit=100"}, func(e *ephemeral) {
			e.await("creating CloudFormation changeset")
			e.underWay("Lastwill-pr-1")
			e.ctrlC()
		}, 1, []string{"stack Lastwill-pr-1 is CREATE_IN_PROGRESS: its destruction waits", "lwt: error: cdk deploy was interrupted", destroyed}},
		{"Ctrl-C during the check, and again during the destruction", "pr-2", nil, func(e *ephemeral) {
			e.await("identity")
			e.ctrlC()
			e.await("Lastwill-pr-2: destroying")
			e.ctrlC()
		}, 1, []string{"lwt: error: the check was interrupted", destroyed}},
		{"killed during the check", "pr-3", nil, func(e *ephemeral) {
			e.await("identity")
			check(t, e.kill(syscall.SIGKILL))
		}, -1, nil},
		{"run again after that, with what the killed check left in the way", "pr-3", nil, nil, 0, []string{"environment pr-3\n", "passed", destroyed}},
	} {
		args := append([]string{"ephemeral", "-name", run.name, "-r", c.file("ca.pem"), "-c", "email=ops@example.com", "-c", "certs=" + c.certs}, run.args...)
		synthesizing.Lock()
		e := c.startEphemeral(args...)
		if run.meanwhile != nil {
			run.meanwhile(e)
		}
		_ = e.cmd.Wait()
		synthesizing.Unlock()
		output := e.text()
		if code := e.cmd.ProcessState.ExitCode(); code != run.code {
			t.Errorf("%s: exit code %d, want %d", run.claim, code, run.code)
		}
		if strings.Contains(output, "something is left") {
			t.Errorf("%s: more than the subscription is left", run.claim)
		}
		for _, says := range run.says {
			if !strings.Contains(output, says) {
				t.Errorf("%s: %q is not in it", run.claim, says)
			}
		}
		if t.Failed() {
			t.Fatal(output)
		}
	}
}

// An ephemeral is a running lwt ephemeral, the leader of a process group as a
// shell's job is.
type ephemeral struct {
	*cloud
	mu      sync.Mutex
	out     bytes.Buffer
	changed chan struct{} // closed when there is more output
}

func (c *cloud) startEphemeral(args ...string) *ephemeral {
	c.t.Helper()
	e := &ephemeral{cloud: &cloud{t: c.t, status: c.status}, changed: make(chan struct{})}
	e.cmd, _, _ = command(c.t, program("lwt"), args...)
	e.cmd.Env = c.cdkCommand(c.t.Context()).Env
	e.cmd.Stdout, e.cmd.Stderr = e, e
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	check(c.t, e.cmd.Start())
	return e
}

func (e *ephemeral) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
	return e.out.Write(p)
}

func (e *ephemeral) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.out.String()
}

// await waits until the command has printed a text.
func (e *ephemeral) await(text string) {
	e.t.Helper()
	timeout := time.After(patience)
	for {
		e.mu.Lock()
		there, changed := strings.Contains(e.out.String(), text), e.changed
		e.mu.Unlock()
		if there {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			e.t.Fatalf("%q is not printed; there is\n%s", text, e.text())
		}
	}
}

// underWay waits until a stack is being created.
func (e *ephemeral) underWay(stack string) {
	e.t.Helper()
	client := cloudformation.NewFromConfig(e.config())
	for end := time.Now().Add(patience); ; e.turn() {
		out, err := client.DescribeStacks(e.t.Context(), &cloudformation.DescribeStacksInput{StackName: &stack})
		if err == nil && out.Stacks[0].StackStatus == "CREATE_IN_PROGRESS" {
			return
		}
		if time.Now().After(end) {
			e.t.Fatalf("stack %s is not created: %v", stack, err)
		}
	}
}

// ctrlC is what a terminal does: all of the foreground job get SIGINT.
func (e *ephemeral) ctrlC() {
	e.t.Helper()
	check(e.t, syscall.Kill(-e.cmd.Process.Pid, syscall.SIGINT))
}

func (e *ephemeral) kill(signal syscall.Signal) error { return e.cmd.Process.Signal(signal) }
