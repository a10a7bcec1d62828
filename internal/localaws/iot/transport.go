package iot

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/localaws/policy"
	"lastwill/internal/wsconn"
)

const (
	// mqttALPN is how a client says that MQTT follows, not HTTP, where one port
	// takes both (developer guide, "Device communication protocols").
	mqttALPN = "x-amzn-mqtt-ca"
	// maxRequestBytes bounds a WebSocket request. A session token has 2 KB at most.
	maxRequestBytes = 64 << 10
)

// A Signer is who signed a request for MQTT over WebSocket.
type Signer struct {
	// UserID is the unique ID of the AWS credentials.
	UserID string
	// Role is whose policies are asked. Default: the signer may do everything.
	Role policy.Identity
}

// A transport is a connection that carries MQTT: bare, from a client with a
// certificate, or in WebSocket frames, from one with AWS credentials.
type transport struct {
	net.Conn // of MQTT packets
	tls      *tls.Conn
	// signer of the WebSocket request; none with a certificate.
	signer Signer
}

// peer is the client's certificate, nil for one with AWS credentials.
func (t *transport) peer() *x509.Certificate {
	if t.signer.UserID != "" {
		return nil
	}
	return t.tls.ConnectionState().PeerCertificates[0]
}

// deviceTLS takes certificates that are registered and active. Who signed one
// does not matter: the registry knows it or not. A client that says that it
// speaks MQTT must have one; another may be about to open a WebSocket.
func (s *Service) deviceTLS() *tls.Config {
	either := s.ca.serverConfig()
	either.ClientAuth = tls.RequestClientCert
	either.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil
		}
		peer := state.PeerCertificates[0]
		_, err := s.certificateOf(peer)
		if now := time.Now(); err == nil && (now.Before(peer.NotBefore) || now.After(peer.NotAfter)) {
			err = x509.CertificateInvalidError{Cert: peer, Reason: x509.Expired}
		}
		return err
	}
	mqtt := either.Clone()
	mqtt.ClientAuth = tls.RequireAnyClientCert
	mqtt.NextProtos = []string{mqttALPN}
	either.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, mqttALPN) {
			return mqtt, nil
		}
		return nil, nil
	}
	return either
}

// open finds out what a client speaks, and returns what carries its MQTT. AWS has
// a port for MQTT and one for both; here one does for all.
func (l *listener) open(c *tls.Conn) (*transport, error) {
	if err := c.HandshakeContext(context.Background()); err != nil { // the socket has a deadline
		return nil, err
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		return nil, fmt.Errorf("nothing came: %w", err)
	}
	rest := &resumed{Conn: c, first: first}
	state := c.ConnectionState()
	if state.NegotiatedProtocol != mqttALPN && first[0] == http.MethodGet[0] { // no MQTT packet begins so
		return l.upgrade(c, rest)
	}
	if len(state.PeerCertificates) == 0 {
		return nil, errors.New("the client has no certificate")
	}
	return &transport{Conn: rest, tls: c}, nil
}

// resumed reads again what was read to find out.
type resumed struct {
	*tls.Conn
	first []byte
}

func (r *resumed) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// Close spares a client that has hung up TLS's farewell: the client would answer
// it with a reset, and with a fleet that vanishes there are thousands to say.
func (r *resumed) Close() error {
	if s, ok := r.NetConn().(*socket); ok && s.hungUp.Load() {
		return s.Close()
	}
	return r.Conn.Close()
}

// A socket knows whether its client has hung up.
type socket struct {
	net.Conn
	hungUp atomic.Bool
}

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.hungUp.Store(true)
	}
	return n, err
}

// upgrade answers a WebSocket request, whose signature must be good.
func (l *listener) upgrade(c *tls.Conn, rest net.Conn) (*transport, error) {
	r := bufio.NewReader(io.LimitReader(rest, maxRequestBytes))
	request, err := http.ReadRequest(r)
	if err != nil {
		return nil, fmt.Errorf("WebSocket request: %w", err)
	}
	w := &responder{conn: rest, r: r, refusal: http.Response{
		ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: request, Close: true,
	}}
	signer, err := l.judge(w, request)
	if err != nil {
		return nil, errors.Join(err, w.refuse())
	}
	upgrader := websocket.Upgrader{Subprotocols: subprotocols, ReadBufferSize: frameBytes, WriteBufferSize: frameBytes}
	ws, err := upgrader.Upgrade(w, request, nil)
	if err != nil {
		return nil, errors.Join(err, w.refuse())
	}
	_ = c.SetDeadline(time.Now().Add(connectTimeout)) // the library took it off
	return &transport{Conn: &closeIsDisconnect{Conn: wsconn.New(ws)}, tls: c, signer: signer}, nil
}

// subprotocols of a WebSocket: the standard's, and that of AWS's Device SDKs of
// version 1, for Python and JavaScript.
var subprotocols = []string{wsconn.Subprotocol, "mqttv3.1"}

func known(subprotocol string) bool { return slices.Contains(subprotocols, subprotocol) }

// judge returns who signed a WebSocket request, or answers with a refusal.
func (l *listener) judge(w http.ResponseWriter, r *http.Request) (signer Signer, err error) {
	status := http.StatusForbidden
	switch {
	case r.URL.Path != wsconn.Path:
		status, err = http.StatusNotFound, fmt.Errorf("there is nothing at %q: MQTT over WebSocket is at %s", r.URL.Path, wsconn.Path)
	case websocket.IsWebSocketUpgrade(r) && !slices.ContainsFunc(websocket.Subprotocols(r), known): // [MQTT-6.0.0-3]
		status, err = http.StatusBadRequest, fmt.Errorf("the WebSocket request must name the subprotocol %q", wsconn.Subprotocol)
	default:
		signer, err = l.verify(r)
	}
	if err != nil {
		http.Error(w, err.Error(), status)
		err = fmt.Errorf("WebSocket request: %w", err)
	}
	return signer, err
}

// frameBytes is for the library's buffers; devices send and get small packets.
const frameBytes = 1024

// A responder lets the WebSocket library have a connection, or answers the
// request with its refusal.
type responder struct {
	conn    net.Conn
	r       *bufio.Reader
	refusal http.Response
}

func (w *responder) Header() http.Header        { return w.refusal.Header }
func (w *responder) WriteHeader(statusCode int) { w.refusal.StatusCode = statusCode }

func (w *responder) Write(body []byte) (int, error) {
	w.refusal.Body, w.refusal.ContentLength = io.NopCloser(bytes.NewReader(bytes.Clone(body))), int64(len(body))
	return len(body), nil
}

func (w *responder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(w.r, bufio.NewWriter(w.conn)), nil
}

func (w *responder) refuse() error {
	if w.refusal.StatusCode == 0 { // the library has the connection
		return nil
	}
	return w.refusal.Write(w.conn)
}

// closeIsDisconnect takes a WebSocket's Close frame for a DISCONNECT, as AWS does
// (developer guide, "Lifecycle events", CLIENT_INITIATED_DISCONNECT).
type closeIsDisconnect struct {
	net.Conn
	rest []byte
}

func (c *closeIsDisconnect) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		n, err := c.Conn.Read(p)
		if !errors.As(err, new(*websocket.CloseError)) {
			return n, err
		}
		c.rest = []byte{packets.Disconnect << 4, 0}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
