package iot

import (
	"crypto/tls"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/localaws/loopback"
	"lastwill/internal/will"
)

// A broker is the message broker: it lets clients connect, routes messages, and
// hands each to the rules. It speaks MQTT as AWS IoT Core does, which is not as
// the standard has it; of the library it uses the packets alone
// (docs/adr/0005-a-broker-of-our-own.md).
type broker struct {
	service     *Service
	listener    *listener
	router      router
	retained    retainedMessages
	connections connections
	throttle    throttle
	// turns are taken to publish wills. When a fleet vanishes, thousands at once
	// would queue at every lock on the way, and all copies come at the end, faster
	// than subscribers can be sent them.
	turns chan struct{}

	mu       sync.Mutex
	clients  map[*client]bool    // those whose certificate is asked, or was
	holders  map[string]*client  // by client ID
	sessions map[string]*session // by client ID
}

func newBroker(s *Service, connectInterval time.Duration) *broker {
	return &broker{
		service: s, router: router{shared: map[string]*subscription{}}, retained: retainedMessages{byTopic: map[string]RetainedMessage{}},
		connections: connections{byClient: map[string]Connection{}},
		throttle:    throttle{interval: connectInterval, taken: map[string]bool{}},
		turns:       make(chan struct{}, runtime.GOMAXPROCS(0)),
		clients:     map[*client]bool{}, holders: map[string]*client{}, sessions: map[string]*session{},
	}
}

// start opens the port.
func (b *broker) start() error {
	o := b.service.options
	tcp, err := loopback.Listen(o.MQTTAddress)
	if err != nil {
		return fmt.Errorf("listen for MQTT: %w", err)
	}
	b.listener = &listener{
		tcp: tcp, tls: b.service.deviceTLS(), verify: o.VerifyWebSocket, log: o.Log, serveMQTT: b.serve, conns: map[*tls.Conn]bool{},
		refused: func(err error) {
			if !b.service.closing.Load() {
				b.service.observe(Event{Kind: Refused, Detail: err.Error()})
			}
		},
	}
	go b.listener.accept()
	return nil
}

// close ends all connections, and waits until they have ended.
func (b *broker) close() {
	b.listener.close()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions {
		if s.ends != nil {
			s.ends.Stop()
		}
	}
}

// enter notes a client before its certificate is asked.
func (b *broker) enter(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients[c] = true
}

// hold gives a client its client ID, and returns the one that has it.
func (b *broker) hold(c *client) (before *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before = b.holders[c.id]
	b.holders[c.id] = c
	return before
}

// left forgets a client whose connection has ended.
func (b *broker) left(c *client) {
	b.leaveSession(c)
	b.mu.Lock()
	delete(b.clients, c)
	if b.holders[c.id] == c {
		delete(b.holders, c.id)
	}
	b.mu.Unlock()
	close(c.ended)
}

// disconnectPrincipal ends the connections of a certificate, as AWS does within
// minutes of its deactivation.
func (s *Service) disconnectPrincipal(certificateID string) {
	var its []*client
	s.broker.mu.Lock()
	for c := range s.broker.clients {
		if c.who.certificateID == certificateID {
			its = append(its, c)
		}
	}
	s.broker.mu.Unlock()
	for _, c := range its {
		c.end(packets.ErrAdministrativeAction)
	}
}

// keepAlive is the interval that AWS IoT Core honours for the one asked for.
func keepAlive(asked uint16) uint16 {
	least, most := uint16(will.MinKeepAlive.Seconds()), uint16(will.MaxKeepAlive.Seconds())
	if asked == 0 {
		return most
	}
	return min(max(asked, least), most)
}

