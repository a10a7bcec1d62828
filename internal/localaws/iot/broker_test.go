package iot

import (
	"bufio"
	"bytes"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"lastwill/internal/await"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/logs"
	"lastwill/internal/wsconn"
)

// patience is how long the broker may take. It only matters to tests that fail.
const patience = await.Patience

// A running is a Service whose broker takes connections, and what it told.
type running struct {
	*Service
	t testing.TB

	mu     sync.Mutex
	events []Event
	more   chan struct{} // is closed with the next event
	logs   *lockedBuffer
}

// run starts a broker that ends with the test. Clients may come back at once.
func run(t testing.TB, changes ...func(*Options)) *running {
	t.Helper()
	r := &running{t: t, more: make(chan struct{}), logs: &lockedBuffer{}}
	o := Options{
		Account: account, IAM: iam.New(account), Logs: logs.New(account), ConnectInterval: -1, Observe: r.observed,
		VerifyWebSocket: func(*http.Request) (Signer, error) { return Signer{UserID: "AIDAEXAMPLE"}, nil },
		Log:             slog.New(slog.NewTextHandler(r.logs, nil)),
	}
	for _, change := range changes {
		change(&o)
	}
	s, err := New(o)
	check(t, err)
	r.Service = s
	check(t, s.Start())
	t.Cleanup(func() { check(t, s.Close()) })
	return r
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (r *running) observed(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	close(r.more)
	r.more = make(chan struct{})
}

// await waits for an event, and says what came instead of it.
func (r *running) await(what string, is func(Event) bool) Event {
	r.t.Helper()
	timeout := time.After(patience)
	for seen := 0; ; {
		r.mu.Lock()
		events, more := r.events, r.more
		r.mu.Unlock()
		for ; seen < len(events); seen++ {
			if is(events[seen]) {
				return events[seen]
			}
		}
		select {
		case <-more:
		case <-timeout:
			r.t.Fatalf("%s did not come; there came: %s", what, told(events))
		}
	}
}

func told(events []Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\n\t%s %s %s", e.Kind, e.ClientID, e.Detail)
		if e.Message != nil {
			fmt.Fprintf(&b, " %s %.60q", e.Message.Topic, e.Message.Payload)
		}
	}
	return b.String()
}

func (r *running) refusal(says string) {
	r.t.Helper()
	r.await("a refusal that says "+says, func(e Event) bool { return e.Kind == Refused && strings.Contains(e.Detail, says) })
}

// gone waits for a client's end and returns why and how many wills it left.
func (r *running) gone(clientID string) (reason string, wills int) {
	r.t.Helper()
	reason = r.await("the end of "+clientID, func(e Event) bool { return e.Kind == Disconnected && e.ClientID == clientID }).Detail
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == Published && e.ClientID == clientID && e.Message.Will {
			wills++
		}
	}
	return reason, wills
}

func (r *running) send(topic, payload string, qos byte) {
	r.t.Helper()
	check(r.t, r.Publish(r.t.Context(), topic, []byte(payload), qos, false))
}

// allow is a statement of an IoT policy; resources are without the ARN's beginning.
func allow(action string, resources ...string) map[string]any {
	var arns []string
	for _, resource := range resources {
		arns = append(arns, account.ARN("iot", resource))
	}
	return map[string]any{"Effect": "Allow", "Action": action, "Resource": arns}
}

// certify makes an active certificate whose policy allows the statements.
func (r *running) certify(name string, statements ...map[string]any) tls.Certificate {
	r.t.Helper()
	key := ecKey(r.t, elliptic.P256())
	c, err := r.CreateCertificateFromCSR(request(r.t, key), true)
	check(r.t, err)
	document, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	check(r.t, err)
	_, err = r.CreatePolicy(name, string(document), nil)
	check(r.t, err)
	check(r.t, r.AttachPolicy(name, c.ARN))
	block, _ := pem.Decode([]byte(c.PEM))
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

// anybody is a certificate that may do everything.
func (r *running) anybody() tls.Certificate {
	return r.certify("anything", map[string]any{"Effect": "Allow", "Action": "iot:*", "Resource": "*"})
}

// A peer is a client that sends what a test tells it, right or wrong.
type peer struct {
	t testing.TB
	net.Conn
	r       *bufio.Reader
	version byte
}

// Transports of MQTT.
const (
	overTLS       = "TLS"
	overALPN      = "ALPN"
	overWebSocket = "WebSocket"
)

var transports = []string{overTLS, overALPN, overWebSocket}

func (r *running) dial(c tls.Certificate, version byte, transport string) *peer {
	r.t.Helper()
	p, err := r.tryDial(c, version, transport)
	check(r.t, err)
	return p
}

func (r *running) tryDial(c tls.Certificate, version byte, transport string) (*peer, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.RootCA())
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: "localhost"}
	var conn net.Conn
	var err error
	switch transport {
	case overWebSocket:
		dialer := websocket.Dialer{TLSClientConfig: config, Subprotocols: []string{wsconn.Subprotocol}}
		ws, answer, dialErr := dialer.Dial("wss://"+r.Address()+wsconn.Path, nil)
		if err = dialErr; err == nil {
			_ = answer.Body.Close()
			conn = wsconn.New(ws)
		}
	default:
		config.Certificates = []tls.Certificate{c}
		if transport == overALPN {
			config.NextProtos = []string{mqttALPN}
		}
		conn, err = tls.Dial("tcp", r.Address(), config)
	}
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return &peer{r.t, conn, bufio.NewReader(conn), version}, conn.SetDeadline(time.Now().Add(patience))
}

