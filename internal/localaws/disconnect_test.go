package localaws_test

import (
	"bufio"
	"bytes"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"lastwill/internal/device"
	"lastwill/internal/will"
)

// The pair that must always hold: an ungraceful disconnect yields exactly one
// e-mail and one republished message, a client-initiated disconnect none.
func TestDisconnects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim  string
		leave  func(*testing.T, *cloud, identity)
		reason string
		alerts int
	}{
		{"our device drops its socket", func(t *testing.T, c *cloud, id identity) {
			_, err := connect(t, c.device(id)).Drop()
			check(t, err)
		}, "CONNECTION_LOST", 1},
		{"our device disconnects", func(t *testing.T, c *cloud, id identity) {
			check(t, connect(t, c.device(id)).Disconnect())
		}, "CLIENT_INITIATED_DISCONNECT", 0},
		{"paho's client loses its socket", func(t *testing.T, c *cloud, id identity) {
			_, socket := c.paho(t, id)
			check(t, socket.Close())
		}, "CONNECTION_LOST", 1},
		{"paho's client disconnects", func(t *testing.T, c *cloud, id identity) {
			client, _ := c.paho(t, id)
			client.Disconnect(uint(patience.Milliseconds()))
		}, "CLIENT_INITIATED_DISCONNECT", 0},
		{"mosquitto's client is killed", func(t *testing.T, c *cloud, id identity) {
			check(t, c.mosquittoDevice(t, id, "mqttv311").Process.Kill())
		}, "CONNECTION_LOST", 1},
		{"mosquitto's client is asked to end", func(t *testing.T, c *cloud, id identity) {
			check(t, c.mosquittoDevice(t, id, "mqttv311").Process.Signal(syscall.SIGTERM))
		}, "CLIENT_INITIATED_DISCONNECT", 0},
		{"mosquitto's client of MQTT 5 is killed", func(t *testing.T, c *cloud, id identity) {
			check(t, c.mosquittoDevice(t, id, "mqttv5").Process.Kill())
		}, "CONNECTION_LOST", 1},
		{"mosquitto's client of MQTT 5 is asked to end: it wants its will published", func(t *testing.T, c *cloud, id identity) {
			check(t, c.mosquittoDevice(t, id, "mqttv5").Process.Signal(syscall.SIGTERM)) // E0 01 04
		}, "CLIENT_INITIATED_DISCONNECT", 1},
		{"a client of MQTT 5 disconnects with an error", func(t *testing.T, c *cloud, id identity) {
			w := c.dial(t, id)
			w.connect5(id.name, 30)
			w.write(0xE0, 1, 0x80) // [MQTT-3.14.4-3]
		}, "CLIENT_INITIATED_DISCONNECT", 1},
		{"a client of MQTT 5 disconnects normally", func(t *testing.T, c *cloud, id identity) {
			w := c.dial(t, id)
			w.connect5(id.name, 30)
			w.write(0xE0, 1, 0)
		}, "CLIENT_INITIATED_DISCONNECT", 0},
		{"a client of MQTT 5 disconnects and wants its will published", func(t *testing.T, c *cloud, id identity) {
			w := c.dial(t, id)
			w.connect5(id.name, 30)
			w.write(0xE0, 2, 4, 0) // DISCONNECT, 0x04 [MQTT-3.14.2-1]
		}, "CLIENT_INITIATED_DISCONNECT", 1},
		{"a client closes the TLS session properly, without DISCONNECT", func(t *testing.T, c *cloud, id identity) {
			w := c.dial(t, id)
			w.connect(connectPacket(id.name))
			check(t, w.Close())
		}, "CONNECTION_LOST", 1},
		{"a client sends half a packet", func(t *testing.T, c *cloud, id identity) {
			w := c.dial(t, id)
			w.connect(connectPacket(id.name))
			w.write(0x30, 100, 0, 5)
			check(t, w.NetConn().Close())
		}, "CONNECTION_LOST", 1},
		{"a client sends what is no MQTT", func(t *testing.T, c *cloud, id identity) {
			w := c.dial(t, id)
			w.connect(connectPacket(id.name))
			w.write(0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF)
		}, "CLIENT_ERROR", 1},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			id := cloud.thing(t, cloud.deploy(t))
			cloud.confirm(t)
			observer := cloud.observer(t, names.WillTopic, names.ExecutedTopic)
			c.leave(t, cloud, id)
			if got := cloud.disconnected(t, id.name); got != c.reason {
				t.Errorf("disconnect reason %s, want %s", got, c.reason)
			}
			seen := map[string]int{}
			for _, s := range observer.Rest(t) {
				seen[s.Topic]++
				if s.Payload != string(will.Payload(id.name)) || s.QoS != 0 || s.Retain != 0 {
					t.Errorf("observed %+v", s)
				}
			}
			if seen[names.WillTopic] != c.alerts || seen[names.ExecutedTopic] != c.alerts {
				t.Errorf("observed %v, want %d will and %d copy", seen, c.alerts, c.alerts)
			}
			for range c.alerts {
				if m := cloud.nextMail(t); !strings.Contains(m.Body, string(will.Payload(id.name))) {
					t.Errorf("the mail does not hold the will:\n%s", m.Body)
				}
			}
			cloud.noMoreMails(t)
		})
	}
}