// checkPublish enforces the broker's limits on a message. Its errors wrap the
// reason code of MQTT 5.
func checkPublish(topic string, payloadBytes int, qos byte) error {
	slashes := strings.Count(topic, "/")
	if isBasicIngest(topic) {
		slashes -= 3 // the prefix of Basic Ingest does not count
	}
	switch {
	case qos > 1:
		return packets.ErrQosNotSupported
	case topic == "" || strings.ContainsAny(topic, "+#\x00"):
		return fmt.Errorf("%w: %q is empty or has wildcards", packets.ErrTopicNameInvalid, topic)
	case len(topic) > will.MaxTopicBytes:
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", packets.ErrTopicNameInvalid, len(topic), will.MaxTopicBytes)
	case slashes > will.MaxTopicSlashes:
		return fmt.Errorf("%w: %q has %d slashes, at most %d are allowed", packets.ErrTopicNameInvalid, topic, slashes, will.MaxTopicSlashes)
	case payloadBytes > will.MaxPayloadBytes:
		return fmt.Errorf("%w: the payload has %d bytes, at most %d are allowed", packets.ErrPacketTooLarge, payloadBytes, will.MaxPayloadBytes)
	}
	return nil
}

// basicIngest begins the topics whose third level names the rule to run (developer
// guide, "Reducing messaging costs with Basic Ingest").
const basicIngest = "$aws/rules/"

func isBasicIngest(topic string) bool { return strings.HasPrefix(topic, basicIngest) }

// isReserved says that only AWS publishes on a topic, or services that are not here.
func isReserved(topic string) bool { return strings.HasPrefix(topic, "$") && !isBasicIngest(topic) }

// checkFilter enforces the broker's limits on a topic filter, and the form of a shared
// subscription: $share/NAME/FILTER, without wildcards in NAME [MQTT-4.8.2-1] [MQTT-4.8.2-2].
func checkFilter(filter string) error {
	if err := will.CheckTopicFilter(filter); err != nil {
		return fmt.Errorf("%w: %w", packets.ErrTopicFilterInvalid, err)
	}
	plain, shared := unshared(filter)
	name := strings.TrimSuffix(strings.TrimPrefix(filter, "$share/"), "/"+plain)
	if shared && (plain == "" || name == "" || strings.ContainsAny(name, "+#")) || !shared && strings.HasPrefix(filter+"/", "$share/") {
		return fmt.Errorf("%w: %q: a shared subscription is $share/NAME/FILTER", packets.ErrTopicFilterInvalid, filter)
	}
	return nil
}

// maxMessageExpiry is how long a message that has an expiry may wait (general
// reference, "AWS IoT Core endpoints and quotas", message expiry).
const maxMessageExpiry = 7 * 24 * time.Hour

// publish sends a message to subscribers, unless it is one of Basic Ingest, and to the
// rules.
func (s *Service) publish(m *Message) {
	if m.expiry > 0 {
		m.expires = m.Time.Add(min(m.expiry, maxMessageExpiry))
	}
	if m.Retain {
		s.broker.retained.keep(m)
	}
	for _, sub := range s.broker.subscribers(m.Topic) {
		if sub.noLocal && sub.session.clientID == m.ClientID { // [MQTT-3.8.3-3]
			continue
		}
		s.broker.deliver(sub.session, delivery{message: m, qos: min(m.QoS, sub.qos), retain: m.Retain && sub.retainAsPublished})
	}
	s.process(m)
}

func (b *broker) subscribers(topic string) []subscription {
	if isBasicIngest(topic) {
		return nil
	}
	return b.router.match(topic)
}

// deliver gives a session a message, if the policy lets it receive the topic.
func (b *broker) deliver(s *session, d delivery) {
	if b.service.require(s.who.Load(), "iot:Receive", "topic/"+d.message.Topic) == nil {
		s.outbox.put(d)
	}
}

// process tells of a message that subscribers have got and runs the rules on it,
// but not while the broker closes: it is the broker that goes then, not its devices.
func (s *Service) process(m *Message) {
	if s.closing.Load() {
		return
	}
	s.observe(Event{Kind: Published, ClientID: m.ClientID, Message: m})
	s.runRules(m)
}
