package iot

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"
)

var both = []byte{mqtt311, mqtt5}

func versionName(version byte) string {
	return map[byte]string{mqtt311: "MQTT 3.1.1", mqtt5: "MQTT 5"}[version]
}

// deviceStatements are what the deployed policy allows a device.
var deviceStatements = []map[string]any{
	{
		"Effect": "Allow", "Action": "iot:Connect", "Resource": account.ARN("iot", "client/${iot:Connection.Thing.ThingName}"),
		"Condition": map[string]any{"Bool": map[string]any{"iot:Connection.Thing.IsAttached": "true"}},
	},
	allow("iot:Publish", "topic/${iot:Connection.Thing.ThingName}/will", "topic/up"),
	allow("iot:Subscribe", "topicfilter/${iot:Connection.Thing.ThingName}/*"),
	allow("iot:Receive", "topic/${iot:Connection.Thing.ThingName}/*"),
}

// What a policy says is done at the socket, in both versions and over each transport
// that shows a certificate.
func TestPolicyAtTheSocket(t *testing.T) {
	t.Parallel()
	const refused3, refused5 = "20020005", "20"
	for _, c := range []struct {
		claim string
		// as is the client ID, attached the thing that has the certificate.
		as, attached string
		will         string
		then         func(*peer)
		// connack refuses, or suback answers; says is in the event.
		connack, suback, says string
		reason                string // of the end
	}{
		{claim: "a device that is attached connects", as: "d1", attached: "d1", will: "d1/will"},
		{claim: "a device that is not attached is refused", as: "d1", connack: "5", says: "allows iot:Connect"},
		{claim: "a device with the certificate of another is refused", as: "d2", attached: "d1", connack: "5", says: "client/"},
		{claim: "a will on another's topic is refused", as: "d1", attached: "d1", will: "d2/will", connack: "5", says: "will: not authorized"},
		{claim: "a device may not subscribe to another's will", as: "d1", attached: "d1", suback: "80", says: "topicfilter/d2/will", then: func(p *peer) {
			p.write(p.subscribePacket(nil, filter{"d2/will", 1}))
		}},
		{claim: "nor to all wills", as: "d1", attached: "d1", suback: "80", says: "topicfilter/+/will", then: func(p *peer) {
			p.write(p.subscribePacket(nil, filter{"+/will", 1}))
		}},
		{claim: "it may to its own", as: "d1", attached: "d1", suback: "01", then: func(p *peer) {
			p.write(p.subscribePacket(nil, filter{"d1/will", 1}))
		}},
		{claim: "it may not publish another's will", as: "d1", attached: "d1", will: "d1/will", says: "topic/d2/will", reason: "FORBIDDEN_ACCESS", then: func(p *peer) {
			p.write(p.publishPacket("d2/will", "x", 0, 0))
		}},
		{claim: "nor at QoS 1", as: "d1", attached: "d1", will: "d1/will", says: "topic/d2/will", reason: "FORBIDDEN_ACCESS", then: func(p *peer) {
			p.write(p.publishPacket("d2/will", "x", 1, 0))
		}},
		{claim: "nor retained without iot:RetainPublish", as: "d1", attached: "d1", will: "d1/will", says: "iot:RetainPublish", reason: "FORBIDDEN_ACCESS", then: func(p *peer) {
			p.write(p.publishPacket("up", "x", 1, 1))
		}},
	} {
		for _, version := range both {
			for _, transport := range []string{overTLS, overALPN} {
				t.Run(fmt.Sprintf("%s, %s, %s", c.claim, versionName(version), transport), func(t *testing.T) {
					t.Parallel()
					r := run(t)
					cert := r.certify("device", deviceStatements...)
					for _, name := range []string{"d1", "d2"} {
						_, err := r.CreateThing(name, nil)
						check(t, err)
					}
					if c.attached != "" {
						check(t, r.AttachThingPrincipal(c.attached, account.ARN("iot", "cert/"+fingerprint(cert.Certificate[0]))))
					}
					p := r.dial(cert, version, transport)
					announced := hello{clientID: c.as, willTopic: c.will, will: "gone"}
					if c.connack != "" {
						p.write(p.connectPacket(announced))
						got := p.ended()
						if version == mqtt311 && hex.EncodeToString(got) != refused3 || version == mqtt5 && (hex.EncodeToString(got[:1]) != refused5 || got[3] != 0x87) {
							t.Errorf("the broker answered % x", got)
						}
						r.refusal(c.says)
						return
					}
					p.connect(announced)
					if c.then != nil {
						c.then(p)
					}
					if c.suback != "" {
						want := c.suback
						if want == "80" && version == mqtt5 {
							want = "87"
						}
						if body := p.expect(0x90); hex.EncodeToString(body[len(body)-1:]) != want {
							t.Errorf("SUBACK % x, want %s", body, want)
						}
					}
					if c.says != "" {
						r.refusal(c.says)
					}
					if c.reason != "" {
						p.ended()
						if reason, wills := r.gone(c.as); reason != c.reason || wills != 1 {
							t.Errorf("it ended with %s and %d wills", reason, wills)
						}
					}
				})
			}
		}
	}
}

