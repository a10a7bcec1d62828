package device

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/cli"
)

// Reason is the kind of an Error, for programs and summaries.
type Reason string

// Reasons of an Error, in the order in which a connection meets them.
const (
	// BadCredentials: a certificate, key or CA file cannot be used.
	BadCredentials Reason = "bad-credentials"
	// NameNotFound: the endpoint's name does not resolve.
	NameNotFound Reason = "name-not-found"
	// Unreachable: nothing listens at the endpoint, or no way leads there.
	Unreachable Reason = "unreachable"
	// ProxyFailed: there is a proxy on the way, and it does not lead there.
	ProxyFailed Reason = "proxy-failed"
	// TimedOut: the endpoint did not answer in time.
	TimedOut Reason = "timed-out"
	// ServerUntrusted: the broker's certificate is not one to trust.
	ServerUntrusted Reason = "server-untrusted"
	// CertificateRefused: the broker does not take the device's certificate.
	CertificateRefused Reason = "certificate-refused"
	// TLSFailed: the TLS handshake failed in another way.
	TLSFailed Reason = "tls-failed"
	// WebSocketRefused: the broker did not take the WebSocket request, or the AWS
	// credentials that signed it.
	WebSocketRefused Reason = "websocket-refused"
	// ConnectRefused: the broker answered CONNECT with a refusal.
	ConnectRefused Reason = "connect-refused"
	// ConnectClosed: the broker closed the connection instead of answering
	// CONNECT, as AWS IoT Core does when the IoT policy does not allow it.
	ConnectClosed Reason = "connect-closed"
	// PublishFailed: a message was not acknowledged.
	PublishFailed Reason = "publish-failed"
	// SubscribeFailed: a subscription was not accepted.
	SubscribeFailed Reason = "subscribe-failed"
	// Lost: the connection stood and was then ended by the broker or the network.
	Lost Reason = "lost"
)

// Error says why a device could not connect or stay connected.
type Error struct {
	Reason Reason
	err    error
}

func (e *Error) Error() string { return e.err.Error() }
func (e *Error) Unwrap() error { return e.err }

// fail makes an *Error that carries a hint for cli.Main.
func fail(reason Reason, err error, hint string, args ...any) error {
	return cli.WithHint(&Error{reason, err}, hint, args...)
}

const describeEndpoint = `"aws iot describe-endpoint --endpoint-type iot:Data-ATS" prints the right one`

func dialFailed(ctx context.Context, addr string, err error) error {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && !errors.Is(ctx.Err(), context.Canceled):
		return fail(NameNotFound, fmt.Errorf("connect to %s: the name %q cannot be resolved: %w", addr, dns.Name, err),
			"check the endpoint's spelling: %s; check also that this machine reaches a name server", describeEndpoint)
	case ctx.Err() != nil || isTimeout(err):
		return interrupted(ctx, addr, "waiting for the TCP connection")
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(Unreachable, fmt.Errorf("connect to %s: nothing listens there: %w", addr, err),
			"check endpoint and port (AWS IoT Core: 8883); is the local endpoint running?")
	}
	return fail(Unreachable, fmt.Errorf("connect to %s: %w", addr, err),
		"check this machine's network, and that its firewall lets TCP out to that port")
}

func proxyFailed(ctx context.Context, addr, proxy string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return interrupted(ctx, addr, "waiting for the proxy")
	}
	const hint = "HTTPS_PROXY names the proxy, http://HOST:PORT, https:// or socks5://; NO_PROXY names hosts that need none"
	if proxy == "" {
		return fail(ProxyFailed, fmt.Errorf("connect to %s: proxy: %w", addr, err), hint)
	}
	return fail(ProxyFailed, fmt.Errorf("connect to %s: the proxy %s does not lead there: %w", addr, proxy, err), hint+"; the proxy must allow CONNECT to that port")
}

// interrupted is the error of an attempt that ctx or the network's patience ended.
func interrupted(ctx context.Context, addr, doing string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("connect to %s: interrupted: %w", addr, context.Canceled)
	}
	return fail(TimedOut, fmt.Errorf("connect to %s: timed out %s", addr, doing),
		"check endpoint and port, and that a firewall lets TCP out to that port")
}

