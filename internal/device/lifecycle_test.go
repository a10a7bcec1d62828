package device_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/await"
	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
)

var connack = []byte{0x20, 2, 0, 0}

// accept is a handler that accepts the connection and leaves the rest to next.
func accept(cfg *tls.Config, next func(c *tls.Conn)) func(net.Conn) {
	return func(socket net.Conn) {
		c := tls.Server(socket, cfg)
		if _, err := packets.ReadPacket(c); err == nil {
			c.Write(connack)
			next(c)
		}
	}
}

func TestLosses(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	server := pki.ServerTLS(t)
	tests := []struct {
		name string
		end  func(c *tls.Conn)
		text string
	}{
		{"a close", func(c *tls.Conn) { c.Close() }, "closed by the broker: EOF"},
		{"a close without goodbye", func(c *tls.Conn) { c.NetConn().Close() }, "closed by the broker"},
		{"a reset", func(c *tls.Conn) { c.NetConn().(*net.TCPConn).SetLinger(0) }, "closed by the broker: "},
		{"bytes that are no MQTT", func(c *tls.Conn) { c.Write([]byte{0xf0, 0}) }, "lost: unexpected packet Auth"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := connect(t, config(t, pki, serve(t, accept(server, tt.end))))
			await.Value(t, d.Done(), "the end of the device")
			wantFailure(t, d.Err(), failure{device.Lost, tt.text, "same client ID"})
			if _, err := d.Drop(); err != d.Err() {
				t.Errorf("Drop: got %v, want the loss", err)
			}
			if err := d.Disconnect(); err != d.Err() {
				t.Errorf("Disconnect: got %v, want the loss", err)
			}
		})
	}
}

func TestAnnounceAndSubscribeErrors(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	server := pki.ServerTLS(t)
	announce := func(ctx context.Context, d *device.Device) error { return d.Announce(ctx) }
	subscribe := func(ctx context.Context, d *device.Device) error {
		return d.Subscribe(ctx, "a/+")
	}
	tests := []struct {
		name string
		next func(c *tls.Conn)
		do   func(ctx context.Context, d *device.Device) error
		want failure
	}{
		{
			"a forbidden publish ends the connection, as on AWS",
			func(c *tls.Conn) { packets.ReadPacket(c) },
			announce,
			failure{device.PublishFailed, "publish to /lwt/connected/topic: connection to 127.0.0.1:", "iot:Publish on topic//lwt/connected/topic"},
		},
		{
			"a forbidden subscription may end it too",
			func(c *tls.Conn) { packets.ReadPacket(c) },
			subscribe,
			failure{device.SubscribeFailed, "subscribe to a/+: connection to 127.0.0.1:", "iot:Subscribe on topicfilter/a/+"},
		},
		{
			"a refused subscription is not taken for an accepted one",
			func(c *tls.Conn) {
				p, _ := packets.ReadPacket(c)
				id := p.Details().MessageID
				c.Write([]byte{0x90, 3, byte(id >> 8), byte(id), 0x80})
				silent(c)
			},
			subscribe,
			failure{device.SubscribeFailed, "subscribe to a/+: the broker refused it in the SUBACK", "iot:Subscribe on topicfilter/a/+"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := connect(t, config(t, pki, serve(t, accept(server, tt.next))))
			wantFailure(t, tt.do(t.Context(), d), tt.want)
			d.Drop()
		})
	}
}

func TestAnInterruptedAnnounceCanStillDisconnect(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	ctx, cancel := context.WithCancel(t.Context())
	last := make(chan packets.ControlPacket, 1)
	d := connect(t, config(t, pki, serve(t, accept(pki.ServerTLS(t), func(c *tls.Conn) {
		packets.ReadPacket(c) // PUBLISH, never acknowledged
		cancel()
		p, _ := packets.ReadPacket(c)
		last <- p
	}))))
	if err := d.Announce(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want an interruption", err)
	}
	if err := d.Disconnect(); err != nil {
		t.Error(err)
	}
	if p := await.Value(t, last, "the last packet"); p.(*packets.DisconnectPacket) == nil {
		t.Errorf("got %v, want DISCONNECT", p)
	}
}

