// Package iot is the local AWS IoT Core: the registry of things, certificates
// and policies, a message broker that enforces them over mutual TLS, and the
// rules engine.
//
// Known differences from AWS IoT Core:
//   - A CONNECT that the policy refuses is answered with CONNACK 5 (MQTT 3.1.1)
//     or 0x87 (MQTT 5) before the connection is closed; AWS may just close it.
//   - One port takes what AWS has two for: MQTT over mutual TLS (8883), and MQTT
//     over mutual TLS with ALPN and over WebSocket (443).
//   - A client certificate that is not registered or not active fails in the TLS
//     handshake with the alert "bad certificate". A client without one, and
//     without ALPN, is closed after the handshake.
//   - SNI is not required: to an address such as 127.0.0.1 clients send none.
//   - Who connects over WebSocket with valid credentials may do everything, as in
//     the APIs: of IAM policies, only those of a function's role are asked.
//   - A CONNECT that comes within a second after another with the same client ID
//     is answered with CONNACK 3 (MQTT 3.1.1) or 0x97 (MQTT 5); what AWS answers
//     is not documented.
//   - An MQTT 5 client whose connection is ended gets a DISCONNECT with a reason
//     code; AWS may choose another code.
//   - A SUBSCRIBE with a filter beyond the limits of a topic ends the connection.
//   - Policies know the keys of a connection, its certificate and its thing; a
//     policy with any other key or variable is refused by name.
//   - A session outlives its connection for an hour at most, the default on AWS, and
//     does not outlive the endpoint; retained messages do, without their MQTT 5
//     properties.
//   - What waits for a client is bounded by 16 MB; then messages are dropped, and the
//     log says so. AWS does not tell its bound.
//   - After a SUBSCRIBE at QoS 2, which gets no SUBACK, the connection goes on; AWS
//     documents the missing SUBACK only.
//   - A rule that republishes into its own filter is stopped after maxHops
//     rounds with an error in the log; AWS goes on and bills it.
//   - Only the rule actions sns, republish and cloudwatchLogs exist; a rule with
//     another is refused when it is created.
//   - Lifecycle events come in order and once; the version number of a client's is
//     reset after 30 minutes without a connection, not after an hour.
//   - Not here: Device Shadow, jobs, fleet provisioning, topic aliases towards
//     clients, Will Delay Interval, throttling but that of CONNECT per client ID, the
//     end of connections after days.
//   - Creating a rule probes that its roles can be assumed, as AWS does, not what
//     they may do.
package iot

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/iotsql"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/logs"
	"lastwill/internal/localaws/sns"
)

// Options of a Service.
type Options struct {
	Account awsapi.Account
	IAM     *iam.Service
	SNS     *sns.Service
	Logs    *logs.Service
	// MQTTAddress is where devices connect. Default: a free port on 127.0.0.1.
	MQTTAddress string
	// VerifyWebSocket checks the signature of a request for MQTT over WebSocket
	// and returns who signed it. Required.
	VerifyWebSocket func(*http.Request) (Signer, error)
	// ConnectInterval is the least time from one CONNECT of a client ID to the
	// next. Default: 1 s, as on AWS. A negative one is none.
	ConnectInterval time.Duration
	// AuthorityDir keeps the key of the certificate authority. Default: the key is
	// gone with the process.
	AuthorityDir string
	// Observe is told what the broker and the rules engine do, as they do it; it
	// must not block. Default: nobody is told.
	Observe func(Event)
	Log     *slog.Logger
}

// A Service is the AWS IoT Core of one account and region.
type Service struct {
	options Options
	ca      *authority
	broker  *broker
	closing atomic.Bool
	// lifecycleWatched tells that lifecycle events are published even if nobody has
	// subscribed to them.
	lifecycleWatched atomic.Bool

	mu           sync.RWMutex
	things       map[string]*thing
	certificates map[string]*certificate // by id
	policies     map[string]*iotPolicy
	rules        map[string]*rule
	index        iotsql.Index[*rule]
}

// New returns a Service with an empty registry. Start opens its broker.
func New(o Options) (*Service, error) {
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	ca, err := openAuthority(o.AuthorityDir)
	if err != nil {
		return nil, fmt.Errorf("open the local certificate authority: %w", err)
	}
	s := &Service{
		options: o, ca: ca,
		things: map[string]*thing{}, certificates: map[string]*certificate{},
		policies: map[string]*iotPolicy{}, rules: map[string]*rule{},
	}
	s.broker = newBroker(s, cmp.Or(o.ConnectInterval, connectInterval))
	return s, nil
}

// Start lets devices connect. The registry may be filled before.
func (s *Service) Start() error { return s.broker.start() }

// Address is where devices connect: 127.0.0.1 and the port, for MQTT over mutual
// TLS, with ALPN or without, and over WebSocket.
func (s *Service) Address() string { return s.broker.listener.tcp.Addr().String() }

