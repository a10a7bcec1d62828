package localaws_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/will"
)

var names = will.NewNames("")

// What a device may not do ends its connection, and its will tells so: nothing
// of the refused message is seen.
func TestForbiddenPacketsEndTheConnection(t *testing.T) {
	t.Parallel()
	qos2 := publishPacket(names.ConnectedTopic, []byte("x"), 2)
	retained := publishPacket(names.ConnectedTopic, []byte("x"), 1)
	retained.Retain = true
	for _, c := range []struct {
		claim  string
		packet packets.ControlPacket
		reason string
		says   string // the event; empty: there is none
	}{
		{"a publish to a topic that the policy does not have", publishPacket("other/topic", []byte("x"), 0), "FORBIDDEN_ACCESS", "topic/other/topic"},
		{"the same at QoS 1, which gets no PUBACK", publishPacket("other/topic", []byte("x"), 1), "FORBIDDEN_ACCESS", "topic/other/topic"},
		{"a retained publish without iot:RetainPublish", retained, "FORBIDDEN_ACCESS", "iot:RetainPublish"},
		{"a publish at QoS 2", qos2, "CLIENT_ERROR", "qos not supported"},
		{"a payload of more than 128 KB", publishPacket(names.ConnectedTopic, make([]byte, will.MaxPayloadBytes+1), 0), "CLIENT_ERROR", "131073 bytes"},
		{"a payload far beyond it", publishPacket(names.ConnectedTopic, make([]byte, 2*will.MaxPayloadBytes), 0), "CLIENT_ERROR", ""},
		{"a topic with 8 slashes", publishPacket("wide/1/2/3/4/5/6/7/8", []byte("x"), 0), "CLIENT_ERROR", "8 slashes"},
		{"a topic of 257 bytes", publishPacket("wide/"+strings.Repeat("x", 252), []byte("x"), 0), "CLIENT_ERROR", "257 bytes"},
		{"a topic with a wildcard", publishPacket("wide/#", []byte("x"), 0), "CLIENT_ERROR", "wildcards"},
		{"a reserved topic, of which nothing is here", publishPacket("$aws/things/lwtThing/shadow/update", []byte("x"), 1), "CLIENT_ERROR", "shadows"},
		{"a reserved topic that is AWS IoT's own", publishPacket("$aws/events/thing/x/created", []byte("x"), 0), "CLIENT_ERROR", "reserved"},
		{"9 filters in one SUBSCRIBE", subscribePacket("w/1", "w/2", "w/3", "w/4", "w/5", "w/6", "w/7", "w/8", "w/9"), "CLIENT_ERROR", "9 filters"},
		{"a filter with 8 slashes", subscribePacket("w/1/2/3/4/5/6/7/8"), "CLIENT_ERROR", "8 slashes"},
		{"a filter of 257 bytes", subscribePacket("w/" + strings.Repeat("x", 255)), "CLIENT_ERROR", "257 bytes"},
		{"a second CONNECT", connectPacket(will.ThingName), "CLIENT_ERROR", ""},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			stack := cloud.deploy(t, addStatement(t, allow("iot:*", "topic/wide/*", "topic/$aws/*", "topicfilter/w/*")))
			observer := cloud.observer(t, "#")
			w := cloud.dial(t, cloud.thing(t, stack))
			if code := w.connect(connectPacket(will.ThingName)); code != packets.Accepted {
				t.Fatalf("CONNACK %d", code)
			}
			_ = c.packet.Write(w) // the broker may close before it has read all of it
			if rest := w.ended(); len(rest) > 0 {
				t.Errorf("the broker answered % x", rest)
			}
			if got := cloud.disconnected(t, will.ThingName); got != c.reason {
				t.Errorf("disconnect reason %s, want %s", got, c.reason)
			}
			if c.says != "" {
				if got := cloud.refusal(t); !strings.Contains(got, c.says) {
					t.Errorf("the event says %q, want %q in it", got, c.says)
				}
			}
			if got := topics(observer.Rest(t)); got != names.WillTopic+" "+names.ExecutedTopic && got != names.ExecutedTopic+" "+names.WillTopic {
				t.Errorf("observed %q, want the will and its copy alone", got)
			}
		})
	}
}