// TestLastBytes looks at the socket's own bytes from the CONNACK to its end.
func TestLastBytes(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	server := pki.ServerTLS(t)
	tests := []struct {
		name string
		end  func(d *device.Device) error
		want []byte // beneath TLS
		raw  bool   // whether any byte came
	}{
		{"a drop sends nothing, neither DISCONNECT nor close_notify, and then FIN", drop, nil, false},
		{"a DISCONNECT is the last packet", (*device.Device).Disconnect, []byte{0xe0, 0}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			type end struct {
				packets []byte
				err     error
				raw     int
			}
			ended := make(chan end, 1)
			d := connect(t, config(t, pki, serve(t, func(socket net.Conn) {
				counted := &counter{Conn: socket}
				accept(server, func(c *tls.Conn) {
					before := counted.read
					got, err := io.ReadAll(c)
					ended <- end{got, err, counted.read - before}
				})(counted)
			})))
			if err := tt.end(d); err != nil {
				t.Fatal(err)
			}
			got := await.Value(t, ended, "the end of the connection")
			// A reset would show as an error; ReadAll takes FIN for the end.
			if got.err != nil || !bytes.Equal(got.packets, tt.want) || (got.raw > 0) != tt.raw {
				t.Errorf("got %x, %d bytes on the wire, %v; want %x", got.packets, got.raw, got.err, tt.want)
			}
		})
	}
}

func drop(d *device.Device) error {
	_, err := d.Drop()
	return err
}

// counter counts the bytes read from a connection.
type counter struct {
	net.Conn
	read int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read += n
	return n, err
}

func TestADeviceLeavesOnce(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	_, addr := brokertest.StartMochi(t, pki, &brokertest.AllowAll{})
	before := time.Now()
	d := connect(t, config(t, pki, addr))
	if err := d.Err(); err != nil {
		t.Errorf("connected: %v", err)
	}
	at, err := d.Drop()
	if err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("Drop: %v, %v", at, err)
	}
	await.Value(t, d.Done(), "the end of the device")
	if err := d.Err(); err != nil {
		t.Errorf("a drop is no loss: %v", err)
	}
	const left = "the device has already left"
	if _, err := d.Drop(); err == nil || err.Error() != left {
		t.Errorf("Drop again: %v", err)
	}
	if err := d.Disconnect(); err == nil || err.Error() != left {
		t.Errorf("Disconnect after Drop: %v", err)
	}
	if err := d.Announce(t.Context()); err == nil || !strings.Contains(err.Error(), left) {
		t.Errorf("Announce after Drop: %v", err)
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	server := pki.ServerTLS(t)
	_, addr := brokertest.StartMochi(t, pki, &brokertest.AllowAll{})
	closing := serve(t, accept(server, func(*tls.Conn) {}))
	refusing := serve(t, answer(server, 0x20, 2, 0, 5))
	live := func(end func(d *device.Device) error) func(*testing.T, device.Config) {
		return func(t *testing.T, cfg device.Config) {
			cfg.Endpoint = addr
			d := connect(t, cfg)
			if err := errors.Join(d.Subscribe(t.Context(), "#"), d.Announce(t.Context()), end(d)); err != nil {
				t.Error(err)
			}
		}
	}
	tests := []struct {
		name string
		do   func(t *testing.T, cfg device.Config)
	}{
		{"after a drop", live(drop)},
		{"after a DISCONNECT", live((*device.Device).Disconnect)},
		{"after a loss", func(t *testing.T, cfg device.Config) {
			cfg.Endpoint = closing
			await.Value(t, connect(t, cfg).Done(), "the end of the device")
		}},
		{"after a refusal", func(t *testing.T, cfg device.Config) {
			cfg.Endpoint = refusing
			if _, err := device.Connect(t.Context(), cfg); err == nil {
				t.Error("connected")
			}
		}},
		{"after many drops at once", func(t *testing.T, cfg device.Config) {
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					mine := cfg
					mine.ClientID = string(rune('A' + i))
					live(drop)(t, mine)
				})
			}
			all.Wait()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, pki, "")
			cfg.ClientID = tt.name
			// Goroutines inherit the label, whoever starts them.
			pprof.Do(t.Context(), pprof.Labels("leak", tt.name), func(context.Context) { tt.do(t, cfg) })
			wantNoGoroutine(t, tt.name)
		})
	}
}

