package device_test

import (
	"crypto/tls"
	"errors"
	"io"
	"math"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
)

// A reset is one on the wire, not the end of a stream, over a plain look at the socket.
func TestAResetIsAReset(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	ended := make(chan error, 1)
	d := connect(t, config(t, pki, serve(t, accept(pki.ServerTLS(t), func(c *tls.Conn) {
		_, err := io.ReadAll(c)
		ended <- err
	}))))
	if _, err := d.Reset(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the broker reads %v, want a reset", err)
	}
}

// With nothing else to say a device sends a PINGREQ each keep alive; when one stays
// unanswered the connection is lost.
func TestAnUnansweredPingEndsTheConnection(t *testing.T) {
	t.Parallel()
	const answered = 2
	pki := brokertest.NewPKI(t)
	seen := make(chan []time.Time, 1)
	cfg := config(t, pki, serve(t, accept(pki.ServerTLS(t), func(c *tls.Conn) {
		at := []time.Time{time.Now()}
		for {
			p, err := packets.ReadPacket(c)
			if err != nil {
				seen <- at
				return
			}
			if _, ok := p.(*packets.PingreqPacket); ok {
				at = append(at, time.Now())
				if len(at)-1 <= answered {
					c.Write([]byte{0xd0, 0})
				}
			}
		}
	})))
	cfg.KeepAlive = time.Second
	d := connect(t, cfg)
	<-d.Done()
	wantFailure(t, d.Err(), failure{device.Lost, "does not answer", "same client ID"})
	if at := <-seen; len(at) != 1+answered+1 {
		t.Errorf("%d PINGREQ, want %d answered and one that was not", len(at)-1, answered)
	}
}

// A frozen device takes what comes and answers nothing: neither PUBACK nor PINGREQ.
func TestAFrozenDeviceAnswersNothing(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	frozen, received, rest := make(chan struct{}), make(chan device.Message, 1), make(chan []byte, 1)
	cfg := config(t, pki, serve(t, accept(pki.ServerTLS(t), func(c *tls.Conn) {
		<-frozen
		p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		p.TopicName, p.Payload, p.Qos, p.MessageID = "t", []byte("x"), 1, 7
		p.Write(c)
		got, _ := io.ReadAll(c)
		rest <- got
	})))
	cfg.KeepAlive = time.Second
	cfg.Receive = func(m device.Message) { received <- m }
	d := connect(t, cfg)
	if _, err := d.Freeze(); err != nil {
		t.Fatal(err)
	}
	close(frozen)
	<-received
	if err := d.Announce(t.Context()); err == nil {
		t.Error("a frozen device published")
	}
	if err := drop(d); err != nil {
		t.Fatal(err)
	}
	if got := <-rest; len(got) > 0 {
		t.Errorf("the broker got % x of a frozen device", got)
	}
}

// Packet identifiers begin again after the last one, and 0 is none.
func TestPacketIdentifiersAreNeverZero(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	ids := make(chan uint16, 1)
	d := connect(t, config(t, pki, serve(t, accept(pki.ServerTLS(t), func(c *tls.Conn) {
		for {
			p, err := packets.ReadPacket(c)
			if err != nil {
				return
			}
			if p, ok := p.(*packets.PublishPacket); ok {
				ids <- p.MessageID
				c.Write([]byte{0x40, 2, byte(p.MessageID >> 8), byte(p.MessageID)})
			}
		}
	}))))
	for n := range math.MaxUint16 + 2 {
		if err := d.Announce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if id, want := <-ids, uint16(n%math.MaxUint16+1); id != want {
			t.Fatalf("message %d has identifier %d, want %d", n+1, id, want)
		}
	}
}