func TestLargestMessagesPass(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t, addStatement(t, allow("iot:*", "topic/wide/*")))
	observer := cloud.observer(t, "wide/#")
	w := cloud.dial(t, cloud.thing(t, stack))
	w.connect(connectPacket(will.ThingName))
	payload := bytes.Repeat([]byte("x"), will.MaxPayloadBytes)
	for _, topic := range []string{"wide/1/2/3/4/5/6/7", "wide/" + strings.Repeat("x", 251)} {
		w.send(publishPacket(topic, payload, 1))
		if _, ok := w.receive().(*packets.PubackPacket); !ok {
			t.Fatal("no PUBACK")
		}
		if got := observer.Next(t); got.Topic != topic || got.Payload != string(payload) {
			t.Errorf("observed %d bytes on %s", len(got.Payload), got.Topic)
		}
	}
}

// Who may not connect is refused, and the events say why.
func TestRefusedConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim  string
		change func(*testing.T, *cloud, *device.Config)
		reason device.Reason
		says   string
	}{
		{"a certificate that is not registered", func(t *testing.T, c *cloud, cfg *device.Config) {
			pair, err := tls.LoadX509KeyPair(brokertest.NewPKI(t).Issue(t, will.ThingName))
			check(t, err)
			cfg.Certificate = pair
		}, device.CertificateRefused, "is not registered"},
		{"a certificate that is INACTIVE", func(t *testing.T, c *cloud, cfg *device.Config) {
			check(t, c.IoT.UpdateCertificate(c.IoT.ListCertificates()[0].ID, "INACTIVE"))
		}, device.CertificateRefused, "is INACTIVE"},
		{"a certificate that is REVOKED", func(t *testing.T, c *cloud, cfg *device.Config) {
			check(t, c.IoT.UpdateCertificate(c.IoT.ListCertificates()[0].ID, "REVOKED"))
		}, device.CertificateRefused, "is REVOKED"},
		{"a certificate without a policy", func(t *testing.T, c *cloud, cfg *device.Config) {
			id, arn := c.certify(t, "bare")
			check(t, c.IoT.AttachThingPrincipal(will.ThingName, arn))
			cfg.Certificate = id.pair
		}, device.ConnectRefused, "allows iot:Connect"},
		{"a certificate that is not attached to the thing", func(t *testing.T, c *cloud, cfg *device.Config) {
			id, arn := c.certify(t, "stray")
			check(t, c.IoT.AttachPolicy(c.IoT.ListPolicies()[0].Name, arn))
			cfg.Certificate = id.pair
		}, device.ConnectRefused, "client/lwtThing"},
		{"the client ID of another thing", func(t *testing.T, c *cloud, cfg *device.Config) {
			_, err := c.IoT.CreateThing("other", nil)
			check(t, err)
			cfg.ClientID = "other"
		}, device.ConnectRefused, "client/other"},
		{"a client ID of 129 bytes", func(t *testing.T, c *cloud, cfg *device.Config) {
			cfg.ClientID = strings.Repeat("x", 129)
		}, device.ConnectRefused, "129 bytes"},
		{"a will on a topic that the policy does not have", func(t *testing.T, c *cloud, cfg *device.Config) {
			cfg.Will = device.Message{Topic: "other/topic", Payload: []byte("x")}
		}, device.ConnectRefused, "allows iot:Publish on arn:aws:iot:us-east-1:123456789012:topic/other/topic"},
		{"a will of QoS 2", func(t *testing.T, c *cloud, cfg *device.Config) {
			cfg.Will = device.Message{Topic: names.WillTopic, Payload: []byte("x"), QoS: 2}
		}, device.ConnectRefused, "will: qos not supported"},
		{"a retained will without iot:RetainPublish", func(t *testing.T, c *cloud, cfg *device.Config) {
			cfg.Will = device.Message{Topic: names.WillTopic, Payload: []byte("x"), Retain: true}
		}, device.ConnectRefused, "allows iot:RetainPublish"},
		{"a will topic with 8 slashes", func(t *testing.T, c *cloud, cfg *device.Config) {
			cfg.Will = device.Message{Topic: "wide/1/2/3/4/5/6/7/8", Payload: []byte("x")}
		}, device.ConnectRefused, "8 slashes"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			stack := cloud.deploy(t, addStatement(t, allow("iot:Publish", "topic/wide/*")))
			cfg := cloud.device(cloud.thing(t, stack))
			c.change(t, cloud, &cfg)
			_, err := device.Connect(deadline(t), cfg)
			refused, ok := errors.AsType[*device.Error](err)
			if !ok || refused.Reason != c.reason {
				t.Errorf("got %v, want a reason %s", err, c.reason)
			}
			if got := cloud.refusal(t); !strings.Contains(got, c.says) {
				t.Errorf("the event says %q, want %q in it", got, c.says)
			}
			if n := cloud.events.Count(func(e iot.Event) bool { return e.Kind == iot.Connected || isWill(e) }); n > 0 {
				t.Errorf("a refused connection was taken for one:\n%s", cloud.events)
			}
		})
	}
}

