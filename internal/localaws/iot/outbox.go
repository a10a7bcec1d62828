package iot

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

const (
	// maxUnacknowledged is how many messages of QoS 1 a client may have unacknowledged,
	// in either direction (general reference, "AWS IoT Core endpoints and quotas",
	// unacknowledged publish requests per client).
	maxUnacknowledged = 100
	// storedInterval is the time from one stored message to the next, after a client
	// has come back to its session (developer guide, "MQTT persistent sessions": 10 a
	// second).
	storedInterval = 100 * time.Millisecond
	// maxOutboxBytes bounds what waits for a client; AWS has a bound, too, and does not
	// tell it. A message costs messageOverhead beside its topic and payload.
	maxOutboxBytes  = 16 << 20
	messageOverhead = 256
	// batchBytes is how much is written to a client at once, more for one large message.
	batchBytes = 16 << 10
)

// An outbox holds the messages for one session, in the order in which they were
// published [MQTT-4.6.0-6], and sends them as fast as the client takes them.
type outbox struct {
	// dropped is called when a message finds no room, once until there is room again.
	dropped func()

	mu     sync.Mutex
	client *client // nil while it is away
	// sending says that a goroutine sends to the client; it ends when nothing is left.
	sending bool
	// quota is how many more messages of QoS 1 may be sent before a PUBACK (MQTT 5, 4.9).
	quota int

	count   uint64        // of messages so far
	waiting [2][]delivery // by QoS
	// stored are those that the client missed: they come slowly, beside the others.
	stored     []delivery
	storedNext time.Time
	storedWait bool // somebody waits for storedNext
	// unacknowledged are those of QoS 1 that were sent, by packet identifier.
	unacknowledged map[uint16]delivery
	lastID         uint16
	taken          map[uint16]bool // packet identifiers, also of stored messages
	bytes          int
	full           bool
}

// A delivery is a message on its way to one client.
type delivery struct {
	message *Message
	number  uint64 // in the order of the outbox
	qos     byte
	retain  bool
	id      uint16 // packet identifier; 0 before the message was sent
}

func newOutbox(dropped func()) *outbox {
	return &outbox{dropped: dropped, unacknowledged: map[uint16]delivery{}, taken: map[uint16]bool{}}
}

func (d delivery) bytes() int { return messageOverhead + len(d.message.Topic) + len(d.message.Payload) }

// attach lets the client have what waits and what comes.
func (o *outbox) attach(c *client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.client, o.sending, o.quota = c, false, min(c.receiveMaximum, maxUnacknowledged)
	o.wake()
}

// detach keeps the messages of QoS 1, those that were sent first [MQTT-4.4.0-1], for
// the client's return.
func (o *outbox) detach() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.client = nil
	sent := slices.SortedFunc(maps.Values(o.unacknowledged), func(a, b delivery) int { return cmp.Compare(a.number, b.number) })
	o.stored = slices.Concat(sent, o.stored, o.waiting[1])
	clear(o.unacknowledged)
	for _, d := range o.waiting[0] {
		o.bytes -= d.bytes()
	}
	o.waiting = [2][]delivery{}
}

// put adds a message.
func (o *outbox) put(d delivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.client == nil && d.qos == 0 {
		return
	}
	if o.bytes+d.bytes() > maxOutboxBytes {
		if !o.full {
			o.full = true
			o.dropped()
		}
		return
	}
	o.full = false
	o.bytes += d.bytes()
	o.count++
	d.number = o.count
	if o.client == nil {
		o.stored = append(o.stored, d)
		return
	}
	o.waiting[d.qos] = append(o.waiting[d.qos], d)
	o.wake()
}

// acknowledge takes a PUBACK.
func (o *outbox) acknowledge(id uint16) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d, ok := o.unacknowledged[id]
	if !ok {
		return
	}
	delete(o.unacknowledged, id)
	o.done(d)
	o.quota++
	o.wake()
}

// done forgets a message; o.mu is held.
func (o *outbox) done(d delivery) {
	o.bytes -= d.bytes()
	delete(o.taken, d.id)
}

