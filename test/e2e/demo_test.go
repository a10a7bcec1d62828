package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The demo is what a newcomer sees first: it must tell a script the same facts
// that it tells a person.
func TestDemoObservesTheWholeStory(t *testing.T) {
	cmd, stdout, stderr := command(t, program("lwt"), "demo", "-json")
	// In CI the app makes no keys; the demo must bring its own.
	cmd.Env = append(cmd.Environ(), "CI=true")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	var facts struct {
		Passed bool
		Steps  []struct {
			Name string
			OK   bool
		}
		Timeline []struct {
			Event, Where, Payload string
			Milliseconds          float64
		}
		Mail struct{ To, Subject, Body string }
	}
	if err := json.Unmarshal(stdout.Bytes(), &facts); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	var steps []string
	for _, s := range facts.Steps {
		if s.OK {
			steps = append(steps, s.Name)
		}
	}
	want := []string{"synthesize", "start", "bootstrap", "deploy", "confirm", "connect", "vanish", "disconnect", "destroy"}
	if !facts.Passed || !slices.Equal(steps, want) {
		t.Errorf("passed %v with steps %v", facts.Passed, steps)
	}
	const payload = `{"state":{"reported":{"last_will":"yes","trigger_action":"on","client_id":"lwtThing"}}}`
	wantTimeline := [][3]string{
		{"connected message", "/lwt/connected/topic", `{"message": "AWS IoT Thing connected message to IoT Core"}`},
		{"socket closed", "no DISCONNECT was sent", ""},
		{"Will Message", "/last/will/topic", payload},
		{"rule matched", "lastWillRule", ""},
		{"copy", "/lwt/executed", payload},
		{"e-mail delivered", "operator@example.com", ""},
	}
	last := facts.Timeline[0].Milliseconds
	for i, moment := range facts.Timeline {
		if got := [3]string{moment.Event, moment.Where, moment.Payload}; i >= len(wantTimeline) || got != wantTimeline[i] {
			t.Errorf("moment %d of the timeline is %v", i, got)
		}
		if moment.Milliseconds < last {
			t.Errorf("%s is told out of order", moment.Event)
		}
		last = moment.Milliseconds
	}
	if len(facts.Timeline) != len(wantTimeline) {
		t.Errorf("the timeline has %d moments, want %d", len(facts.Timeline), len(wantTimeline))
	}
	if facts.Mail.To != "operator@example.com" || !strings.Contains(facts.Mail.Body, payload) {
		t.Errorf("mail is %+v", facts.Mail)
	}
}

func TestAFailedDemoNamesTheStepAndWhereToLook(t *testing.T) {
	cmd, stdout, stderr := command(t, program("lwt"), "demo")
	cmd.Dir = t.TempDir() // not the project's folder: there is no CDK CLI
	err := cmd.Run()
	if err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit %v", err)
	}
	for _, want := range []string{`lwt: error: step "synthesize" did not happen`, "run npm ci in the project's folder", "hint: "} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	if strings.Contains(stdout.String(), "passed") {
		t.Errorf("a failed demo claims to have passed:\n%s", stdout)
	}
}

func TestAnInterruptedDemoLeavesNothing(t *testing.T) {
	cmd, _, stderr := command(t, program("lwt"), "demo")
	tmp := t.TempDir()
	cmd.Env = append(cmd.Environ(), "TMPDIR="+tmp)
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for story := bufio.NewScanner(out); story.Scan(); {
		if strings.Contains(story.Text(), "Synthesizing") {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit %v", err)
	}
	if want := "lwt: error: interrupted in step \"synthesize\"\n"; stderr.String() != want {
		t.Errorf("stderr is %q, want %q", stderr, want)
	}
	if left, err := filepath.Glob(filepath.Join(tmp, "lastwill-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