// A message that the policy does not let a client receive is not delivered, though
// it may subscribe.
func TestDeliveriesNeedReceive(t *testing.T) {
	t.Parallel()
	r := run(t)
	cert := r.certify("reader", allow("iot:Connect", "*"), allow("iot:Subscribe", "topicfilter/*"), allow("iot:Receive", "topic/open"))
	p := r.dial(cert, mqtt5, overTLS)
	p.connect(hello{clientID: "reader"})
	p.subscribe(filter{"#", 1})
	r.send("secret", "x", 1)
	r.send("open", "x", 1)
	if got := p.receive(); got.topic != "open" {
		t.Errorf("received %+v", got)
	}
}

// The codes of a refusal are those of the client's version, and each refusal is told.
func TestRefusedConnects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim string
		hello hello
		// code3 and code5 are of the CONNACK; -1 for none.
		code3, code5 int
		says         string
	}{
		{"a level that does not exist", hello{clientID: "c", level: 6}, 1, 1, "level 6"},
		{"level 3", hello{clientID: "c", level: 3}, 1, 1, "level 3"},
		{"MQTT 3.1", hello{clientID: "c", name: "MQIsdp", level: 3}, 1, 1, "level 3"},
		{"another protocol", hello{clientID: "c", name: "HTTP"}, -1, 0x82, `"HTTP"`},
		{"the reserved flag", hello{clientID: "c", flags: 1}, -1, 0x82, "reserved bit"},
		{"will QoS without a will", hello{clientID: "c", flags: 0b1000}, -1, 0x82, "will flag"},
		{"a retained will without a will", hello{clientID: "c", flags: 0b100000}, -1, 0x82, "will flag"},
		{"will QoS 3", hello{clientID: "c", willTopic: "w", willFlags: 0b11000}, -1, 0x82, "qos out of range"},
		{"will QoS 2", hello{clientID: "c", willTopic: "w", willFlags: 0b10000}, 5, 0x9B, "will: qos not supported"},
		{"a will with a wildcard", hello{clientID: "c", willTopic: "w/#"}, 5, 0x90, "wildcards"},
		{"a will to a reserved topic", hello{clientID: "c", willTopic: "$aws/things/c/shadow/update"}, 5, 0x90, "is reserved"},
		{"a will to $SYS", hello{clientID: "c", willTopic: "$SYS/x"}, 5, 0x90, "is reserved"},
		{"a will with 8 slashes", hello{clientID: "c", willTopic: "1/2/3/4/5/6/7/8/9"}, 5, 0x90, "8 slashes"},
		{"a client ID of 129 bytes", hello{clientID: strings.Repeat("x", 129)}, 2, 0x85, "129 bytes"},
		{"an authentication method", hello{clientID: "c", properties: [][]byte{{0x15}, text("SCRAM")}}, 0, 0x8C, `"SCRAM"`},
		{"Receive Maximum 0", hello{clientID: "c", properties: [][]byte{{0x21, 0, 0}}}, 0, 0x82, "property 0x21"},
		{"a property twice", hello{clientID: "c", properties: [][]byte{{0x21, 0, 9, 0x21, 0, 9}}}, 0, 0x82, "twice"},
		{"a property that is not CONNECT's", hello{clientID: "c", properties: [][]byte{{0x23, 0, 9}}}, 0, 0x81, "properties"},
		{"a property that does not exist", hello{clientID: "c", properties: [][]byte{{0x7F, 0, 9}}}, 0, 0x81, "0x7F"},
	} {
		for _, version := range both {
			t.Run(c.claim+", "+versionName(version), func(t *testing.T) {
				t.Parallel()
				want := c.code3
				if version == mqtt5 {
					want = c.code5
				}
				r := run(t)
				p := r.dial(r.anybody(), version, overTLS)
				if want == 0 { // the version has no such thing
					p.connect(c.hello)
					return
				}
				p.write(p.connectPacket(c.hello))
				got := p.ended()
				switch {
				case want < 0:
					if len(got) > 0 {
						t.Errorf("the broker answered % x, want nothing", got)
					}
				case want < 0x80:
					if !bytes.Equal(got, []byte{0x20, 2, 0, byte(want)}) {
						t.Errorf("the broker answered % x, want code %d", got, want)
					}
				case len(got) < 4 || got[0] != 0x20 || got[3] != byte(want):
					t.Errorf("the broker answered % x, want code %02x", got, want)
				}
				r.refusal(c.says)
			})
		}
	}
}