// The refusals above, as mosquitto_pub tells them: MQTT 3.1.1 has one code for
// all, MQTT 5 tells them apart.
func TestRefusalsInBothVersions(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	id := cloud.thing(t, cloud.deploy(t))
	for _, c := range []struct {
		claim, says3, says5 string
		flags               []string
	}{
		{"another client ID", "not authorised", "Not authorized", []string{"-i", "other"}},
		{"a forbidden will", "not authorised", "Not authorized", []string{"-i", id.name, "--will-topic", "other", "--will-payload", "x"}},
		{"a will of QoS 2", "not authorised", "QoS not supported", []string{"-i", id.name, "--will-topic", names.WillTopic, "--will-payload", "x", "--will-qos", "2"}},
	} {
		for version, says := range map[string]string{"mqttv311": c.says3, "mqttv5": c.says5} {
			t.Run(c.claim+", "+version, func(t *testing.T) {
				t.Parallel()
				cmd := id.command(t, cloud, "mosquitto_pub", append(c.flags, "-V", version, "-t", names.ConnectedTopic, "-m", "x")...)
				out, err := cmd.CombinedOutput()
				if err == nil || !strings.Contains(string(out), says) {
					t.Errorf("mosquitto_pub: %v: %s, want %q in it", err, out, says)
				}
			})
		}
	}
}

func TestMQTT31IsRefused(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	id := cloud.thing(t, cloud.deploy(t))
	out, err := id.command(t, cloud, "mosquitto_pub", "-V", "mqttv31", "-i", id.name, "-t", names.ConnectedTopic, "-m", "x").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "unacceptable protocol version") {
		t.Errorf("mosquitto_pub: %v: %s", err, out)
	}
}

func TestRefusalHasOneConnack(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	w := cloud.dial(t, cloud.thing(t, cloud.deploy(t)))
	w.send(connectPacket(will.ThingName, func(p *packets.ConnectPacket) { p.WillQos = 2 }))
	if got, want := w.ended(), []byte{0x20, 2, 0, 5}; !bytes.Equal(got, want) {
		t.Errorf("the broker answered % x, want the one CONNACK % x", got, want)
	}
}

