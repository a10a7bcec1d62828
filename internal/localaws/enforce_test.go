package localaws_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/will"
)

var names = will.NamesFor("")

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
	}{
		{"a publish to a topic that the policy does not have", publishPacket("other/topic", []byte("x"), 0), "FORBIDDEN_ACCESS"},
		{"the same at QoS 1, which gets no PUBACK", publishPacket("other/topic", []byte("x"), 1), "FORBIDDEN_ACCESS"},
		{"a retained publish without iot:RetainPublish", retained, "FORBIDDEN_ACCESS"},
		{"a publish at QoS 2", qos2, "CLIENT_ERROR"},
		{"a payload of more than 128 KB", publishPacket(names.ConnectedTopic, make([]byte, will.MaxPayloadBytes+1), 0), "CLIENT_ERROR"},
		{"a payload far beyond it", publishPacket(names.ConnectedTopic, make([]byte, 2*will.MaxPayloadBytes), 0), "CLIENT_ERROR"},
		{"a topic with 8 slashes", publishPacket("wide/1/2/3/4/5/6/7/8", []byte("x"), 0), "CLIENT_ERROR"},
		{"a topic of 257 bytes", publishPacket("wide/"+strings.Repeat("x", 252), []byte("x"), 0), "CLIENT_ERROR"},
		{"a topic with a wildcard", publishPacket("wide/#", []byte("x"), 0), "CLIENT_ERROR"},
		{"9 filters in one SUBSCRIBE", subscribePacket("w/1", "w/2", "w/3", "w/4", "w/5", "w/6", "w/7", "w/8", "w/9"), "CLIENT_ERROR"},
		{"a second CONNECT", connectPacket(will.ThingName), "CLIENT_ERROR"},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			stack := cloud.deploy(t, addStatement(t, allow("iot:*", "topic/wide/*", "topicfilter/w/*")))
			observer := cloud.observer(t, "#")
			w := cloud.dial(t, cloud.thing(t, stack))
			if code := w.connect(connectPacket(will.ThingName)); code != packets.Accepted {
				t.Fatalf("CONNACK %d", code)
			}
			w.send(c.packet)
			if rest := w.ended(); len(rest) > 0 {
				t.Errorf("the broker answered % x", rest)
			}
			if got := cloud.disconnected(t, will.ThingName); got != c.reason {
				t.Errorf("disconnect reason %s, want %s", got, c.reason)
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