// An empty client ID is given one by MQTT 5, refused with a persistent session by 3.1.1.
func TestEmptyClientIDs(t *testing.T) {
	t.Parallel()
	r := run(t)
	cert := r.anybody()
	five := r.dial(cert, mqtt5, overTLS)
	if connack := five.connect(hello{}); !bytes.Contains(connack, []byte{0x12, 0}) {
		t.Errorf("CONNACK % x has no Assigned Client Identifier", connack)
	}
	three := r.dial(cert, mqtt311, overTLS)
	three.connect(hello{})
	persistent := r.dial(cert, mqtt311, overTLS)
	persistent.write(persistent.connectPacket(hello{persistent: true}))
	if got := persistent.ended(); !bytes.Equal(got, []byte{0x20, 2, 0, 2}) {
		t.Errorf("the broker answered % x, want return code 2", got)
	}
	r.refusal("the session is persistent")
}

// The CONNACK has what clients of AWS log: receive_maximum=100,
// maximum_packet_size=149504, topic_alias_maximum=8 and so on.
func TestConnack(t *testing.T) {
	t.Parallel()
	r := run(t)
	cert := r.anybody()
	common := "210064" + "220008" + "2401" + "2501" + "27" + "00024800" + "2801" + "2900" + "2a01"
	for _, c := range []struct {
		claim string
		hello hello
		want  string
	}{
		{"as asked", hello{clientID: "c", keepAlive: 60}, "13003c" + common},
		{"a keep alive that is honoured as another", hello{clientID: "c", keepAlive: 5}, "13001e" + common},
		{"a session that may not stay so long", hello{clientID: "c", keepAlive: 60, properties: [][]byte{{0x11}, uint32s(7200)}}, "1100000e10" + "13003c" + common},
	} {
		p := r.dial(cert, mqtt5, overTLS)
		body := p.connect(c.hello)
		if got := hex.EncodeToString(body[3:]); got != c.want {
			t.Errorf("%s: properties\n%s, want\n%s", c.claim, got, c.want)
		}
		p.write([]byte{0xE0, 0})
		r.gone("c")
	}
	p := r.dial(cert, mqtt311, overTLS)
	if body := p.connect(hello{clientID: "c3"}); len(body) != 2 {
		t.Errorf("MQTT 3.1.1 has CONNACK % x", body)
	}
}

