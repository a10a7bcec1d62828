package localaws_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/localaws/iot"
	"lastwill/internal/will"
)

// Every will of a fleet that drops at once goes through the rule once, and not all
// of them at the same time: the first has its copy before the last is published.
func TestFleetDropsAtOnce(t *testing.T) {
	t.Parallel()
	const devices, dialers = 2_000, 16
	cloud := start(t)
	cloud.deploy(t)
	// One certificate for all: its policy allows any client ID.
	id := cloud.person(t, "fleet", allow("iot:Connect", "*"), allow("iot:Publish", "topic/"+names.WillTopic))
	observer := cloud.observer(t, names.WillTopic, names.ExecutedTopic)

	fleet := make([]wire, devices)
	next := make(chan int)
	var dialing sync.WaitGroup
	for range dialers {
		dialing.Go(func() {
			for i := range next {
				fleet[i] = cloud.dial(t, id)
				if code := fleet[i].connect(connectPacket(deviceName(i))); code != packets.Accepted {
					t.Errorf("device %d: CONNACK %d", i, code)
				}
			}
		})
	}
	for i := range devices {
		next <- i
	}
	close(next)
	dialing.Wait()

	var dropping sync.WaitGroup
	for _, w := range fleet {
		dropping.Go(func() { _ = w.NetConn().Close() })
	}
	dropping.Wait()
	underWay, most := 0, 0
	cloud.events.await(t, devices, func(e iot.Event) bool {
		switch {
		case isWill(e):
			underWay++
			most = max(most, underWay)
		case publishedOn(names.ExecutedTopic)(e):
			underWay--
		}
		return e.Kind == iot.Disconnected
	})
	if most > runtime.GOMAXPROCS(0) {
		t.Errorf("%d wills were under way at the same time", most)
	}

	seen := map[string]int{} // topic and payload
	for _, s := range observer.Rest(t) {
		seen[s.Topic+s.Payload]++
	}
	for i := range devices {
		for _, topic := range []string{names.WillTopic, names.ExecutedTopic} {
			if n := seen[topic+string(will.Payload(deviceName(i)))]; n != 1 {
				t.Errorf("the will of device %d came %d times on %s", i, n, topic)
			}
		}
	}
	if len(seen) != 2*devices {
		t.Errorf("%d different messages, want %d", len(seen), 2*devices)
	}
}

func deviceName(i int) string { return fmt.Sprintf("device%04d", i) }
