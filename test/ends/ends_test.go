// Package ends proves each way in which a device can end, over each transport and
// in both versions of MQTT: our device on the local endpoint and on mosquitto,
// MQTT.js and mosquitto's clients on the local endpoint, so that neither side
// vouches for itself; and a network that is cut under them.
package ends

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"lastwill/internal/device"
)

// An end is a way to end, and what the broker makes of it.
type end struct {
	name, reason string
	wills        int
}

var ends = []end{
	{"disconnect", "CLIENT_INITIATED_DISCONNECT", 0},
	{"drop", "CONNECTION_LOST", 1},
	{"reset", "CONNECTION_LOST", 1},
	{"freeze", "MQTT_KEEP_ALIVE_TIMEOUT", 1},
	{"takeover", "DUPLICATE_CLIENTID", 1},
	{"kill", "API_INITIATED_DISCONNECT", 1},
	{"kill without a will", "API_INITIATED_DISCONNECT", 0},
}

var transports = []device.Transport{device.MTLS, device.MTLSALPN, device.WebSocket}

// A subject is a connected device of some make.
type subject interface {
	disconnect(t *testing.T)
	drop(t *testing.T)
	reset(t *testing.T)
	// freeze lets the device fall silent for as long as the test runs.
	freeze(t *testing.T)
	// takeover connects another one with the same client ID, which disconnects
	// when second is called.
	takeover(t *testing.T) (second func())
}

// TestEnds runs all at the same time: what falls silent is noticed after 45 s, and
// that is enough to wait once. When all is over, nothing is left.
func TestEnds(t *testing.T) {
	before := inUse(t)
	t.Run("all", func(t *testing.T) {
		t.Run("our device", func(t *testing.T) { t.Parallel(); onCloud(t, transports, ourDevice) })
		t.Run("MQTT.js", func(t *testing.T) {
			t.Parallel()
			hosts := newHosts(t)
			onCloud(t, transports, hosts.device)
		})
		t.Run("mosquitto's clients", func(t *testing.T) { t.Parallel(); onCloud(t, transports[:2], mosquittoClient) })
		t.Run("our device on mosquitto", func(t *testing.T) { t.Parallel(); onMosquitto(t) })
		t.Run("a cut network", func(t *testing.T) { t.Parallel(); cutNetwork(t) })
	})
	nothingLeft(t, before)
}

// A willOf is a client ID with the QoS of its will.
type willOf struct {
	clientID string
	qos      byte
}

// onCloud claims of each end, transport, version and QoS of the will that the local endpoint sees
// the end for what it is, and publishes one will or none, which the rule copies.
func onCloud(t *testing.T, over []device.Transport, connect func(*testing.T, *cloud, willOf, device.Transport, bool) subject) {
	c := startCloud(t)
	t.Run("ends", func(t *testing.T) {
		for _, e := range ends {
			for _, transport := range over {
				for _, mqtt5 := range []bool{false, true} {
					for qos := range byte(2) {
						clientID := fmt.Sprintf("%s-%s-%t-%d", strings.ReplaceAll(e.name, " ", "-"), transport, mqtt5, qos)
						t.Run(clientID, func(t *testing.T) {
							t.Parallel()
							c.prove(t, e, willOf{clientID, qos}, connect(t, c, willOf{clientID, qos}, transport, mqtt5))
						})
					}
				}
			}
		}
	})
	c.stop(t)
}

func (c *cloud) prove(t *testing.T, e end, of willOf, s subject) {
	t.Helper()
	clientID := of.clientID
	c.await(t, clientID, "the connection", func(h history) bool { return h.connected == 1 })
	second := func() {}
	switch e.name {
	case "disconnect":
		s.disconnect(t)
	case "drop":
		s.drop(t)
	case "reset":
		s.reset(t)
	case "freeze":
		s.freeze(t)
	case "takeover":
		second = s.takeover(t)
	default:
		c.kill(t, clientID, e.wills == 0)
	}
	c.await(t, clientID, "the end", func(h history) bool { return len(h.ended) == 1 })
	want := []string{e.reason}
	if e.name == "takeover" {
		if h := c.await(t, clientID, "the second connection", func(h history) bool { return h.connected == 2 }); len(h.ended) != 1 {
			t.Errorf("the second connection ended too: %v", h.ended)
		}
		second()
		want = append(want, "CLIENT_INITIATED_DISCONNECT")
	}
	got := c.await(t, clientID, "the last end", func(h history) bool { return len(h.ended) == len(want) })
	if !slices.Equal(got.ended, want) || got.wills != e.wills || got.copies != e.wills || got.wills > 0 && got.qos != of.qos {
		t.Errorf("got %+v, want ends %v, %d wills at QoS %d and as many copies", got, want, e.wills, of.qos)
	}
}

// deviceIn finds the device that a will or its copy is about.
func deviceIn(payload string) string {
	_, rest, _ := strings.Cut(payload, `"client_id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// inUse counts the files and sockets that this process has open.
func inUse(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/dev/fd")
	check(t, err)
	return len(list)
}

// nothingLeft lists goroutines and sockets that outlive their devices.
func nothingLeft(t *testing.T, before int) {
	t.Helper()
	var goroutines []string
	now := 0
	for range 100 { // processes that were killed take their time to be gone
		goroutines = nil
		stacks := make([]byte, 16<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for _, g := range strings.Split(string(stacks), "\n\n")[1:] { // but this one
			if strings.Contains(g, "lastwill/") && !strings.Contains(g, "testing.(*T)") || strings.Contains(g, "gorilla/websocket") {
				goroutines = append(goroutines, g)
			}
		}
		if now = inUse(t); len(goroutines) == 0 && now <= before {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%d files and sockets were open before, %d are now; goroutines left:\n%s", before, now, strings.Join(goroutines, "\n\n"))
}