// What AWS does not support in a SUBSCRIBE, and what is malformed.
func TestSubscribeAnswers(t *testing.T) {
	t.Parallel()
	nine := make([]filter, 9)
	for i := range nine {
		nine[i] = filter{fmt.Sprint("f", i), 1}
	}
	for _, c := range []struct {
		claim   string
		filters []filter
		with    [][]byte // properties
		code3   int      // of SUBACK; -1 for none, -2 for the end
		code5   int      // of SUBACK, or DISCONNECT from 0x81
		says    string
	}{
		{"QoS 0", []filter{{"a", 0}}, nil, 0, 0, ""},
		{"QoS 1", []filter{{"a", 1}}, nil, 1, 1, ""},
		{"QoS 2 is not answered", []filter{{"a", 2}}, nil, -1, -1, "QoS 2 gets no SUBACK"},
		{"nor with another beside it", []filter{{"a", 1}, {"b", 2}}, nil, -1, -1, `"b" at QoS 2`},
		{"QoS 3", []filter{{"a", 3}}, nil, -2, 0x82, "qos out of range"},
		{"reserved bits", []filter{{"a", 0b11000001}}, nil, -2, 0x82, "reserved bit"},
		{"Retain Handling 3", []filter{{"a", 0b110001}}, nil, -2, 0x82, "reserved bit"},
		{"a subscription identifier", []filter{{"a", 1}}, [][]byte{{0x0B, 1}}, 1, 0xA1, "subscription identifiers not supported"},
		{"no filter", nil, nil, -2, 0x82, "at least one filter"},
		{"nine filters", nine, nil, -2, 0x97, "9 filters"},
		{"an empty filter", []filter{{"", 1}}, nil, -2, 0x8F, "is empty"},
		{"# in the middle", []filter{{"a/#/b", 1}}, nil, -2, 0x8F, "# stands alone"},
		{"# in a level", []filter{{"a#", 1}}, nil, -2, 0x8F, "# stands alone"},
		{"+ in a level", []filter{{"a/b+", 1}}, nil, -2, 0x8F, "+ stands alone"},
		{"a shared subscription", []filter{{"$share/g/a", 1}}, nil, 1, 1, ""},
		{"a shared subscription without a filter", []filter{{"$share/g", 1}}, nil, -2, 0x8F, "$share/NAME/FILTER"},
		{"a shared subscription without a name", []filter{{"$share//a", 1}}, nil, -2, 0x8F, "$share/NAME/FILTER"},
		{"a shared subscription with a wildcard for a name", []filter{{"$share/+/a", 1}}, nil, -2, 0x8F, "$share/NAME/FILTER"},
		{"a shared subscription with No Local", []filter{{"$share/g/a", 0b101}}, nil, -2, 0x82, ""},
	} {
		for _, version := range both {
			t.Run(c.claim+", "+versionName(version), func(t *testing.T) {
				t.Parallel()
				want := c.code3
				if version == mqtt5 {
					want = c.code5
				}
				r := run(t)
				p := r.dial(r.anybody(), version, overTLS)
				p.connect(hello{clientID: "c"})
				p.write(p.subscribePacket(c.with, c.filters...))
				switch {
				case want == -1:
					p.nothing()
				case want == -2:
					if got := p.ended(); len(got) > 0 {
						t.Errorf("the broker answered % x", got)
					}
				case want > 0x80:
					if got := p.ended(); len(got) < 3 || got[0] != 0xE0 || got[2] != byte(want) {
						t.Errorf("the broker answered % x, want DISCONNECT with %02x", got, want)
					}
				default:
					if body := p.expect(0x90); body[len(body)-1] != byte(want) {
						t.Errorf("SUBACK % x, want %d", body, want)
					}
				}
				if c.says != "" && (want < 0 || want > 0x80) {
					r.refusal(c.says)
				}
			})
		}
	}
}

// A connection has 50 subscriptions: the 51st fails by itself, one that is made again
// counts once, and one that is given up makes room.
func TestSubscriptionsAreCounted(t *testing.T) {
	t.Parallel()
	for version, code := range map[byte]byte{mqtt311: 0x80, mqtt5: 0x97} {
		t.Run(versionName(version), func(t *testing.T) {
			t.Parallel()
			r := run(t)
			p := r.dial(r.anybody(), version, overTLS)
			p.connect(hello{clientID: "c"})
			for i := range 50 {
				if codes := p.subscribe(filter{fmt.Sprint("f", i), 1}); codes[0] != 1 {
					t.Fatalf("subscription %d: % x", i+1, codes)
				}
			}
			if codes := p.subscribe(filter{"f0", 0}, filter{"more", 1}, filter{"f1", 1}); !bytes.Equal(codes, []byte{0, code, 1}) {
				t.Errorf("SUBACK % x", codes)
			}
			r.refusal("at most 50 subscriptions")
			p.write(packet(0xA2, uint16s(8), p.properties(), text("f7")))
			p.expect(0xB0)
			if codes := p.subscribe(filter{"more", 1}); codes[0] != 1 {
				t.Errorf("SUBACK % x after an UNSUBSCRIBE", codes)
			}
		})
	}
}

