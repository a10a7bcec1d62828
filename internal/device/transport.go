package device

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// defaultPort is MQTT over mutual TLS (developer guide, "Device communication
// protocols").
const defaultPort = 8883

// connackBytes is the length of a CONNACK; its last byte is the return code
// (MQTT 3.1.1, 3.2).
const connackBytes = 4

// conn is a connection to the broker that keeps the TCP socket beneath it at hand.
type conn struct {
	net.Conn
	socket net.Conn
	// connack is the broker's answer to CONNECT; established says that it is complete.
	connack     []byte
	established atomic.Bool
}

// open dials the broker and shakes hands over TLS.
func open(ctx context.Context, addr string, cfg *tls.Config) (*conn, error) {
	socket, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, dialFailed(ctx, addr, err)
	}
	secured := tls.Client(socket, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		socket.Close()
		return nil, tlsFailed(ctx, addr, err)
	}
	return &conn{Conn: secured, socket: socket}, nil
}

// Read reads from the broker and keeps its answer to CONNECT.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.established.Load() {
		c.connack = append(c.connack, p[:n]...)
		c.established.Store(len(c.connack) >= connackBytes)
	}
	return n, err
}

// refusal is the return code of the CONNACK, 0 if there is none. paho takes the
// codes that MQTT 3.1.1 reserves (table 3.1) for success.
func (c *conn) refusal() byte {
	if len(c.connack) < connackBytes || c.connack[0]>>4 != packets.Connack {
		return 0
	}
	return c.connack[connackBytes-1]
}

// Write writes to the broker. In TLS 1.3 the broker judges the client's
// certificate when the client's side of the handshake is done (RFC 8446, 4.4):
// it may have closed the connection before the CONNECT is written, and its
// reason is then still to be read.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !c.established.Load() {
		if _, reason := c.Conn.Read(make([]byte, 1)); reason != nil {
			err = reason
		}
	}
	return n, err
}

// address splits an endpoint into the host, which the broker's certificate must
// name, and the address to dial. A port given beside the endpoint must not
// contradict one in it.
func address(endpoint string, port int) (host, addr string, err error) {
	host, inEndpoint, err := splitEndpoint(endpoint)
	if err != nil {
		return "", "", err
	}
	if port < 0 || port > 65535 {
		return "", "", fmt.Errorf("port %d: give 1 to 65535", port)
	}
	switch {
	case inEndpoint != 0 && port != 0 && inEndpoint != port:
		return "", "", fmt.Errorf("endpoint %q has port %d, but port %d is asked for too: give one of them", endpoint, inEndpoint, port)
	case inEndpoint != 0:
		port = inEndpoint
	case port == 0:
		port = defaultPort
	}
	return host, net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// splitEndpoint reads host, host:port, [IPv6], [IPv6]:port or a bare IPv6
// address. The port is 0 if there is none.
func splitEndpoint(endpoint string) (host string, port int, err error) {
	switch {
	case endpoint == "":
		return "", 0, fmt.Errorf("endpoint is empty: give the host name that \"aws iot describe-endpoint --endpoint-type iot:Data-ATS\" prints")
	case strings.Contains(endpoint, "://"):
		return "", 0, fmt.Errorf("endpoint %q has a scheme: give the host name alone", endpoint)
	case strings.ContainsAny(endpoint, "/?#@ \t\r\n"):
		return "", 0, fmt.Errorf("endpoint %q is not a host name: give the host name alone", endpoint)
	}
	if net.ParseIP(endpoint) != nil || !strings.ContainsAny(endpoint, ":[]") {
		return endpoint, 0, nil
	}
	if bare := strings.Trim(endpoint, "[]"); endpoint == "["+bare+"]" && net.ParseIP(bare) != nil {
		return bare, 0, nil
	}
	host, digits, err := net.SplitHostPort(endpoint)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("endpoint %q is neither host nor host:port: write an IPv6 address with a port as [address]:port", endpoint)
	}
	port, err = strconv.Atoi(digits)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("endpoint %q has port %q: give 1 to 65535", endpoint, digits)
	}
	return host, port, nil
}
