package localaws_test

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/will"
)

// A second connection with the same client ID ends the first, whose will is
// published once, and lives.
func TestTakeover(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	cfg := cloud.device(cloud.thing(t, cloud.deploy(t)))
	cloud.confirm(t)
	observer := cloud.observer(t, names.WillTopic, names.ExecutedTopic)
	received := make(chan device.Message, 1)
	cfg.Receive = func(m device.Message) { received <- m }
	first, second := connect(t, cfg), connect(t, cfg)
	wait(t, first.Done(), "the first connection stands")
	if got := cloud.disconnected(t, will.ThingName); got != "DUPLICATE_CLIENTID" {
		t.Errorf("disconnect reason %s", got)
	}
	check(t, second.Subscribe(deadline(t), names.ConnectedTopic))
	check(t, second.Announce(deadline(t)))
	wait(t, received, "the second connection gets nothing")
	check(t, second.Disconnect())
	cloud.events.await(t, 2, func(e iot.Event) bool { return e.Kind == iot.Disconnected && e.ClientID == will.ThingName })
	if seen := observer.Rest(t); len(seen) != 2 {
		t.Errorf("observed %v, want one will and one copy", seen)
	}
	cloud.nextMail(t)
	cloud.noMoreMails(t)
}

// MQTT 3.1.1 has no DISCONNECT for a broker to send, MQTT 5 has one with a reason.
func TestTakeoverOnTheWire(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	id := cloud.thing(t, cloud.deploy(t))
	old3, old5, last := cloud.dial(t, id), cloud.dial(t, id), cloud.dial(t, id)
	old3.connect(connectPacket(id.name))
	old5.connect5(id.name, 30)
	if got := old3.ended(); len(got) > 0 {
		t.Errorf("the broker sent % x to a client of MQTT 3.1.1", got)
	}
	last.connect(connectPacket(id.name))
	if got := old5.ended(); !bytes.HasPrefix(got, []byte{0xE0}) || got[2] != 0x8E {
		t.Errorf("the broker sent % x, want DISCONNECT with 0x8E (Session taken over)", got)
	}
}

// Many connections come at once with one client ID, each busy publishing. One
// lives and is reached; the will of each other one that was accepted is
// published once.
func TestTakeoversUnderLoad(t *testing.T) {
	t.Parallel()
	const connections = 60
	cloud := start(t)
	id := cloud.thing(t, cloud.deploy(t, addStatement(t, allow("iot:Publish", "topic/busy"))))
	var accepted atomic.Int32
	ended, reached := make(chan struct{}, connections), make(chan wire, connections)
	var running sync.WaitGroup
	for range connections {
		w := cloud.dial(t, id)
		running.Go(func() {
			defer func() { ended <- struct{}{} }()
			if !w.tryConnect(id.name) {
				return
			}
			accepted.Add(1)
			running.Go(w.beBusy)
			for {
				p, err := packets.ReadPacket(w)
				if err != nil {
					return
				}
				if _, ok := p.(*packets.PublishPacket); ok {
					reached <- w
				}
			}
		})
	}
	for range connections - 1 {
		wait(t, ended, "more than one connection lives")
	}
	// Retained, as the subscription may be still to come.
	check(t, cloud.IoT.Publish(deadline(t), names.ConnectedTopic, []byte("are you there?"), 0, true))
	survivor := wait(t, reached, "the connection that lives is not reached")
	check(t, survivor.NetConn().Close())
	running.Wait()
	cloud.events.await(t, int(accepted.Load()), func(e iot.Event) bool { return e.Kind == iot.Disconnected })
	if n := cloud.events.Count(isWill); n != int(accepted.Load()) {
		t.Errorf("%d wills of %d connections", n, accepted.Load())
	}
	if n := cloud.events.Count(publishedOn(names.ExecutedTopic)); n != int(accepted.Load()) {
		t.Errorf("%d copies of %d wills", n, accepted.Load())
	}
}