func tlsFailed(ctx context.Context, addr string, err error) error {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		noTLS     tls.RecordHeaderError
	)
	untrusted := func(hint string, args ...any) error {
		return fail(ServerUntrusted, fmt.Errorf("connect to %s: the broker's certificate is not to be trusted: %w", addr, err), hint, args...)
	}
	switch {
	case ctx.Err() != nil || isTimeout(err):
		return interrupted(ctx, addr, "in the TLS handshake")
	case errors.As(err, &authority):
		return untrusted("give the CA that signed it with -r (for AWS: AmazonRootCA1.pem and an endpoint with -ats in its name), or leave -r out to trust the system's CAs")
	case errors.As(err, &name):
		return untrusted("connect by a name that is in the certificate; %s", describeEndpoint)
	case errors.As(err, &invalid):
		return untrusted("check this machine's clock, then the broker's certificate")
	case isCertificateAlert(err):
		return certificateRefused(addr, err)
	case errors.As(err, &noTLS):
		return fail(TLSFailed, fmt.Errorf("connect to %s: what listens there does not speak TLS: %w", addr, err),
			"check the port: MQTT over mutual TLS is 8883")
	case isClosed(err):
		return fail(TLSFailed, fmt.Errorf("connect to %s: closed by the other side in the TLS handshake: %w", addr, err),
			"check endpoint and port; AWS IoT Core wants to be called by the endpoint's own name: %s", describeEndpoint)
	}
	return fail(TLSFailed, fmt.Errorf("connect to %s: TLS handshake: %w", addr, err),
		"the broker must take TLS 1.2 or 1.3 and the kind of key that the certificate has")
}

func noCredentials(err error) error {
	return fail(BadCredentials, fmt.Errorf("no AWS credentials: %w", err),
		"set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; \"aws sts get-caller-identity\" shows whether they work")
}

func webSocketRefused(addr string, answer *http.Response) error {
	return fail(WebSocketRefused, fmt.Errorf("connect to %s: the broker refused the WebSocket request: %s", addr, refusalText(answer)),
		"check the AWS credentials and that they have not expired (\"aws sts get-caller-identity\"), that AWS_REGION is the endpoint's region, and this machine's clock; their IAM policy must allow iot:Connect")
}

func webSocketFailed(ctx context.Context, addr string, err error) error {
	if ctx.Err() != nil || isTimeout(err) {
		return interrupted(ctx, addr, "waiting for the answer to the WebSocket request")
	}
	return fail(WebSocketRefused, fmt.Errorf("connect to %s: no answer to the WebSocket request: %w", addr, err),
		"check the port: AWS IoT Core takes MQTT over WebSocket on 443")
}

// connectFailed is the error of a CONNECT that got no answer. In TLS 1.3 this is
// also where the refusal of the client's certificate arrives.
func connectFailed(addr string, cfg Config, err error) error {
	switch {
	case isCertificateAlert(err):
		return certificateRefused(addr, err)
	case isTimeout(err):
		return interrupted(context.Background(), addr, "waiting for the CONNACK")
	case isClosed(err):
		return fail(ConnectClosed, fmt.Errorf("connect to %s: the broker closed the connection without answering CONNECT", addr),
			"AWS IoT Core does this when a policy refuses: %s; or when it throttles: %s", policyChecks(cfg), throttling)
	}
	return fail(ConnectClosed, fmt.Errorf("connect to %s: no valid answer to CONNECT: %w", addr, err),
		"check that an MQTT broker listens at that port")
}

func certificateRefused(addr string, err error) error {
	return fail(CertificateRefused, fmt.Errorf("connect to %s: the broker refused the client certificate: %w", addr, alertOf(err)),
		"AWS IoT Core takes a certificate only if it is registered in the endpoint's account and region, ACTIVE and not expired: \"aws iot list-certificates\" shows it; a redeployment may have replaced it: \"lwt certificates\" fetches those of a stack")
}

// refused is the error of a CONNACK that is a refusal.
func refused(addr string, cfg Config, connack packets.Packet) error {
	words, hint := refusal(cfg, connack)
	return fail(ConnectRefused, fmt.Errorf("connect to %s: the broker refused the connection: %s", addr, words), "%s", hint)
}

