package brokertest

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long an event may take before a test gives up on it. It only
// matters to tests that fail.
const patience = 2 * time.Minute

// maxLineBytes has room for the largest payload of AWS IoT Core, 128 KB, in
// hexadecimal.
const maxLineBytes = 300_000

// Lines are the lines that a process writes.
type Lines struct {
	c    chan string
	seen []string
}

func readLines(r io.Reader) *Lines {
	l := &Lines{c: make(chan string, 1024)}
	go func() {
		defer close(l.c)
		s := bufio.NewScanner(r)
		s.Buffer(nil, maxLineBytes)
		for s.Scan() {
			l.c <- s.Text()
		}
	}()
	return l
}

// Await returns the next line that contains one of the texts.
func (l *Lines) Await(t testing.TB, texts ...string) string {
	t.Helper()
	giveUp := time.After(patience)
	for {
		select {
		case line, ok := <-l.c:
			if !ok {
				t.Fatalf("the process ended without a line with %q; it wrote:\n%s", texts, strings.Join(l.seen, "\n"))
			}
			l.seen = append(l.seen, line)
			for _, text := range texts {
				if strings.Contains(line, text) {
					return line
				}
			}
		case <-giveUp:
			t.Fatalf("no line with %q within %s; there were:\n%s", texts, patience, strings.Join(l.seen, "\n"))
		}
	}
}

// Mosquitto is a mosquitto broker of the test's.
type Mosquitto struct {
	Addr string
	// WebSocketAddr takes MQTT over WebSocket with TLS, from anybody.
	WebSocketAddr string
	// Log is its log, complete.
	Log *Lines
}

// StartMosquitto starts a broker that wants client certificates of the authority.
func StartMosquitto(t testing.TB, p *PKI) *Mosquitto {
	t.Helper()
	cert, key := p.Issue(t, "mosquitto")
	for {
		addr, webSocketAddr := freeAddr(t), freeAddr(t)
		_, port, err := net.SplitHostPort(addr)
		check(t, err)
		_, webSocketPort, err := net.SplitHostPort(webSocketAddr)
		check(t, err)
		conf := filepath.Join(t.TempDir(), "mosquitto.conf")
		check(t, os.WriteFile(conf, fmt.Appendf(nil, `
listener %s 127.0.0.1
cafile %s
certfile %s
keyfile %s
require_certificate true
allow_anonymous true
listener %s 127.0.0.1
protocol websockets
cafile %s
certfile %s
keyfile %s
persistence false
user root
log_type all
log_dest stderr
`, port, p.CAFile, cert, key, webSocketPort, p.CAFile, cert, key), 0o600))
		m := &Mosquitto{addr, webSocketAddr, start(t, true, mosquittoPath(), "-c", conf)}
		if strings.Contains(m.Log.Await(t, " running", "Address already in use"), " running") {
			return m
		}
	}
}

// mosquittoPath finds the broker, which Debian installs outside of users' PATH.
func mosquittoPath() string {
	if path, err := exec.LookPath("mosquitto"); err == nil {
		return path
	}
	return "/usr/sbin/mosquitto"
}

// freeAddr returns a loopback address that was free a moment ago.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

// start starts a process that ends with the test and returns the lines of its
// standard error or its standard output.
func start(t testing.TB, stderr bool, name string, args ...string) *Lines {
	t.Helper()
	cmd := exec.Command(name, args...)
	pipe := cmd.StdoutPipe
	if stderr {
		pipe = cmd.StderrPipe
	}
	r, err := pipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return readLines(r)
}

// Peer is mosquitto_pub and mosquitto_sub with a certificate of their own.
type Peer struct {
	// args make them reach the broker.
	args []string
}

// NewPeer returns mosquitto's clients for a broker.
func NewPeer(t testing.TB, p *PKI, addr string) *Peer {
	t.Helper()
	cert, key := p.Issue(t, "peer")
	return PeerWith(t, addr, p.CAFile, cert, key)
}

// PeerWith returns mosquitto's clients with a certificate that the test has.
func PeerWith(t testing.TB, addr, caFile, certFile, keyFile string) *Peer {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	check(t, err)
	return &Peer{[]string{"-h", host, "-p", port, "--cafile", caFile, "--cert", certFile, "--key", keyFile}}
}

// Publish publishes a message at QoS 1. flags are more flags of mosquitto_pub.
func (p *Peer) Publish(t testing.TB, topic, payload string, flags ...string) {
	t.Helper()
	args := slices.Concat(p.args, []string{"-q", "1", "-t", topic, "-m", payload}, flags)
	if out, err := exec.Command("mosquitto_pub", args...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v: %s", err, out)
	}
}

// Seen is a message as an observer saw it.
type Seen struct {
	Topic   string
	Payload string
	QoS     int
	Retain  int
}

// Observer is a running mosquitto_sub.
type Observer struct {
	lines *Lines
	peer  *Peer
}

const markTopic = "brokertest/mark"

// Observe subscribes to topic filters at QoS 1. It returns when the broker has
// accepted the subscription.
func (p *Peer) Observe(t testing.TB, filters ...string) *Observer {
	t.Helper()
	// The payload in hexadecimal: %j would not tell text from JSON. Into a pipe
	// mosquitto_sub would keep its lines back until a page is full.
	args := append([]string{"-oL", "mosquitto_sub", "-d", "-q", "1", "-F", `{"Topic":"%t","QoS":%q,"Retain":%r,"Payload":"%x"}`, "-t", markTopic}, p.args...)
	for _, f := range filters {
		args = append(args, "-t", f)
	}
	o := &Observer{start(t, false, "stdbuf", args...), p}
	o.lines.Await(t, "Subscribed (mid: 1)")
	return o
}

// Next returns the next message.
func (o *Observer) Next(t testing.TB) Seen {
	t.Helper()
	var s Seen
	line := o.lines.Await(t, `{"Topic":`)
	check(t, json.Unmarshal([]byte(line), &s))
	payload, err := hex.DecodeString(s.Payload)
	check(t, err)
	s.Payload = string(payload)
	return s
}

// Rest publishes a mark and returns what arrived before it: everything that the
// broker had published when Rest was called, since one subscription is ordered
// (MQTT 3.1.1, 4.6).
func (o *Observer) Rest(t testing.TB) []Seen {
	t.Helper()
	o.peer.Publish(t, markTopic, "mark")
	var rest []Seen
	for {
		s := o.Next(t)
		if s.Topic == markTopic {
			return rest
		}
		rest = append(rest, s)
	}
}