// Packets that only a broker sends, or that AWS does not have, end the connection and
// say which they were.
func TestUnexpectedPackets(t *testing.T) {
	t.Parallel()
	for says, first := range map[string]byte{
		"CONNACK": 0x20, "PUBREC": 0x50, "PUBREL": 0x62, "PUBCOMP": 0x70, "SUBACK": 0x90, "UNSUBACK": 0xB0, "PINGRESP": 0xD0, "AUTH": 0xF0,
	} {
		for _, version := range both {
			t.Run(says+", "+versionName(version), func(t *testing.T) {
				t.Parallel()
				r := run(t)
				p := r.dial(r.anybody(), version, overTLS)
				p.connect(hello{clientID: "c", willTopic: "w"})
				p.write(packet(first, []byte{0, 1}))
				got := p.ended()
				if version == mqtt5 && (len(got) < 3 || got[0] != 0xE0 || got[2] != 0x82) || version == mqtt311 && len(got) > 0 {
					t.Errorf("the broker answered % x", got)
				}
				r.refusal(says)
				if reason, wills := r.gone("c"); reason != "CLIENT_ERROR" || wills != 1 {
					t.Errorf("it ended with %s and %d wills", reason, wills)
				}
			})
		}
	}
}

// A will is handed over as it was announced, once, whatever ended the connection.
func TestWills(t *testing.T) {
	t.Parallel()
	drop := func(p *peer) { _ = p.Close() }
	for _, c := range []struct {
		claim string
		hello hello
		leave func(*peer)
		wills int
		want  received
	}{
		{"QoS 0", hello{will: "gone"}, drop, 1, received{payload: "gone"}},
		{"QoS 1", hello{will: "gone", willFlags: 0b1000}, drop, 1, received{payload: "gone", qos: 1}},
		{"of no bytes", hello{}, drop, 1, received{}},
		{"of no bytes, QoS 1", hello{willFlags: 0b1000}, drop, 1, received{qos: 1}},
		{"retained: the flag is for new subscribers", hello{will: "gone", willFlags: 0b100000}, drop, 1, received{payload: "gone"}},
		{"taken back", hello{will: "gone"}, func(p *peer) { p.write([]byte{0xE0, 0}) }, 0, received{}},
		{"not taken back by a DISCONNECT that is malformed", hello{will: "gone"}, func(p *peer) { p.write([]byte{0xE1, 0}) }, 1, received{payload: "gone"}},
		{"not by half a DISCONNECT", hello{will: "gone"}, func(p *peer) { p.write([]byte{0xE0}); _ = p.Close() }, 1, received{payload: "gone"}},
	} {
		for _, version := range both {
			t.Run(c.claim+", "+versionName(version), func(t *testing.T) {
				t.Parallel()
				r := run(t)
				cert := r.anybody()
				observer := r.dial(cert, version, overTLS)
				observer.connect(hello{clientID: "observer"})
				observer.subscribe(filter{"w", 1})
				announced := c.hello
				announced.clientID, announced.willTopic = "device", "w"
				p := r.dial(cert, version, overTLS)
				p.connect(announced)
				c.leave(p)
				if _, wills := r.gone("device"); wills != c.wills {
					t.Fatalf("%d wills, want %d", wills, c.wills)
				}
				if c.wills > 0 {
					got := observer.receive()
					got.id, got.topic = 0, ""
					if got != c.want {
						t.Errorf("received %+v, want %+v", got, c.want)
					}
				}
				observer.nothing()
			})
		}
	}
}

// A takeover ends the old connection, whose will comes first, and the new one has what
// its session says: nothing after a clean start.
func TestTakeovers(t *testing.T) {
	t.Parallel()
	for _, old := range both {
		for _, version := range both {
			t.Run(versionName(old)+" by "+versionName(version), func(t *testing.T) {
				t.Parallel()
				r := run(t)
				cert := r.anybody()
				first := r.dial(cert, old, overTLS)
				first.connect(hello{clientID: "c", willTopic: "w"})
				first.subscribe(filter{"w", 0}, filter{"news", 0})
				second := r.dial(cert, version, overTLS)
				second.connect(hello{clientID: "c"})
				got := first.ended()
				if old == mqtt5 && (len(got) < 3 || got[0] != 0xE0 || got[2] != 0x8E) || old == mqtt311 && len(got) > 0 {
					t.Errorf("the old connection got % x", got)
				}
				if reason, wills := r.gone("c"); reason != "DUPLICATE_CLIENTID" || wills != 1 {
					t.Errorf("it ended with %s and %d wills", reason, wills)
				}
				r.send("news", "x", 0)
				second.nothing()
			})
		}
	}
}

