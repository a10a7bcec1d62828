package main

import (
	"fmt"
	"net"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"lastwill/internal/device/brokertest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"simulator": main})
}

// world is what a script's commands share.
type world struct {
	testing.TB
	pki      *brokertest.PKI
	broker   *brokertest.Mosquitto
	peer     *brokertest.Peer
	observer *brokertest.Observer
}

// commands are the scripts' own:
//
//	broker            starts mosquitto with mutual TLS; sets $ENDPOINT and $PORT
//	observe FILTER... subscribes mosquitto_sub
//	logged TEXT...    waits for a line of mosquitto's log with one of the texts
//	publish T TEXT    publishes with mosquitto_pub
//	takeover ID       connects mosquitto_pub with a client ID
//	saw FILE          wants the observer to have got the file's lines and no more
var commands = map[string]func(w *world, ts *testscript.TestScript, args []string){
	"broker": func(w *world, ts *testscript.TestScript, _ []string) {
		w.broker = brokertest.StartMosquitto(w, w.pki)
		w.peer = brokertest.NewPeer(w, w.pki, w.broker.Addr)
		host, port, err := net.SplitHostPort(w.broker.Addr)
		ts.Check(err)
		ts.Setenv("ENDPOINT", host)
		ts.Setenv("PORT", port)
	},
	"observe": func(w *world, _ *testscript.TestScript, args []string) {
		w.observer = w.peer.Observe(w, args...)
	},
	"logged": func(w *world, _ *testscript.TestScript, args []string) {
		w.broker.Log.Await(w, args...)
	},
	"publish": func(w *world, _ *testscript.TestScript, args []string) {
		w.peer.Publish(w, args[0], args[1])
	},
	"takeover": func(w *world, _ *testscript.TestScript, args []string) {
		w.peer.Publish(w, "takeover", "", "-i", args[0])
	},
	"saw": func(w *world, ts *testscript.TestScript, args []string) {
		var got string
		for _, s := range w.observer.Rest(w) {
			got += fmt.Sprintf("%s qos=%d retain=%d %s\n", s.Topic, s.QoS, s.Retain, s.Payload)
		}
		if want := ts.ReadFile(args[0]); got != want {
			ts.Fatalf("the observer got\n%swant\n%s", got, want)
		}
	},
}

// TestScripts runs the scripts in testdata, each with certificates of its own in
// $CA, $CERT and $KEY.
func TestScripts(t *testing.T) {
	t.Parallel()
	cmds := map[string]func(ts *testscript.TestScript, neg bool, args []string){}
	for name, command := range commands {
		cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("unsupported: ! %s", name)
			}
			command(ts.Value(world{}).(*world), ts, args)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                cmds,
		Setup: func(env *testscript.Env) error {
			w := &world{TB: env.T().(testing.TB)}
			w.pki = brokertest.NewPKI(w)
			cert, key := w.pki.Issue(w, "lwtThing")
			env.Values[world{}] = w
			env.Vars = append(env.Vars, "CA="+w.pki.CAFile, "CERT="+cert, "KEY="+key,
				"GORACE=atexit_sleep_ms=0") // the race detector's second of patience, at each exit
			return nil
		},
	})
}