// wantNoGoroutine waits until no goroutine carries the label; the last ones of a
// device are on their way out when it says that it has ended.
func wantNoGoroutine(t *testing.T, label string) {
	t.Helper()
	for giveUp := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
		var profile bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(profile.String(), `"leak":"`+label+`"`) {
			return
		}
		if time.Now().After(giveUp) {
			t.Fatalf("goroutines are left:\n%s", profile.String())
		}
	}
}

func TestTheBrokerHearsTheHostName(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	names := make(chan string, 1)
	server := pki.ServerTLS(t)
	server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- hello.ServerName
		return nil, nil
	}
	addr := serve(t, accept(server, func(c *tls.Conn) { silent(c) }))
	cfg := config(t, pki, strings.Replace(addr, "127.0.0.1", "localhost", 1))
	if err := drop(connect(t, cfg)); err != nil {
		t.Fatal(err)
	}
	if got := await.Value(t, names, "the server name of the handshake"); got != "localhost" {
		t.Errorf("SNI %q, want localhost", got)
	}
}

func TestAWillIsWhatTheConfigurationSays(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	broker := brokertest.StartMosquitto(t, pki)
	peer := brokertest.NewPeer(t, pki, broker.Addr)
	cfg := config(t, pki, broker.Addr)
	cfg.Will = device.Message{Topic: "devices/d1/will", Payload: []byte("gone"), QoS: 1, Retain: true}
	d := connect(t, cfg)
	if err := drop(d); err != nil {
		t.Fatal(err)
	}
	broker.Log.Await(t, "Client lwtThing closed its connection")
	// Only a retained message reaches a subscription that comes after it.
	want := brokertest.Seen{Topic: "devices/d1/will", Payload: "gone", QoS: 1, Retain: 1}
	if got := peer.Observe(t, "devices/#").Next(t); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestConfigRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(c *device.Config)
		err    string
	}{
		{"no client ID", func(c *device.Config) { c.ClientID = "" }, "client ID is empty: give the thing's name"},
		{"parts of a second", func(c *device.Config) { c.KeepAlive = 1500 * time.Millisecond }, "keep alive of 1.5s: give whole seconds from 1s to 65535s"},
		{"more than CONNECT can say", func(c *device.Config) { c.KeepAlive = 65536 * time.Second }, "keep alive of 18h12m16s: give whole seconds from 1s to 65535s"},
		{"a QoS that is none", func(c *device.Config) { c.Will = device.Message{Topic: "t", QoS: 3} }, "will QoS 3: give 0 or 1 (AWS IoT Core refuses 2)"},
		{
			"WebSocket in a region that nobody names",
			func(c *device.Config) {
				c.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, nil })
			},
			`the AWS region is not known and not in the endpoint "127.0.0.1:1": set AWS_REGION`,
		},
		{"no endpoint", func(c *device.Config) { c.Endpoint = "" }, `endpoint is empty: give the host name that "aws iot describe-endpoint --endpoint-type iot:Data-ATS" prints`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := device.Config{Endpoint: "127.0.0.1:1", ClientID: "lwtThing"}
			tt.change(&cfg)
			if _, err := device.Connect(t.Context(), cfg); err == nil || err.Error() != tt.err {
				t.Errorf("got %v, want %s", err, tt.err)
			}
		})
	}
}