// One CONNECT a second is taken for a client ID; another client ID is free.
func TestThrottledConnects(t *testing.T) {
	t.Parallel()
	for _, version := range both {
		t.Run(versionName(version), func(t *testing.T) {
			t.Parallel()
			r := run(t, func(o *Options) { o.ConnectInterval = time.Hour })
			cert := r.anybody()
			r.dial(cert, version, overTLS).connect(hello{clientID: "c"})
			again := r.dial(cert, version, overTLS)
			again.write(again.connectPacket(hello{clientID: "c"}))
			got := again.ended()
			if version == mqtt311 && !bytes.Equal(got, []byte{0x20, 2, 0, 3}) || version == mqtt5 && (len(got) < 4 || got[3] != 0x97) {
				t.Errorf("the broker answered % x", got)
			}
			r.refusal("one CONNECT in 1h0m0s")
			r.dial(cert, version, overTLS).connect(hello{clientID: "other"})
		})
	}
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	th := throttle{interval: time.Second, taken: map[string]bool{}}
	start := time.Now()
	for _, c := range []struct {
		claim    string
		clientID string
		after    time.Duration
		want     bool
	}{
		{"the first passes", "a", 0, true},
		{"another client passes", "b", 0, true},
		{"the second does not", "a", 999 * time.Millisecond, false},
		{"a refused one does not count", "a", time.Second, true},
		{"the next second begins then", "a", 1999 * time.Millisecond, false},
		{"and ends", "a", 2 * time.Second, true},
	} {
		if got := th.take(c.clientID, start.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", c.claim, got)
		}
	}
}

// A retained message reaches the filter that equals its topic, and none with wildcards.
func TestRetainedMessages(t *testing.T) {
	t.Parallel()
	for _, version := range both {
		t.Run(versionName(version), func(t *testing.T) {
			t.Parallel()
			r := run(t)
			cert := r.anybody()
			check(t, r.Publish(t.Context(), "site/d1", []byte("kept"), 1, true))
			for _, c := range []struct {
				claim string
				filter
				want *received
			}{
				{"the topic itself", filter{"site/d1", 1}, &received{topic: "site/d1", payload: "kept", qos: 1, retain: true}},
				{"the topic at QoS 0", filter{"site/d1", 0}, &received{topic: "site/d1", payload: "kept", retain: true}},
				{"a +", filter{"site/+", 1}, nil},
				{"a #", filter{"#", 1}, nil},
				{"a shared subscription", filter{"$share/g/site/d1", 1}, nil},
				{"another topic", filter{"site/d2", 1}, nil},
			} {
				p := r.dial(cert, version, overTLS)
				p.connect(hello{clientID: "c"})
				p.subscribe(c.filter)
				if c.want != nil {
					got := p.receive()
					got.id = 0
					if got != *c.want {
						t.Errorf("%s: received %+v, want %+v", c.claim, got, *c.want)
					}
				}
				p.nothing()
			}
			check(t, r.Publish(t.Context(), "site/d1", nil, 0, true))
			if left := r.ListRetainedMessages(); len(left) > 0 {
				t.Errorf("an empty message left %+v", left)
			}
		})
	}
}

// MQTT 5 says with a subscription whether it wants retained messages and the flag.
func TestRetainOptions(t *testing.T) {
	t.Parallel()
	r := run(t)
	check(t, r.Publish(t.Context(), "a", []byte("kept"), 0, true))
	p := r.dial(r.anybody(), mqtt5, overTLS)
	p.connect(hello{clientID: "c"})
	for _, step := range []struct {
		claim   string
		options byte
		gets    bool
	}{
		{"only if it is new: it is", 0x10, true},
		{"only if it is new: it is not", 0x10, false},
		{"never", 0x20, false},
		{"always", 0, true},
	} {
		p.subscribe(filter{"a", step.options})
		if step.gets {
			p.receive()
		}
		p.nothing()
	}
	for options, want := range map[byte]bool{0x20: false, 0x28: true} { // Retain As Published
		p.subscribe(filter{"a", options})
		check(t, r.Publish(t.Context(), "a", []byte("kept"), 0, true))
		if got := p.receive(); got.retain != want {
			t.Errorf("options %x: %+v", options, got)
		}
	}
}

