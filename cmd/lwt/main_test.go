package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lastwill/internal/keypair"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/localtest"
	"lastwill/internal/will"
)

// TestMain lets scripts execute lwt itself: this test binary runs main when it
// is called by that name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lwt": main})
}

// scriptPatience is how long an event may take before a script gives up on it. It only
// matters to scripts that fail.
const scriptPatience = 2 * time.Minute

// A world is what a script's commands share: an endpoint with the scenario, if
// the script has asked for one.
type world struct {
	testing.TB
	server *localaws.Server
	events *iot.Recorder
	seen   int // events that a script has waited for
	before []string
}

// client waits for a client to connect, with an ID that begins with a text.
func (w *world) client(ctx context.Context, prefix string) (id string, err error) {
	e, next, err := w.events.Await(ctx, w.seen, func(e iot.Event) bool {
		return e.Kind == iot.Connected && strings.HasPrefix(e.ClientID, prefix)
	})
	w.seen = next
	return e.ClientID, err
}

type worldKey struct{}

// checkLeft is the name of what a killed check has left.
const checkLeft = "lwtThing-check-abcdefghij"

// scriptCommands are the scripts' own:
//
//	exits N CMD...  runs a command and wants its exit code
//	deployed        starts an endpoint with the scenario, and sets up the
//	                environment as lwt local env does
//	connected TEXT  waits for a client whose ID begins with the text
//	own FILE        writes a certificate that AWS IoT has not issued
//	disable         disables the topic rule
//	says FILE TEXT  waits until a file has a line that begins with the text
//	opens FILE PATH TEXT  gets a path of the address that a file has, and wants a text in it
//	publish T TEXT  publishes to a topic, as the account's API does
//	retain T TEXT   the same, and the message is retained
//	cut TEXT        ends the newest connection of a client whose ID begins with the text
//	meddle          leaves what a check leaves that is killed, its certificate
//	                attached to the stack's policy; adds a version to that, and
//	                a retained message
//	destroyed TEXT  destroys the stack; without a text that must succeed
//	detach          detaches all from the stack's policy
//	clean           removes what meddle made
//	unchanged       wants everything in the account as it was after deployed
var scriptCommands = map[string]func(w *world, ts *testscript.TestScript, args []string){
	"exits": func(_ *world, ts *testscript.TestScript, args []string) {
		code := 0
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			var ended *exec.ExitError
			if !errors.As(err, &ended) {
				ts.Fatalf("%v", err)
			}
			code = ended.ExitCode()
		}
		if got := strconv.Itoa(code); got != args[0] {
			ts.Fatalf("exit code %s, want %s", got, args[0])
		}
	},
	"deployed": func(w *world, ts *testscript.TestScript, _ []string) {
		w.events = iot.NewRecorder()
		w.server = localtest.Deploy(w, localaws.Options{ObserveIoT: w.events.Record})
		w.before = w.server.Leftovers()
		status := w.server.Status()
		for _, v := range append(endpointVariables(status, api.User{}), variable{"NO_PROXY", "127.0.0.1"}) {
			ts.Setenv(v.name, v.value)
		}
		ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), []byte(status.RootCA), 0o600))
		ts.Setenv("LWT_ROOT_CA", ts.MkAbs("ca.pem"))
		ts.Setenv("LWT_MQTT", status.MQTT)
		ts.Setenv("CSI", "\u009b")
		ts.Setenv("ESCAPE", "\x1b[2J") // clears a terminal
	},
	"connected": func(w *world, ts *testscript.TestScript, args []string) {
		ctx, cancel := context.WithTimeout(context.Background(), scriptPatience)
		defer cancel()
		_, err := w.client(ctx, args[0])
		ts.Check(err)
	},
	"own": func(_ *world, ts *testscript.TestScript, args []string) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(err)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	},
	"disable": func(w *world, ts *testscript.TestScript, _ []string) {
		ts.Check(w.server.IoT.SetTopicRuleDisabled(will.NewNames("").Rule, true))
	},
	"says": func(_ *world, ts *testscript.TestScript, args []string) {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for end := time.Now().Add(scriptPatience); ; <-ticker.C {
			content, err := os.ReadFile(ts.MkAbs(args[0]))
			if strings.Contains("\n"+string(content), "\n"+args[1]) {
				return
			}
			if time.Now().After(end) {
				ts.Fatalf("%s (%v) does not say %q:\n%s", args[0], err, args[1], content)
			}
		}
	},
	"opens": func(_ *world, ts *testscript.TestScript, args []string) {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		ts.Check(err)
		response, err := http.Get(regexp.MustCompile(`http://127\.0\.0\.1:\d+/`).FindString(string(content)) + args[1])
		ts.Check(err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		ts.Check(err)
		if !strings.Contains(string(body), args[2]) {
			ts.Fatalf("%s answers %s without %q:\n%s", args[1], response.Status, args[2], body)
		}
	},
	"publish": func(w *world, ts *testscript.TestScript, args []string) {
		ts.Check(w.server.IoT.Publish(context.Background(), args[0], []byte(args[1]), 1, false))
	},
	"retain": func(w *world, ts *testscript.TestScript, args []string) {
		ts.Check(w.server.IoT.Publish(context.Background(), args[0], []byte(args[1]), 1, true))
	},
	"cut": func(w *world, ts *testscript.TestScript, args []string) {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		var last string
		for {
			id, err := w.client(now, args[0])
			if err != nil {
				break
			}
			last = id
		}
		ts.Check(w.server.IoT.DeleteConnection(last, true, false))
	},
	"meddle": func(w *world, ts *testscript.TestScript, _ []string) {
		policy := w.server.IoT.ListPolicies()[0]
		_, err := w.server.IoT.CreatePolicyVersion(policy.Name, policy.Document, false)
		ts.Check(err)
		_, err = w.server.IoT.CreateThing(checkLeft, nil)
		ts.Check(err)
		csr, err := keypair.Ensure(ts.MkAbs("meddled"), checkLeft, true)
		ts.Check(err)
		certificate, err := w.server.IoT.CreateCertificateFromCSR(csr, true)
		ts.Check(err)
		ts.Check(w.server.IoT.AttachPolicy(policy.Name, certificate.ARN))
		ts.Check(w.server.IoT.AttachThingPrincipal(checkLeft, certificate.ARN))
		_, err = w.server.SQS.CreateQueue(checkLeft, nil)
		ts.Check(err)
		ts.Check(w.server.IoT.Publish(context.Background(), will.NewNames("").WillTopic, []byte("{}"), 0, true))
	},
	"destroyed": func(w *world, ts *testscript.TestScript, args []string) {
		ctx, cancel := context.WithTimeout(context.Background(), scriptPatience)
		defer cancel()
		stack, err := w.server.CloudFormation.Describe(localtest.Stack)
		ts.Check(err)
		ts.Check(w.server.CloudFormation.Delete(stack.ID))
		_, err = w.server.CloudFormation.Await(ctx, stack.ID)
		if got := fmt.Sprint(err); (args[0] == "") != (err == nil) || !regexp.MustCompile(args[0]).MatchString(got) {
			ts.Fatalf("the deletion ended with %s, want %q", got, args[0])
		}
	},
	"detach": func(w *world, ts *testscript.TestScript, _ []string) {
		policy := w.server.IoT.ListPolicies()[0]
		targets, err := w.server.IoT.ListTargetsForPolicy(policy.Name)
		ts.Check(err)
		for _, target := range targets {
			ts.Check(w.server.IoT.DetachPolicy(policy.Name, target))
		}
	},
	"clean": func(w *world, ts *testscript.TestScript, _ []string) {
		for _, c := range w.server.IoT.ListCertificates() {
			ts.Check(w.server.IoT.DetachThingPrincipal(checkLeft, c.ARN))
			ts.Check(w.server.IoT.UpdateCertificate(c.ID, "INACTIVE"))
			ts.Check(w.server.IoT.DeleteCertificate(c.ID))
		}
		ts.Check(w.server.IoT.DeleteThing(checkLeft))
		url, err := w.server.SQS.GetQueueURL(checkLeft)
		ts.Check(err)
		ts.Check(w.server.SQS.DeleteQueue(url))
		ts.Check(w.server.IoT.Publish(context.Background(), will.NewNames("").WillTopic, nil, 0, true))
	},
	"unchanged": func(w *world, ts *testscript.TestScript, _ []string) {
		if now := w.server.Leftovers(); !slices.Equal(now, w.before) {
			ts.Fatalf("after the deployment there was %q, now there is %q", w.before, now)
		}
	},
}

func TestScripts(t *testing.T) {
	t.Parallel()
	cmds := map[string]func(ts *testscript.TestScript, neg bool, args []string){}
	for name, command := range scriptCommands {
		cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("unsupported: ! %s", name)
			}
			command(ts.Value(worldKey{}).(*world), ts, args)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Cmds: cmds,
		Setup: func(env *testscript.Env) error {
			env.Values[worldKey{}] = &world{TB: env.T().(testing.TB)}
			env.Vars = append(env.Vars, "GORACE=atexit_sleep_ms=0") // the race detector's second of patience, at each exit
			return nil
		},
	})
}
