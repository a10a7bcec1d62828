package localaws_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// mosquitto_sub takes 20 messages at a time in MQTT 5 (its Receive Maximum). It gets
// the wills of a fleet that vanishes, all of them, each once, those of one device in
// order, and what comes after.
func TestABurstOfWillsReachesMosquittoSub(t *testing.T) {
	t.Parallel()
	const devices = 250
	for _, version := range []string{"mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			cloud.deploy(t)
			cloud.IoT.WatchLifecycle()
			id := cloud.person(t, "fleet", allow("iot:*", "*"))
			cmd := id.command(t, cloud, "mosquitto_sub", "-V", version, "-q", "1", "-i", "watcher", "-t", "wills/#", "-F", "%t %p", "-C", fmt.Sprint(2*devices+1))
			var out strings.Builder
			cmd.Stdout = &out
			check(t, cmd.Start())
			cloud.events.await(t, 1, publishedOn("$aws/events/subscriptions/subscribed/watcher"))
			var fleet []wire
			for i := range devices {
				w := cloud.dial(t, id)
				name := fmt.Sprint("d", i)
				w.connect(connectPacket(name, func(p *packets.ConnectPacket) {
					p.WillTopic, p.WillMessage, p.WillQos = "wills/"+name, []byte("2"), 1
				}))
				w.send(publishPacket("wills/"+name, []byte("1"), 1))
				w.receive()
				fleet = append(fleet, w)
			}
			var vanish sync.WaitGroup
			for _, w := range fleet {
				vanish.Go(func() { _ = w.NetConn().Close() })
			}
			vanish.Wait()
			cloud.events.await(t, devices, isWill)
			check(t, cloud.IoT.Publish(deadline(t), "wills/after", []byte("3"), 1, false))
			check(t, cmd.Wait())
			got := strings.Split(strings.TrimSpace(out.String()), "\n")
			for i := range devices {
				first, second := slices.Index(got, fmt.Sprintf("wills/d%d 1", i)), slices.Index(got, fmt.Sprintf("wills/d%d 2", i))
				if first < 0 || second < first {
					t.Errorf("device %d: message at %d, will at %d", i, first, second)
				}
			}
			if last := got[len(got)-1]; last != "wills/after 3" {
				t.Errorf("the last message is %q", last)
			}
		})
	}
}