// Each member of a shared subscription gets a part, and none gets what another has.
func TestSharedSubscriptions(t *testing.T) {
	t.Parallel()
	const messages = 20
	r := run(t)
	cert := r.anybody()
	var members []*peer
	for i := range 2 {
		p := r.dial(cert, both[i], overTLS)
		p.connect(hello{clientID: fmt.Sprint("member", i)})
		p.subscribe(filter{"$share/g/jobs/+", 0})
		members = append(members, p)
	}
	for i := range messages {
		r.send(fmt.Sprint("jobs/", i), "x", 0)
	}
	seen := map[string]bool{}
	for _, p := range members {
		for range messages / 2 {
			seen[p.receive().topic] = true
		}
		p.nothing()
	}
	if len(seen) != messages {
		t.Errorf("%d of %d messages came", len(seen), messages)
	}
	check(t, members[0].Close())
	r.gone("member0")
	r.send("jobs/last", "x", 0)
	if got := members[1].receive(); got.topic != "jobs/last" {
		t.Errorf("received %+v", got)
	}
}

// Overlapping subscriptions get a message once, at the highest QoS; "sensor/#" does not
// match "sensor", as on AWS.
func TestSubscriptionsMatchAsOnAWS(t *testing.T) {
	t.Parallel()
	r := run(t)
	p := r.dial(r.anybody(), mqtt311, overTLS)
	p.connect(hello{clientID: "c"})
	p.subscribe(filter{"sensor/#", 0}, filter{"sensor/+/t", 1}, filter{"#", 0})
	r.send("sensor/a/t", "1", 1)
	if got := p.receive(); got.qos != 1 {
		t.Errorf("received %+v", got)
	}
	p.nothing()
	p.write(packet(0xA2, uint16s(8), text("#")))
	p.expect(0xB0)
	r.send("sensor", "2", 0)
	p.nothing()
}

// Topic aliases are the client's to set, eight of them.
func TestTopicAliases(t *testing.T) {
	t.Parallel()
	alias := func(n int) []byte { return append([]byte{0x23}, uint16s(n)...) }
	r := run(t)
	cert := r.anybody()
	observer := r.dial(cert, mqtt311, overTLS)
	observer.connect(hello{clientID: "observer"})
	observer.subscribe(filter{"#", 0})
	p := r.dial(cert, mqtt5, overTLS)
	p.connect(hello{clientID: "c"})
	p.write(p.publishPacket("a", "1", 0, 0, alias(8)))
	p.write(p.publishPacket("", "2", 0, 0, alias(8)))
	p.write(p.publishPacket("b", "3", 0, 0, alias(8)))
	p.write(p.publishPacket("", "4", 1, 0, alias(8)))
	p.expect(0x40)
	for _, want := range []string{"a1", "a2", "b3", "b4"} {
		if got := observer.receive(); got.topic+got.payload != want {
			t.Errorf("received %+v, want %s", got, want)
		}
	}
	for _, c := range []struct {
		claim string
		topic string
		alias int
		code  byte
	}{
		{"an alias beyond the maximum", "a", 9, 0x94},
		{"alias 0", "a", 0, 0x94},
		{"an alias that was not set", "", 3, 0x82},
	} {
		p := r.dial(cert, mqtt5, overTLS)
		p.connect(hello{clientID: "c"})
		p.write(p.publishPacket(c.topic, "x", 0, 0, alias(c.alias)))
		if got := p.ended(); len(got) < 3 || got[2] != c.code {
			t.Errorf("%s: the broker answered % x, want %02x", c.claim, got, c.code)
		}
	}
}

// A WebSocket names the standard's subprotocol or that of AWS's first SDKs, and gets
// the one it named.
func TestWebSocketsWithoutCertificate(t *testing.T) {
	t.Parallel()
	r := run(t)
	for _, version := range both {
		p := r.dial(tls.Certificate{}, version, overWebSocket)
		p.connect(hello{clientID: "browser", willTopic: "w"})
		check(t, p.Close()) // a Close frame
		if reason, wills := r.gone("browser"); reason != clientInitiated || wills != 0 {
			t.Errorf("%s: ended with %s and %d wills", versionName(version), reason, wills)
		}
	}
}
