package localaws_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lastwill/internal/localaws"
)

// restart starts an endpoint that keeps its state in a folder; it ends with the test.
func restart(t testing.TB, data, files string) *cloud {
	t.Helper()
	c := &cloud{events: newRecorder(), dir: files}
	server, err := localaws.Start(localaws.Options{DataDir: data, ObserveIoT: c.events.Record, ConnectInterval: -1})
	check(t, err)
	c.Server = server
	t.Cleanup(func() { check(t, server.Close(deadline(t))) })
	return c
}

// copyDir copies what is on the disk at this moment: what a crash would leave.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	check(t, os.CopyFS(to, os.DirFS(from)))
	return to
}

func TestARestartKeepsWhatWasDeployed(t *testing.T) {
	t.Parallel()
	data, files := t.TempDir(), t.TempDir()
	before := restart(t, data, files)
	stack := before.deploy(t)
	before.confirm(t)
	device := before.thing(t, stack)
	check(t, before.Close(deadline(t)))

	after := restart(t, data, files)
	after.mails = len(after.Mailbox.List())
	if after.mails != 1 {
		t.Errorf("%d mails are left of one", after.mails)
	}
	again, err := after.CloudFormation.Describe(stack.Name)
	check(t, err)
	if again.ID != stack.ID || len(again.Resources) != len(stack.Resources) || again.Output("RuleName") != stack.Output("RuleName") {
		t.Errorf("the stack is %+v", again)
	}
	// The old certificate, the old root CA, the confirmed subscription and the
	// rule's role must all still work together.
	client := connect(t, after.device(device))
	if _, err := client.Drop(); err != nil {
		t.Fatal(err)
	}
	if got := after.nextMail(t); !strings.Contains(got.Body, `"client_id":"lwtThing"`) {
		t.Errorf("the mail is %q", got.Body)
	}
	after.destroy(t, again)
	if left := after.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A crash may come at any time: what a caller was told is done must be there.
func TestACrashLosesNothingThatWasDone(t *testing.T) {
	t.Parallel()
	data, files := t.TempDir(), t.TempDir()
	c := restart(t, data, files)
	stack := c.deploy(t)
	c.confirm(t)
	crashed := restart(t, copyDir(t, data), files)
	subscriptions, err := crashed.SNS.ListSubscriptionsByTopic(stack.Output("SNSTopicArn"))
	check(t, err)
	if len(subscriptions) != 1 || subscriptions[0].ARN == "PendingConfirmation" {
		t.Errorf("the confirmation is lost: %+v", subscriptions)
	}
}

// A retained message is what the next subscriber gets, whoever restarted what in
// between.
func TestRetainedMessagesOutliveTheProcess(t *testing.T) {
	t.Parallel()
	data, files := t.TempDir(), t.TempDir()
	before := restart(t, data, files)
	check(t, before.IoT.Publish(deadline(t), "devices/a", []byte("kept"), 1, true))
	check(t, before.IoT.Publish(deadline(t), "devices/b", []byte("gone"), 0, true))
	check(t, before.IoT.Publish(deadline(t), "devices/b", nil, 0, true))
	check(t, before.Close(deadline(t)))
	after := restart(t, data, files)
	kept := after.IoT.ListRetainedMessages()
	if len(kept) != 1 || kept[0].Topic != "devices/a" || string(kept[0].Payload) != "kept" || kept[0].QoS != 1 || kept[0].LastModified.IsZero() {
		t.Fatalf("the retained messages are %+v", kept)
	}
	got := after.observer(t, "devices/a").Next(t)
	if got.Topic != "devices/a" || got.Payload != "kept" {
		t.Errorf("a subscriber gets %+v", got)
	}
}

func TestASavedStateThatCannotBeReadIsNotOverwritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ claim, content, want string }{
		{"damaged", `{"Version":1,`, "is damaged"},
		{"of another version", `{"Version":99}`, "has format 99"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			file := filepath.Join(data, "state.json")
			check(t, os.WriteFile(file, []byte(c.content), 0o600))
			_, err := localaws.Start(localaws.Options{DataDir: data})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("got %v", err)
			}
			if kept, err := os.ReadFile(file); err != nil || string(kept) != c.content {
				t.Errorf("the file is now %q, %v", kept, err)
			}
		})
	}
}

func TestKeysAreTheOwnersOnly(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	c := restart(t, data, t.TempDir())
	c.deploy(t)
	check(t, c.Close(deadline(t)))
	check(t, filepath.Walk(data, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}))
	state, err := os.ReadFile(filepath.Join(data, "state.json"))
	check(t, err)
	if strings.Contains(string(state), "PRIVATE KEY") {
		t.Error("the saved state has a private key")
	}
}