// paho connects paho's client without our device around it.
func (c *cloud) paho(t *testing.T, id identity) (mqtt.Client, net.Conn) {
	t.Helper()
	var socket net.Conn
	options := mqtt.NewClientOptions().AddBroker("tls://"+c.IoT.Address()).SetClientID(id.name).SetAutoReconnect(false).
		SetBinaryWill(names.WillTopic, will.Payload(id.name), 0, false).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			w := c.dial(t, id)
			socket = w.NetConn()
			return w.Conn, nil
		})
	client := mqtt.NewClient(options)
	token := client.Connect()
	token.Wait()
	check(t, token.Error())
	return client, socket
}

// mosquittoDevice is a mosquitto_sub that is connected with the scenario's will.
func (c *cloud) mosquittoDevice(t *testing.T, id identity, version string) *exec.Cmd {
	t.Helper()
	cmd := id.command(t, c, "mosquitto_sub", "-d", "-V", version, "-i", id.name, "-t", names.ConnectedTopic,
		"--will-topic", names.WillTopic, "--will-payload", string(will.Payload(id.name)))
	output, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() }) // killed or not is the test's matter
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "Subscribed") {
			return cmd
		}
	}
	t.Fatal("mosquitto_sub ended without a subscription")
	return nil
}

// A device that falls silent is noticed after 1.5 times the keep alive that AWS
// honours: 1 s counts as 30 s, so not before 45 s have passed.
func TestSilenceIsNoticed(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	id := cloud.thing(t, cloud.deploy(t))
	w := cloud.dial(t, id)
	check(t, w.SetDeadline(time.Now().Add(3*patience)))
	connected := time.Now()
	w.connect(connectPacket(id.name, func(p *packets.ConnectPacket) { p.Keepalive = 1 }))
	w.ended()
	if silence := time.Since(connected); silence < 44*time.Second {
		t.Errorf("the broker gave up after %s", silence)
	}
	if got := cloud.disconnected(t, id.name); got != "MQTT_KEEP_ALIVE_TIMEOUT" {
		t.Errorf("disconnect reason %s", got)
	}
	if n := cloud.events.Count(isWill); n != 1 {
		t.Errorf("%d wills", n)
	}
}

// An MQTT 5 client is told the keep alive that counts, if it is not the one
// that it asked for.
func TestServerKeepAlive(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	id := cloud.thing(t, cloud.deploy(t))
	for _, c := range []struct {
		asked uint16
		want  []byte // of the CONNACK
	}{
		{0, []byte{0x13, 0x04, 0xB0}},
		{1, []byte{0x13, 0, 30}},
		{29, []byte{0x13, 0, 30}},
		{1201, []byte{0x13, 0x04, 0xB0}},
	} {
		w := cloud.dial(t, id)
		if connack := w.connect5(id.name, c.asked); !bytes.Contains(connack, c.want) {
			t.Errorf("keep alive %d: CONNACK % x, want % x in it", c.asked, connack, c.want)
		}
		w.write(0xE0, 0)
	}
}

// AWS IoT Core has no Will Delay Interval: the will goes at once.
func TestWillDelayIsIgnored(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	id := cloud.thing(t, cloud.deploy(t))
	w := cloud.dial(t, id)
	w.connect5(id.name, 30, 0x18, 0, 0, 0x0E, 0x10) // Will Delay Interval: an hour
	check(t, w.NetConn().Close())
	cloud.events.await(t, 1, isWill)
}

// The properties of a will reach subscribers of MQTT 5.
func TestWillProperties(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t)
	subscriber := cloud.device(cloud.person(t, "subscriber", allow("iot:*", "*")))
	received := make(chan device.Message, 1)
	subscriber.MQTT5, subscriber.Receive = true, func(m device.Message) { received <- m }
	check(t, connect(t, subscriber).Subscribe(deadline(t), names.WillTopic))

	properties := device.Properties{
		Text: true, ContentType: "application/json", ResponseTopic: "/answers", CorrelationData: []byte{4, 2}, Expiry: time.Minute,
		User: []device.UserProperty{{Name: "site", Value: "north"}, {Name: "site", Value: "south"}},
	}
	cfg := cloud.device(cloud.thing(t, stack))
	cfg.MQTT5 = true
	cfg.Will = device.Message{Topic: names.WillTopic, Payload: will.Payload(cfg.ClientID), Properties: properties}
	_, err := connect(t, cfg).Drop()
	check(t, err)
	got := wait(t, received, "no will")
	if diff := cmp.Diff(properties, got.Properties); diff != "" {
		t.Errorf("-sent +received:\n%s", diff)
	}
}