// tryConnect connects, unless another connection takes the client ID meanwhile,
// and subscribes.
func (w wire) tryConnect(clientID string) bool {
	if connectPacket(clientID).Write(w) != nil {
		return false
	}
	p, err := packets.ReadPacket(w)
	connack, ok := p.(*packets.ConnackPacket)
	if err != nil || !ok || connack.ReturnCode != packets.Accepted {
		return false
	}
	_ = subscribePacket(names.ConnectedTopic).Write(w) // the connection may have ended again
	return true
}

// beBusy keeps the broker handling packets until the connection ends.
func (w wire) beBusy() {
	for publishPacket("busy", []byte("busy"), 0).Write(w) == nil {
	}
}

// A device that comes back at once, again and again, is reached each time: the
// end of its last connection takes nothing of the new one away.
func TestFlapping(t *testing.T) {
	t.Parallel()
	const times = 100
	cloud := start(t)
	id := cloud.thing(t, cloud.deploy(t))
	for range times {
		w := cloud.dial(t, id)
		w.connect(connectPacket(id.name))
		w.send(subscribePacket(names.ConnectedTopic))
		w.receive()
		check(t, cloud.IoT.Publish(deadline(t), names.ConnectedTopic, []byte("are you there?"), 0, false))
		if _, ok := w.receive().(*packets.PublishPacket); !ok {
			t.Fatal("the device is not reached")
		}
		check(t, w.NetConn().Close())
	}
	cloud.events.await(t, times, func(e iot.Event) bool { return e.Kind == iot.Disconnected })
	if n := cloud.events.Count(isWill); n != times {
		t.Errorf("%d wills of %d ungraceful disconnects", n, times)
	}
}

// A device that is frozen, with more sent to it than its socket holds, does not
// keep its client ID from the one that comes after it.
func TestTakeoverOfAFrozenDevice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim   string
		connect func(wire)
	}{
		{"MQTT 3.1.1", func(w wire) {
			w.connect(connectPacket("frozen", func(p *packets.ConnectPacket) { p.Keepalive = 1200 }))
			w.send(subscribePacket("flood"))
			w.receive()
		}},
		{"MQTT 5", func(w wire) {
			w.connect5("frozen", 1200)
			w.subscribe5("flood")
		}},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			cloud.deploy(t)
			id := cloud.person(t, "frozen", allow("iot:*", "*"))
			frozen := cloud.dial(t, id)
			c.connect(frozen)
			for range 200 {
				check(t, cloud.IoT.Publish(deadline(t), "flood", make([]byte, 100_000), 0, false))
			}
			w := cloud.dial(t, id)
			if code := w.connect(connectPacket("frozen")); code != packets.Accepted {
				t.Errorf("CONNACK %d", code)
			}
			if got := cloud.disconnected(t, "frozen"); got != "DUPLICATE_CLIENTID" {
				t.Errorf("disconnect reason %s", got)
			}
			if n := cloud.events.Count(isWill); n != 1 {
				t.Errorf("%d wills", n)
			}
		})
	}
}

// A client ID may connect once in a second, whatever became of the connection
// before. Who waits as the device says comes through.
func TestConnectsOfAClientIDAreThrottled(t *testing.T) {
	t.Parallel()
	cloud := start(t, func(o *localaws.Options) { o.ConnectInterval = 0 })
	id := cloud.thing(t, cloud.deploy(t))
	first := connect(t, cloud.device(id))
	for _, c := range []struct {
		claim string
		mqtt5 bool
		says  string
	}{
		{"MQTT 3.1.1", false, "its MQTT service is unavailable (return code 3)"},
		{"MQTT 5", true, "a quota is used up (reason code 0x97)"},
	} {
		cfg := cloud.device(id)
		cfg.MQTT5 = c.mqtt5
		_, err := device.Connect(deadline(t), cfg)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.claim, err, c.says)
		}
		if hint := cli.Hint(err); !strings.Contains(hint, "one connection a second for a client ID") {
			t.Errorf("%s: hint %q", c.claim, hint)
		}
	}
	second, err := first.Reconnect(deadline(t))
	check(t, err)
	check(t, second.Disconnect())
}
