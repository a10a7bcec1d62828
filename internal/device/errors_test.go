package device_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/await"
	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
)

// serve runs a broker that does with each connection what a test says, and
// returns its address.
func serve(t *testing.T, handle func(socket net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			socket, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer socket.Close()
				handle(socket)
			}()
		}
	}()
	return l.Addr().String()
}

// answer is a handler that reads CONNECT over TLS, writes bytes and closes.
func answer(cfg *tls.Config, bytes ...byte) func(net.Conn) {
	return func(socket net.Conn) {
		c := tls.Server(socket, cfg)
		if _, err := packets.ReadPacket(c); err == nil {
			c.Write(bytes)
		}
		c.Close()
	}
}

// silent is a handler that reads and never answers.
func silent(socket net.Conn) { io.Copy(io.Discard, socket) }

// failure is what a user must be told of an error.
type failure struct {
	reason     device.Reason
	text, hint string
}

func wantFailure(t *testing.T, err error, want failure) {
	t.Helper()
	var e *device.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *device.Error", err)
	}
	if e.Reason != want.reason {
		t.Errorf("reason %q, want %q", e.Reason, want.reason)
	}
	if !strings.Contains(err.Error(), want.text) {
		t.Errorf("error %q, want %q in it", err, want.text)
	}
	if hint := cli.Hint(err); want.hint == "" || !strings.Contains(hint, want.hint) {
		t.Errorf("hint %q, want %q in it", hint, want.hint)
	}
}

func TestConnectErrors(t *testing.T) {
	t.Parallel()
	pki, strangers := brokertest.NewPKI(t), brokertest.NewPKI(t)
	server := pki.ServerTLS(t)
	with := func(change func(c *tls.Config)) *tls.Config {
		c := server.Clone()
		change(c)
		return c
	}
	issued := func(change func(c *x509.Certificate)) *tls.Config {
		cert, err := tls.LoadX509KeyPair(pki.Issue(t, "broker", change))
		if err != nil {
			t.Fatal(err)
		}
		return with(func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
	}
	forStrangers := with(func(c *tls.Config) { c.ClientCAs = strangers.Pool })
	judging := with(func(c *tls.Config) {
		c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("inactive") }
	})
	oldTLS := func(c *tls.Config) *tls.Config {
		c = c.Clone()
		c.MaxVersion = tls.VersionTLS12
		return c
	}
	tests := []struct {
		name   string
		handle func(net.Conn)
		want   failure
	}{
		{
			"a broker whose CA is another one is not trusted",
			answer(strangers.ServerTLS(t)),
			failure{device.ServerUntrusted, "certificate signed by unknown authority", "AmazonRootCA1.pem"},
		},
		{
			"a broker whose certificate names another host is not trusted",
			answer(issued(func(c *x509.Certificate) { c.IPAddresses = nil })),
			failure{device.ServerUntrusted, "127.0.0.1", "describe-endpoint"},
		},
		{
			"a broker whose certificate has expired is not trusted",
			answer(issued(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })),
			failure{device.ServerUntrusted, "certificate has expired", "clock"},
		},
		{
			"a port without TLS is named as such",
			func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); silent(c) },
			failure{device.TLSFailed, "does not speak TLS", "8883"},
		},
		{
			"a close in the TLS handshake",
			func(c net.Conn) { c.Read(make([]byte, 1)) },
			failure{device.TLSFailed, "closed by the other side in the TLS handshake", "check endpoint and port"},
		},
		{
			"a broker that knows old TLS only",
			answer(with(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })),
			failure{device.TLSFailed, "protocol version", "TLS 1.2 or 1.3"},
		},
		{
			"TLS 1.3: a certificate of an authority that the broker does not know",
			answer(forStrangers),
			failure{device.CertificateRefused, "refused the client certificate: tls: unknown certificate authority", "ACTIVE"},
		},
		{
			"TLS 1.2: the same",
			answer(oldTLS(forStrangers)),
			failure{device.CertificateRefused, "refused the client certificate: tls: unknown certificate authority", "ACTIVE"},
		},
		{
			"TLS 1.3: a certificate that the broker knows and refuses",
			answer(judging),
			failure{device.CertificateRefused, "refused the client certificate: tls: bad certificate", "ACTIVE"},
		},
		{
			"TLS 1.2: the same",
			answer(oldTLS(judging)),
			failure{device.CertificateRefused, "refused the client certificate: tls: bad certificate", "ACTIVE"},
		},
		{
			"return code 1",
			answer(server, 0x20, 2, 0, 1),
			failure{device.ConnectRefused, "it does not take MQTT 3.1.1 (return code 1)", "MQTT 3.1.1"},
		},
		{
			"return code 2",
			answer(server, 0x20, 2, 0, 2),
			failure{device.ConnectRefused, `it does not allow the client ID "lwtThing" (return code 2)`, "128 bytes"},
		},
		{
			"return code 3",
			answer(server, 0x20, 2, 0, 3),
			failure{device.ConnectRefused, "its MQTT service is unavailable (return code 3)", "one connection a second"},
		},
		{
			"return code 4",
			answer(server, 0x20, 2, 0, 4),
			failure{device.ConnectRefused, "user name or password malformed (return code 4)", "client certificates"},
		},
		{
			"return code 5",
			answer(server, 0x20, 2, 0, 5),
			failure{device.ConnectRefused, "not authorized to connect (return code 5)", "iot:Connect on client/lwtThing"},
		},
		{
			"a return code outside of the table",
			answer(server, 0x20, 2, 0, 6),
			failure{device.ConnectRefused, "it does not say why in terms of MQTT 3.1.1 (return code 6)", "MQTT 3.1.1"},
		},
		{
			"a close instead of a CONNACK, as AWS IoT Core does",
			answer(server),
			failure{device.ConnectClosed, "closed the connection without answering CONNECT", "iot:Publish on topic//last/will/topic"},
		},
		{
			"a reset instead of a CONNACK",
			func(socket net.Conn) {
				packets.ReadPacket(tls.Server(socket, server))
				socket.(*net.TCPConn).SetLinger(0)
			},
			failure{device.ConnectClosed, "closed the connection without answering CONNECT", "iot:Connect on client/lwtThing"},
		},
		{
			"an answer that is no CONNACK",
			answer(server, 0xd0, 0),
			failure{device.ConnectClosed, "no valid answer to CONNECT", "MQTT broker"},
		},
		{
			"an answer that is no MQTT",
			answer(server, []byte("HTTP/1.1 400 Bad Request\r\n\r\n")...),
			failure{device.ConnectClosed, "no valid answer to CONNECT", "MQTT broker"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := device.Connect(t.Context(), config(t, pki, serve(t, tt.handle)))
			wantFailure(t, err, tt.want)
		})
	}
}

