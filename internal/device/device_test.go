package device_test

import (
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"

	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
)

const (
	scenarioWill      = `{"state":{"reported":{"last_will":"yes","trigger_action":"on","client_id":"lwtThing"}}}`
	scenarioConnected = `{"message": "AWS IoT Thing connected message to IoT Core"}`
)

// broker is a broker under test with an event for the end of each session.
type broker struct {
	addr string
	gone func(t *testing.T, clientID string)
}

// sessions is a mochi hook that reports ended sessions; it is called when the
// will, if any, is published.
type sessions struct {
	brokertest.AllowAll
	ended chan string
}

func (h *sessions) Provides(b byte) bool {
	return b == mochi.OnDisconnect || h.AllowAll.Provides(b)
}

func (h *sessions) OnDisconnect(cl *mochi.Client, _ error, _ bool) {
	select {
	case h.ended <- cl.ID:
	default: // nobody asks for this many
	}
}

func brokers(t *testing.T, pki *brokertest.PKI) map[string]broker {
	hook := &sessions{ended: make(chan string, 100)}
	_, mochiAddr := brokertest.StartMochi(t, pki, hook)
	mosquitto := brokertest.StartMosquitto(t, pki)
	return map[string]broker{
		"mochi": {mochiAddr, func(t *testing.T, id string) {
			for next := range hook.ended {
				if next == id {
					return
				}
			}
		}},
		"mosquitto": {mosquitto.Addr, func(t *testing.T, id string) {
			mosquitto.Log.Await(t, "Client "+id+" disconnected", "Client "+id+" closed its connection")
		}},
	}
}

func config(t *testing.T, pki *brokertest.PKI, addr string) device.Config {
	t.Helper()
	cert, err := device.LoadCertificate(pki.Issue(t, "lwtThing"))
	if err != nil {
		t.Fatal(err)
	}
	return device.Config{Endpoint: addr, Roots: pki.Pool, Certificate: cert, ClientID: "lwtThing"}
}

func connect(t *testing.T, cfg device.Config) *device.Device {
	t.Helper()
	d, err := device.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAWillFollowsADropAndNothingElse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		noWill bool
		end    func(d *device.Device) error
		wills  []brokertest.Seen
	}{
		{
			"a dropped socket yields the scenario's will, once", false,
			func(d *device.Device) error { _, err := d.Drop(); return err },
			[]brokertest.Seen{{Topic: "/last/will/topic", Payload: scenarioWill}},
		},
		{
			"a DISCONNECT yields none", false,
			func(d *device.Device) error { return d.Disconnect() },
			nil,
		},
		{
			"a dropped socket yields none where none was left with the broker", true,
			func(d *device.Device) error { _, err := d.Drop(); return err },
			nil,
		},
	}
	pki := brokertest.NewPKI(t)
	for name, b := range brokers(t, pki) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := brokertest.NewPeer(t, pki, b.addr).Observe(t, "/last/will/topic", "/lwt/connected/topic")
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					cfg := config(t, pki, b.addr)
					cfg.NoWill = tt.noWill
					d := connect(t, cfg)
					if err := d.Announce(t.Context()); err != nil {
						t.Fatal(err)
					}
					want := brokertest.Seen{Topic: "/lwt/connected/topic", Payload: scenarioConnected, QoS: 1}
					if got := o.Next(t); got != want {
						t.Fatalf("connected message: got %+v, want %+v", got, want)
					}
					if err := tt.end(d); err != nil {
						t.Fatal(err)
					}
					b.gone(t, "lwtThing")
					wantSeen(t, o.Rest(t), tt.wills)
				})
			}
		})
	}
}

func wantSeen(t *testing.T, got, want []brokertest.Seen) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}