// wake has somebody send; o.mu is held.
func (o *outbox) wake() {
	if o.client != nil && !o.sending {
		o.sending = true
		go o.send(o.client)
	}
}

// send sends to a client until nothing is left that may be sent.
func (o *outbox) send(c *client) {
	defer c.recovered()
	for {
		batch := o.batch(c, time.Now())
		if batch == nil {
			return
		}
		if c.write(batch) != nil {
			return // the connection is ending, and wakes nobody
		}
	}
}

// batch takes what may be sent to a client now, nil for nothing.
func (o *outbox) batch(c *client, now time.Time) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.client != c {
		return nil
	}
	var b bytes.Buffer
	for b.Len() < batchBytes {
		d, again, ok := o.next(now)
		if !ok {
			break
		}
		packet, fits := c.publishPacket(d, again, now)
		if !fits { // the client wants none so large, or it has expired [MQTT-3.1.2-24] [MQTT-3.3.2-5]
			o.done(d)
			continue
		}
		if d.qos == 0 {
			o.done(d)
		} else {
			o.unacknowledged[d.id] = d
			o.quota--
		}
		b.Write(packet)
	}
	if b.Len() > 0 {
		return b.Bytes()
	}
	o.sending = false
	if len(o.stored) > 0 && o.quota > 0 && !o.storedWait {
		o.storedWait = true
		time.AfterFunc(o.storedNext.Sub(now), func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.storedWait = false
			o.wake()
		})
	}
	return nil
}

// next takes the message whose turn it is, and says whether it was sent before; o.mu is
// held. Those of QoS 0 need no quota, and overtake what has to wait for it.
func (o *outbox) next(now time.Time) (d delivery, again, ok bool) {
	if o.quota > 0 && len(o.stored) > 0 && !now.Before(o.storedNext) {
		o.storedNext = now.Add(storedInterval)
		d = pop(&o.stored)
		again = d.id != 0
		return o.identified(d), again, true
	}
	zero, one := o.waiting[0], o.waiting[1]
	if o.quota > 0 && len(one) > 0 && (len(zero) == 0 || one[0].number < zero[0].number) {
		return o.identified(pop(&o.waiting[1])), false, true
	}
	if len(zero) > 0 {
		return pop(&o.waiting[0]), false, true
	}
	return delivery{}, false, false
}

// identified gives a message a packet identifier that is free and not 0 [MQTT-2.2.1-4].
func (o *outbox) identified(d delivery) delivery {
	if d.id != 0 {
		return d
	}
	for o.lastID == 0 || o.taken[o.lastID] {
		o.lastID++
	}
	d.id = o.lastID
	o.taken[d.id] = true
	o.lastID++
	return d
}

// pop takes the first of a queue, and keeps nothing of it alive.
func pop(queue *[]delivery) delivery {
	first := (*queue)[0]
	(*queue)[0] = delivery{}
	if *queue = (*queue)[1:]; len(*queue) == 0 {
		*queue = nil
	}
	return first
}

// publishPacket is the PUBLISH of a message for this client, if it wants it.
func (c *client) publishPacket(d delivery, again bool, now time.Time) (packet []byte, ok bool) {
	m := d.message
	p := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Publish, Qos: d.qos, Retain: d.retain, Dup: again},
		ProtocolVersion: c.version, TopicName: m.Topic, Payload: m.Payload, PacketID: d.id, Properties: m.properties,
	}
	if !m.expires.IsZero() {
		left := m.expires.Sub(now)
		if left <= 0 {
			return nil, false
		}
		p.Properties.MessageExpiryInterval = uint32((left + time.Second - 1) / time.Second) // [MQTT-3.3.2-6]
	}
	b := bytes.NewBuffer(make([]byte, 0, len(m.Topic)+len(m.Payload)+64))
	if err := encode(b, p); err != nil {
		c.broker.service.options.Log.Error("message was not encoded", "client", c.id, "topic", m.Topic, "error", err)
		return nil, false
	}
	return b.Bytes(), c.maxPacketBytes == 0 || uint32(b.Len()) <= c.maxPacketBytes
}

// connected reports whether the client is there.
func (o *outbox) connected() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.client != nil
}