func TestWebSocketErrors(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	server := pki.ServerTLS(t)
	server.ClientAuth = tls.NoClientCert
	valid := credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")
	say := func(text string) func(net.Conn) {
		return func(socket net.Conn) {
			c := tls.Server(socket, server)
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				io.WriteString(c, text)
			}
			c.Close()
		}
	}
	tests := []struct {
		name   string
		handle func(net.Conn)
		from   aws.CredentialsProvider
		want   failure
	}{
		{
			"credentials that AWS does not take", say("HTTP/1.1 403 Forbidden\r\nContent-Length: 12\r\n\r\nnot\nyou here"), valid,
			failure{device.WebSocketRefused, "the broker refused the WebSocket request: 403 Forbidden not you here", "AWS_REGION"},
		},
		{
			"a close instead of an answer", say(""), valid,
			failure{device.WebSocketRefused, "no answer to the WebSocket request", "443"},
		},
		{
			"credentials that are not there", func(c net.Conn) { tls.Server(c, server).Handshake() }, aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New("nowhere") }),
			failure{device.BadCredentials, "no AWS credentials: nowhere", "AWS_PROFILE"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := device.Config{Endpoint: serve(t, tt.handle), Roots: pki.Pool, Credentials: tt.from, Region: "us-east-1", ClientID: "lwtThing"}
			_, err := device.Connect(t.Context(), cfg)
			wantFailure(t, err, tt.want)
		})
	}
}

func TestUnreachableEndpoints(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	tests := []struct {
		name, endpoint string
		want           failure
	}{
		{"a port where nothing listens", l.Addr().String(), failure{device.Unreachable, "nothing listens there", "local endpoint"}},
		{"a name that does not resolve", "no..such.host", failure{device.NameNotFound, `the name "no..such.host" cannot be resolved`, "spelling"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := device.Connect(t.Context(), config(t, pki, tt.endpoint))
			wantFailure(t, err, tt.want)
		})
	}
}

// TestSilence lets the broker fall silent at each stage, and then ends the
// attempt by a deadline or by an interruption.
func TestSilence(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	server := pki.ServerTLS(t)
	tests := []struct {
		name, stage string
		// handle calls reached when the stage is reached.
		handle func(socket net.Conn, reached func())
	}{
		{
			"in the TLS handshake", "in the TLS handshake",
			func(socket net.Conn, reached func()) {
				socket.Read(make([]byte, 1)) // of the ClientHello
				reached()
				silent(socket)
			},
		},
		{
			"after CONNECT", "waiting for the CONNACK",
			func(socket net.Conn, reached func()) {
				c := tls.Server(socket, server)
				if _, err := packets.ReadPacket(c); err == nil {
					reached()
				}
				silent(c)
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name+", a deadline", func(t *testing.T) {
			t.Parallel()
			ctx := &ending{Context: t.Context(), done: make(chan struct{}), err: context.DeadlineExceeded}
			addr := serve(t, func(c net.Conn) { tt.handle(c, ctx.end) })
			_, err := device.Connect(ctx, config(t, pki, addr))
			wantFailure(t, err, failure{device.TimedOut, "timed out " + tt.stage, "firewall"})
		})
		t.Run(tt.name+", an interruption", func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			addr := serve(t, func(c net.Conn) { tt.handle(c, cancel) })
			_, err := device.Connect(ctx, config(t, pki, addr))
			if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "interrupted") {
				t.Errorf("got %v, want an interruption", err)
			}
		})
	}
}

// The broker that has the CONNECT has the will: only a DISCONNECT discards it.
func TestAnInterruptedConnectLeavesNoWill(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	server := pki.ServerTLS(t)
	ctx, cancel := context.WithCancel(t.Context())
	next := make(chan string, 1)
	addr := serve(t, func(socket net.Conn) {
		c := tls.Server(socket, server)
		if _, err := packets.ReadPacket(c); err != nil {
			next <- err.Error()
			return
		}
		cancel()
		p, err := packets.ReadPacket(c)
		next <- fmt.Sprintf("%T, %v", p, err)
	})
	if _, err := device.Connect(ctx, config(t, pki, addr)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want an interruption", err)
	}
	if got, want := await.Value(t, next, "the next packet"), "*packets.DisconnectPacket, <nil>"; got != want {
		t.Errorf("after CONNECT the broker got %s, want %s", got, want)
	}
}

// ending is a context whose deadline passes when a test says so.
type ending struct {
	context.Context
	done chan struct{}
	err  error
}

func (e *ending) end()                  { close(e.done) }
func (e *ending) Done() <-chan struct{} { return e.done }
func (e *ending) Err() error {
	select {
	case <-e.done:
		return e.err
	default:
		return nil
	}
}
