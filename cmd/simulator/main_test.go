package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
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
	cloud    *cloud
}

// commands are the scripts' own:
//
//	aws [throttled]   starts the local AWS endpoint with the thing lwtThing; sets the
//	                  environment for the AWS SDKs, and $CA, $CERT and $KEY. Unless
//	                  it is throttled, a client ID may come back at once
//	wills N           waits for N wills since the last time
//	joined            waits for the next connection to it
//	ended REASON N    waits for the end of a connection to that, for AWS's reason, and
//	                  wants N wills since the last time
//	broker            starts mosquitto with mutual TLS; sets $ENDPOINT and $PORT
//	proxy [tls]       starts an HTTP proxy that knows the broker as broker.test, or
//	                  one that is itself reached over TLS; sets $PROXY, and $PROXY_CA
//	                  to who vouches for that
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
	"aws": func(w *world, ts *testscript.TestScript, args []string) {
		w.cloud = startCloud(w, w.pki, len(args) == 0)
		for name, value := range w.cloud.environment {
			ts.Setenv(name, value)
		}
	},
	"wills": func(w *world, ts *testscript.TestScript, args []string) {
		wills, err := strconv.Atoi(args[0])
		ts.Check(err)
		w.cloud.wills(w, wills)
	},
	"joined": func(w *world, _ *testscript.TestScript, _ []string) { w.cloud.joined(w) },
	"ended": func(w *world, ts *testscript.TestScript, args []string) {
		wills, err := strconv.Atoi(args[1])
		ts.Check(err)
		if got := w.cloud.ended(w, args[0]); got != wills {
			ts.Fatalf("%d wills, want %d", got, wills)
		}
	},
	"proxy": func(w *world, ts *testscript.TestScript, args []string) {
		proxy := newProxy(w, w.broker.Addr)
		if len(args) == 0 {
			proxy.Start()
		} else {
			proxy.StartTLS()
			ts.Setenv("PROXY_CA", w.pki.File(w, "proxy.pem", "CERTIFICATE", proxy.Certificate().Raw))
		}
		ts.Setenv("PROXY", proxy.URL)
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
				"AWS_EC2_METADATA_DISABLED=true", // there is none to wait for
				"GORACE=atexit_sleep_ms=0")       // the race detector's second of patience, at each exit
			return nil
		},
	})
}

// newProxy is a proxy that leads every CONNECT to broker.test to an address.
func newProxy(t testing.TB, addr string) *httptest.Server {
	t.Helper()
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, err := net.SplitHostPort(r.Host); r.Method != http.MethodConnect || err != nil || host != "broker.test" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		broker, err := net.Dial("tcp", addr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer broker.Close()
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(client, broker)
		io.Copy(broker, client)
	}))
	t.Cleanup(proxy.Close)
	return proxy
}
