package device_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
)

// Each end is what its name says, to a broker that is not ours.
func TestEnds(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	mosquitto := brokertest.StartMosquitto(t, pki)
	for _, how := range device.Ends {
		t.Run(string(how), func(t *testing.T) {
			id := "ends-" + string(how)
			o := brokertest.NewPeer(t, pki, mosquitto.Addr).Observe(t, "will/"+id)
			cfg := config(t, pki, mosquitto.Addr)
			cfg.ClientID, cfg.Will, cfg.KeepAlive = id, device.Message{Topic: "will/" + id, Payload: []byte("lost")}, time.Second
			var killed string
			cfg.Kill = func(ctx context.Context, clientID string) error {
				killed = clientID
				other := cfg // mosquitto has no API for that; another connection of the client ID ends the first, too
				other.NoWill = true
				d, err := device.Connect(ctx, other)
				if err == nil {
					err = d.Disconnect()
				}
				return err
			}
			d := connect(t, cfg)
			ended, err := d.End(t.Context(), how)
			if err != nil {
				t.Fatal(err)
			}
			if silent := ended.Due.Sub(ended.At); (how == device.Freeze) != (silent == d.Silence()) || how != device.Freeze && silent != 0 {
				t.Errorf("the broker can know after %s", silent)
			}
			if err := d.AwaitEnd(t.Context(), ended.Due); err != nil {
				t.Error(err)
			}
			if (how == device.Kill) != (killed == id) {
				t.Errorf("killed was %q", killed)
			}
			if (ended.Second != nil) != (how == device.Takeover) {
				t.Errorf("second connection: %v", ended.Second)
			}
			if ended.Second != nil {
				if err := ended.Second.Disconnect(); err != nil {
					t.Error(err)
				}
			}
			if want := (brokertest.Seen{Topic: "will/" + id, Payload: "lost"}); how.LeavesWill() {
				if got := o.Next(t); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			}
			wantSeen(t, o.Rest(t), nil)
		})
	}
}

func TestEndsThatCannotBe(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	_, addr := brokertest.StartMochi(t, pki, &brokertest.AllowAll{})
	d := connect(t, config(t, pki, addr))
	for how, want := range map[device.End]string{
		"explode":   `unknown end "explode": use one of [disconnect drop reset freeze takeover kill]`,
		device.Kill: "it takes AWS credentials",
	} {
		if _, err := d.End(t.Context(), how); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", how, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.AwaitEnd(ctx, time.Now()); err != context.Canceled {
		t.Errorf("an interrupted wait: %v", err)
	}
	if _, err := d.End(t.Context(), device.Disconnect); err != nil {
		t.Errorf("it stands after them: %v", err)
	}
	if _, err := d.End(t.Context(), device.Drop); err == nil {
		t.Error("it ended twice")
	}
}