// packet is an MQTT packet of a first byte and the parts of its body.
func packet(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	out := []byte{first}
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			return append(append(out, byte(n)), body...)
		}
		out = append(out, byte(n)|0x80)
	}
}

func text(s string) []byte { return append(uint16s(len(s)), s...) }

func uint16s(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

func uint32s(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// properties are those of MQTT 5; nothing in MQTT 3.1.1.
func (p *peer) properties(parts ...[]byte) []byte {
	if p.version != mqtt5 {
		return nil
	}
	return packet(0, parts...)[1:]
}

// A hello is what a CONNECT says.
type hello struct {
	clientID            string
	persistent          bool
	willTopic, will     string // none without a topic
	willFlags           byte   // QoS and Retain
	properties, forWill [][]byte
	keepAlive           int
	level               byte   // default: that of the version
	name                string // default: MQTT
	flags               byte
	rest                []byte
}

func (p *peer) connectPacket(c hello) []byte {
	flags := c.flags
	if !c.persistent {
		flags |= 0b10
	}
	level, name := c.level, c.name
	if level == 0 {
		level = p.version
	}
	if name == "" {
		name = "MQTT"
	}
	parts := [][]byte{text(name), {level, flags}, uint16s(c.keepAlive), p.properties(c.properties...), text(c.clientID)}
	if c.willTopic != "" {
		parts[1][1] |= 0b100 | c.willFlags
		parts = append(parts, p.properties(c.forWill...), text(c.willTopic), text(c.will))
	}
	return packet(0x10, append(parts, c.rest)...)
}

// connect connects and returns the body of the CONNACK.
func (p *peer) connect(c hello) []byte {
	p.t.Helper()
	p.write(p.connectPacket(c))
	first, body, err := p.next()
	check(p.t, err)
	if first != 0x20 || body[1] != 0 {
		p.t.Fatalf("the broker answered %02x % x, want a CONNACK with 0", first, body)
	}
	return body
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	_, err := p.Write(b)
	check(p.t, err)
}

// next reads a packet.
func (p *peer) next() (first byte, body []byte, err error) {
	if first, err = p.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := readLength(p.r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(p.r, body)
	return first, body, err
}

// expect reads a packet of a kind.
func (p *peer) expect(kind byte) []byte {
	p.t.Helper()
	first, body, err := p.next()
	if err != nil {
		p.t.Fatalf("got %v, want a packet %02x", err, kind)
	}
	if first&0xF0 != kind {
		p.t.Fatalf("got a packet %02x % x, want %02x", first, body, kind)
	}
	return body
}

// ended reads until the broker has closed the connection.
func (p *peer) ended() []byte {
	p.t.Helper()
	rest, err := io.ReadAll(p.r)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatalf("the broker did not end the connection; it sent % x", rest)
	}
	return rest
}

// A filter is a topic filter with its options.
type filter struct {
	name    string
	options byte
}

func (p *peer) subscribePacket(properties [][]byte, filters ...filter) []byte {
	parts := [][]byte{uint16s(7), p.properties(properties...)}
	for _, f := range filters {
		parts = append(parts, text(f.name), []byte{f.options})
	}
	return packet(0x82, parts...)
}

// subscribe subscribes and returns the reason codes.
func (p *peer) subscribe(filters ...filter) []byte {
	p.t.Helper()
	p.write(p.subscribePacket(nil, filters...))
	body := p.expect(0x90)
	return body[len(body)-len(filters):]
}

func (p *peer) publishPacket(topic, payload string, qos, flags byte, properties ...[]byte) []byte {
	parts := [][]byte{text(topic)}
	if qos > 0 {
		parts = append(parts, uint16s(9))
	}
	return packet(0x30|qos<<1|flags, append(parts, p.properties(properties...), []byte(payload))...)
}

// A received is a PUBLISH that the broker sent.
type received struct {
	topic, payload string
	qos, id        int
	retain, dup    bool
	properties     string
}

// receive reads a PUBLISH; it acknowledges none.
func (p *peer) receive() received {
	p.t.Helper()
	got, err := p.tryReceive()
	check(p.t, err)
	return got
}

func (p *peer) tryReceive() (received, error) {
	first, body, err := p.next()
	if err != nil {
		return received{}, err
	}
	if first&0xF0 != 0x30 {
		return received{}, fmt.Errorf("got a packet %02x % x, want a PUBLISH", first, body)
	}
	got := received{qos: int(first >> 1 & 3), retain: first&1 != 0, dup: first&8 != 0}
	n := int(binary.BigEndian.Uint16(body))
	got.topic, body = string(body[2:2+n]), body[2+n:]
	if got.qos > 0 {
		got.id, body = int(binary.BigEndian.Uint16(body)), body[2:]
	}
	if p.version == mqtt5 {
		r := bytes.NewReader(body)
		n, err := readLength(r)
		if err != nil {
			return received{}, err
		}
		rest := body[len(body)-r.Len():]
		got.properties, body = string(rest[:n]), rest[n:]
	}
	got.payload = string(body)
	return got, nil
}

func (p *peer) acknowledge(got received) {
	p.t.Helper()
	p.write(packet(0x40, uint16s(got.id)))
}

// nothing asks for a PINGRESP, before which all that waits has come.
func (p *peer) nothing() {
	p.t.Helper()
	p.write([]byte{0xC0, 0})
	if first, body, err := p.next(); err != nil || first != 0xD0 {
		p.t.Errorf("got %02x %.40q %v, want nothing more", first, body, err)
	}
}

func (r *running) logged() string {
	r.logs.mu.Lock()
	defer r.logs.mu.Unlock()
	return r.logs.b.String()
}