// refusal explains the return codes of MQTT 3.1.1 (table 3.1) and the reason
// codes of MQTT 5.0 (3.2.2.2).
func refusal(cfg Config, connack packets.Packet) (words, hint string) {
	code := connack.ReasonCode
	if connack.ProtocolVersion == mqtt5 {
		words = reason(connack)
	}
	switch code {
	case 1, 0x84:
		words, hint = cmp.Or(words, "it does not take "+cfg.protocol()), "check that the broker speaks "+cfg.protocol()
	case 2, 0x85:
		words, hint = cmp.Or(words, fmt.Sprintf("it does not allow the client ID %q", cfg.ClientID)),
			"AWS IoT Core takes client IDs of 1 to 128 bytes; the IoT policy may want the thing's name"
	case 3, 0x88, 0x89, 0x97, 0x9f:
		words, hint = cmp.Or(words, "its MQTT service is unavailable"),
			"try again, but not at once: "+throttling
	case 4, 0x86:
		words, hint = cmp.Or(words, "it finds user name or password malformed"),
			"the broker wants a user name and password, which this device does not send: use a listener for client certificates"
	case 5, 0x87, 0x90:
		words, hint = cmp.Or(words, "the client is not authorized to connect"), "AWS IoT Core asks its policies: "+policyChecks(cfg)
	default:
		words, hint = cmp.Or(words, "it does not say why in terms of "+cfg.protocol()), "check that the broker speaks "+cfg.protocol()
	}
	if connack.ProtocolVersion != mqtt5 {
		words += fmt.Sprintf(" (return code %d)", code)
	}
	return words, hint
}

const throttling = "AWS IoT Core takes one connection a second for a client ID, and 500 a second for an account"

func (c Config) protocol() string { return "MQTT " + c.Protocol() }

// policyChecks lists what must hold for AWS IoT Core to accept a CONNECT
// (developer guide, "AWS IoT Core policy actions" and "MQTT").
func policyChecks(cfg Config) string {
	whose, thing := "a policy attached to the certificate", "; a policy with thing variables wants the certificate attached to a thing of that name"
	if cfg.Credentials != nil {
		whose, thing = "the IAM policy of the AWS credentials", "" // which know no thing
	}
	checks := fmt.Sprintf("%s must allow iot:Connect on client/%s and iot:Publish on topic/%s%s", whose, cfg.ClientID, cfg.Will.Topic, thing)
	if cfg.Will.Retain {
		checks += "; a retained will needs iot:RetainPublish too"
	}
	if cfg.Will.QoS == 2 {
		checks += "; a will of QoS 2 is always refused"
	}
	return checks
}

func publishFailed(topic string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fail(PublishFailed, fmt.Errorf("publish to %s: %w", topic, err),
		"AWS IoT Core closes the connection on a forbidden publish: the IoT policy must allow iot:Publish on topic/%s", topic)
}

func subscribeFailed(filter string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fail(SubscribeFailed, fmt.Errorf("subscribe to %s: %w", filter, err),
		"the IoT policy must allow iot:Subscribe on topicfilter/%s, and iot:Receive on the topics that match", filter)
}

// endedByBroker is a DISCONNECT of the broker's, which MQTT 5 has.
type endedByBroker struct{ disconnect packets.Packet }

func (e *endedByBroker) Error() string { return reason(e.disconnect) }

// lost is the error of a connection that stood.
func lost(addr string, err error) error {
	const hint = "AWS IoT Core ends a connection when a second one comes with the same client ID, when the IoT policy forbids a publish, or when the certificate is deactivated; its events $aws/events/presence/disconnected/+ say which"
	var told *endedByBroker
	switch {
	case errors.As(err, &told):
		return fail(Lost, fmt.Errorf("connection to %s: ended by the broker: %w", addr, err), hint)
	case isClosed(err):
		return fail(Lost, fmt.Errorf("connection to %s: closed by the broker: %w", addr, err), hint)
	case isTimeout(err): // only giveUp sets a deadline
		err = errNoAnswer
	}
	return fail(Lost, fmt.Errorf("connection to %s: lost: %w", addr, err), hint)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || isClosedWebSocket(err)
}

// certificateAlerts are the TLS alerts about a certificate (RFC 8446, 6.2).
var certificateAlerts = []tls.AlertError{
	42,  // bad certificate
	43,  // unsupported certificate
	44,  // revoked
	45,  // expired
	46,  // unknown certificate
	48,  // unknown CA
	49,  // access denied
	116, // certificate required
}

func isCertificateAlert(err error) bool {
	alert := alertOf(err)
	for _, a := range certificateAlerts {
		if alert != nil && alert.Error() == a.Error() {
			return true
		}
	}
	return false
}

// alertOf returns the TLS alert that the other side sent, or nil. Its type is
// not exported, its text is that of tls.AlertError.
func alertOf(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return op.Err
	}
	return nil
}
