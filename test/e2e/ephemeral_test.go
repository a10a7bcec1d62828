package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// An environment for a pull request is created, checked and destroyed by one
// command, also if the check fails.
func TestAnEphemeralEnvironmentIsAlwaysDestroyed(t *testing.T) {
	t.Parallel()
	c := startCloud(t, filepath.Join(t.TempDir(), "data"))
	c.cdk("bootstrap", "--app", c.synth("app", "email=ops@example.com"), "aws://"+c.status.Account+"/"+c.status.Region)
	for _, run := range []struct {
		claim, name string
		args        []string
		code        int
		says        []string
	}{
		{"the check passes", "pr-123", nil, 0, []string{"environment pr-123\n", "passed"}},
		{"the check fails", "feature/FOO_bar", []string{"-e", "127.0.0.1:1"}, 1, []string{"environment feature-FOO-bar-7b3b5e\n", "lwt: error: "}},
	} {
		args := append([]string{"ephemeral", "-name", run.name, "-r", c.file("ca.pem"), "-c", "email=ops@example.com", "-c", "certs=" + c.certs}, run.args...)
		cmd, stdout, stderr := command(t, program("lwt"), args...)
		cmd.Env = c.cdkCommand(t.Context()).Env
		synthesizing.Lock()
		_ = cmd.Run()
		synthesizing.Unlock()
		output := stdout.String() + stderr.String()
		if code := cmd.ProcessState.ExitCode(); code != run.code {
			t.Errorf("%s: exit code %d, want %d", run.claim, code, run.code)
		}
		if strings.Contains(output, "something is left") {
			t.Errorf("%s: more than the subscription is left\n%s", run.claim, output)
		}
		for _, says := range append(run.says, "pending subscription ops@example.com") {
			if !strings.Contains(output, says) {
				t.Errorf("%s: %q is not in\n%s", run.claim, says, output)
			}
		}
	}
}