func TestRetainedWillIsAllowedByRetainPublish(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t, addStatement(t, allow("iot:RetainPublish", "topic/"+names.WillTopic)))
	cfg := cloud.device(cloud.thing(t, stack))
	cfg.Will = device.Message{Topic: names.WillTopic, Payload: []byte(`"gone"`), Retain: true}
	d := connect(t, cfg)
	_, err := d.Drop()
	check(t, err)
	cloud.disconnected(t, cfg.ClientID)
	if got := cloud.observer(t, names.WillTopic).Next(t); got.Payload != `"gone"` || got.Retain != 1 {
		t.Errorf("a late subscriber got %+v, want the retained will", got)
	}
}

// An MQTT 5 client is told why its connection ends.
func TestForbiddenPacketsHaveReasons(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim string
		topic string
		bytes int
		want  byte
	}{
		{"not authorized", "other", 1, 0x87},
		{"topic name invalid", "1/2/3/4/5/6/7/8/9", 1, 0x90},
		{"packet too large", names.ConnectedTopic, will.MaxPayloadBytes + 1, 0x95},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			id := cloud.thing(t, cloud.deploy(t))
			w := cloud.dial(t, id)
			w.connect5(id.name, 30)
			body := append([]byte{0, byte(len(c.topic))}, c.topic...)
			body = append(append(body, 0), make([]byte, c.bytes)...) // no properties
			w.write(append([]byte{0x30, byte(len(body)&0x7F | 0x80), byte(len(body)>>7&0x7F | 0x80), byte(len(body) >> 14)}, body...)...)
			if got := w.ended(); len(got) < 3 || got[0] != 0xE0 || got[2] != c.want {
				t.Errorf("the broker sent % x, want DISCONNECT with %x", got, c.want)
			}
			cloud.disconnected(t, id.name)
			if n := cloud.events.Count(isWill); n != 1 {
				t.Errorf("%d wills", n)
			}
		})
	}
}

// A device may show no certificate, or come with TLS 1.2.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	id := cloud.thing(t, cloud.deploy(t))
	for _, c := range []struct {
		claim   string
		config  *tls.Config
		refused bool
	}{
		{"TLS 1.3", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{id.pair}}, false},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{id.pair}}, false},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11, Certificates: []tls.Certificate{id.pair}}, true},
		{"ALPN", &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{id.pair}, NextProtos: []string{"x-amzn-mqtt-ca"}}, false},
		{"ALPN and no certificate", &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"x-amzn-mqtt-ca"}}, true},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			c.config.ServerName, c.config.RootCAs = "localhost", id.roots
			conn, err := tls.Dial("tcp", cloud.IoT.Address(), c.config)
			if err == nil {
				defer conn.Close()
				check(t, conn.SetDeadline(time.Now().Add(patience)))
				// In TLS 1.3 the client learns of a refusal with its first read.
				check(t, packets.NewControlPacket(packets.Pingreq).Write(conn))
				_, err = conn.Read(make([]byte, 1))
			}
			if alert := strings.Contains(fmt.Sprint(err), "remote error: tls"); alert != c.refused {
				t.Errorf("the handshake and a first packet ended with %v", err)
			}
		})
	}
}

// Without a certificate only a WebSocket request gets an answer.
func TestNoCertificate(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	id := cloud.thing(t, cloud.deploy(t))
	id.pair = tls.Certificate{}
	w := cloud.dial(t, id)
	w.send(connectPacket(id.name))
	if got := w.ended(); len(got) > 0 {
		t.Errorf("the broker answered % x", got)
	}
	if why := cloud.refusal(t); why != "the client has no certificate" {
		t.Errorf("refused because: %s", why)
	}
}