// RootCA is the PEM of the authority that signed the broker's certificate: what
// AmazonRootCA1.pem is on AWS.
func (s *Service) RootCA() []byte { return s.ca.rootPEM() }

// ServerTLS is the configuration for a TLS server of this endpoint that asks for
// no client certificate.
func (s *Service) ServerTLS() *tls.Config { return s.ca.serverConfig() }

// Close ends all connections and stops the broker. Their wills run no rules: it
// is the broker that goes, not the devices. Further calls do nothing.
func (s *Service) Close() error {
	if s.broker.listener != nil && !s.closing.Swap(true) {
		s.broker.close()
	}
	return nil
}

// EventKind says what happened.
type EventKind string

// What the broker and the rules engine do.
const (
	// Connected is a CONNECT that was accepted.
	Connected EventKind = "connected"
	// Refused is a CONNECT that was not, or another packet that is forbidden or
	// beyond the limits; Detail says why.
	Refused EventKind = "refused"
	// Pinged is a PINGREQ: a sign of life from a client that has nothing to say.
	Pinged EventKind = "pinged"
	// Disconnected is the end of a connection; Detail has AWS's disconnectReason.
	Disconnected EventKind = "disconnected"
	// Published is a message on a topic; Will tells whether the broker sent it for a lost client.
	Published EventKind = "published"
	// Matched is a rule whose WHERE was true for a message.
	Matched EventKind = "matched"
	// NotMatched is a rule whose WHERE was not, or that could not be evaluated;
	// Detail says which part, Err why not.
	NotMatched EventKind = "not matched"
	// ActionDone is a rule action that succeeded; Detail and Action name it.
	ActionDone EventKind = "action done"
	// ActionFailed is one that did not; Detail has the error.
	ActionFailed EventKind = "action failed"
)

// An Event is one thing that happened.
type Event struct {
	Kind     EventKind
	Time     time.Time
	ClientID string
	Rule     string
	// Message is what was published or evaluated; nil for connections.
	Message *Message
	Detail  string
	// Action is the kind of the rule action, ErrorAction whether it is the rule's
	// error action.
	Action      string
	ErrorAction bool
	// Err is what kept a rule from being evaluated or an action from being done.
	Err error
	// KeepAlive of a client that connected, as the broker honours it.
	KeepAlive time.Duration
	// Query is the statement that was evaluated; nil where none was.
	Query *iotsql.Rule
	// Output is what the statement made of the message, or what the action got.
	Output []byte
}

// A Message is one MQTT message on its way through the broker.
type Message struct {
	Topic   string
	Payload []byte
	// ClientID of the publisher; of the lost client for a will.
	ClientID string
	// Principal is the certificate id of the publisher, or the unique ID of the
	// AWS credentials that it has instead.
	Principal string
	SourceIP  string
	QoS       byte
	Retain    bool
	// Will tells that the broker published it for a client that vanished.
	Will bool
	// Time when the broker took it.
	Time time.Time

	// properties go with it to clients of MQTT 5.
	properties packets.Properties
	// expiry is how long it may wait for a client, expires until when; zero for ever.
	expiry  time.Duration
	expires time.Time
	// hops counts the rules that republished it.
	hops int
}

// Copy tells that a rule republished the message.
func (m *Message) Copy() bool { return m.hops > 0 }

func (s *Service) observe(e Event) {
	e.Time = time.Now()
	s.options.Observe(e)
}

// certificateOf finds the registered certificate of a TLS peer.
func (s *Service) certificateOf(peer *x509.Certificate) (*certificate, error) {
	id := fingerprint(peer.Raw)
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.certificates[id]
	if !ok {
		return nil, fmt.Errorf("certificate %s is not registered", id)
	}
	if c.Status != statusActive {
		return nil, fmt.Errorf("certificate %s is %s", id, c.Status)
	}
	return c, nil
}

// tags returns its own copy, so that no caller changes what is stored.
func tags(t awsapi.Tags) awsapi.Tags { return maps.Clone(t) }

// Publish publishes a message as the account's owner, as iot-data's Publish does.
func (s *Service) Publish(ctx context.Context, topic string, payload []byte, qos byte, retain bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkPublish(topic, len(payload), qos); err != nil {
		return awsapi.Errorf("InvalidRequestException", "%v", err)
	}
	if isReserved(topic) {
		return &awsapi.Error{Code: "ForbiddenException", Status: http.StatusForbidden, Message: fmt.Sprintf("topic %q is reserved: shadows and jobs are not here, and only AWS IoT publishes to the others", topic)}
	}
	s.publish(&Message{Topic: topic, Payload: payload, QoS: qos, Retain: retain, Time: time.Now()})
	return nil
}