// A TLS session that is resumed is asked for its certificate's status again.
func TestResumedSessionOfAnInactiveCertificate(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t)
	id := cloud.thing(t, stack)
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: "localhost", RootCAs: id.roots, Certificates: []tls.Certificate{id.pair},
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	dial := func() (wire, error) {
		conn, err := tls.Dial("tcp", cloud.IoT.Address(), config)
		if err != nil {
			return wire{}, err
		}
		t.Cleanup(func() { _ = conn.Close() })
		check(t, conn.SetDeadline(time.Now().Add(patience)))
		return wire{t, conn}, nil
	}
	for range 2 {
		w, err := dial()
		check(t, err)
		w.connect(connectPacket(id.name)) // reading also takes the session ticket
		w.write(0xE0, 0)
	}
	check(t, cloud.IoT.UpdateCertificate(stack.Output("CertificateId"), "INACTIVE"))
	w, err := dial()
	if err == nil {
		if !w.ConnectionState().DidResume {
			t.Fatal("the session was not resumed, so this proves nothing")
		}
		_ = connectPacket(id.name).Write(w.Conn)
		_, err = w.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "remote error: tls") {
		t.Errorf("the resumed session ended with %v", err)
	}
}

// A certificate that is deactivated loses its connections, and they their wills.
func TestDeactivationEndsConnections(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"INACTIVE", "REVOKED"} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			stack := cloud.deploy(t)
			d := connect(t, cloud.device(cloud.thing(t, stack)))
			check(t, cloud.IoT.UpdateCertificate(stack.Output("CertificateId"), status))
			wait(t, d.Done(), "the connection stands")
			if got := cloud.disconnected(t, will.ThingName); got != "SERVER_INITIATED_DISCONNECT" {
				t.Errorf("disconnect reason %s", got)
			}
			if n := cloud.events.Count(isWill); n != 1 {
				t.Errorf("%d wills", n)
			}
		})
	}
}

// What a policy no longer allows is refused to connections that stand, too.
func TestPolicyOfTheMomentDecides(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t)
	d := connect(t, cloud.device(cloud.thing(t, stack)))
	check(t, d.Announce(deadline(t)))
	policy := stack.Output("PolicyName")
	narrow, err := json.Marshal(document(allow("iot:Connect", "*")))
	check(t, err)
	_, err = cloud.IoT.CreatePolicyVersion(policy, string(narrow), true)
	check(t, err)
	if err := d.Announce(deadline(t)); err == nil {
		t.Error("a publish that the new version forbids was acknowledged")
	}
	if got := cloud.disconnected(t, will.ThingName); got != "FORBIDDEN_ACCESS" {
		t.Errorf("disconnect reason %s", got)
	}
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	id := cloud.person(t, "reader", allow("iot:Connect", "*"), allow("iot:Publish", "topic/go"), allow("iot:Publish", "topic/news/*"),
		allow("iot:Subscribe", "topicfilter/news/*", "topicfilter/secret", "topicfilter/go"), allow("iot:Receive", "topic/news/*", "topic/go"))
	w := cloud.dial(t, id)
	w.connect(connectPacket("reader", func(p *packets.ConnectPacket) { p.WillFlag = false }))

	w.send(subscribePacket("news/+", "forbidden", "#", "secret", "go"))
	suback := w.receive().(*packets.SubackPacket)
	if want := []byte{1, 0x80, 0x80, 1, 1}; !bytes.Equal(suback.ReturnCodes, want) {
		t.Errorf("SUBACK % x, want % x: what the policy does not have is refused by itself", suback.ReturnCodes, want)
	}
	if got := cloud.refusal(t); !strings.Contains(got, "iot:Subscribe on arn:aws:iot:us-east-1:123456789012:topicfilter/forbidden") {
		t.Errorf("the event says %q", got)
	}
	for _, topic := range []string{"forbidden", "secret", "news/1", "go"} {
		check(t, cloud.IoT.Publish(deadline(t), topic, []byte("x"), 0, false))
	}
	for _, want := range []string{"news/1", "go"} {
		if got := w.receive().(*packets.PublishPacket).TopicName; got != want {
			t.Errorf("received a message on %s, want %s: without iot:Receive there is no delivery", got, want)
		}
	}
}
