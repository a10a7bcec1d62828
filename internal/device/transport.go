package device

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
)

// Ports of AWS IoT Core, and the name under which MQTT is told from HTTP on the
// second (developer guide, "Device communication protocols").
const (
	mqttPort  = 8883
	httpsPort = 443
	mqttALPN  = "x-amzn-mqtt-ca"
)

// Transport is what carries MQTT.
type Transport string

// The transports of AWS IoT Core.
const (
	MTLS      Transport = "mtls"
	MTLSALPN  Transport = "mtls-alpn"
	WebSocket Transport = "websocket"
)

// Words name the transport for people.
func (t Transport) Words() string {
	switch t {
	case MTLS:
		return "mutual TLS"
	case MTLSALPN:
		return "mutual TLS with ALPN"
	case WebSocket:
		return "WebSocket"
	}
	return string(t)
}

// Transport is the one that the configuration leads to.
func (c Config) Transport() Transport {
	if c.Credentials != nil {
		return WebSocket
	}
	if _, addr, err := c.address(); c.ALPN || err == nil && strings.HasSuffix(addr, ":"+strconv.Itoa(httpsPort)) {
		return MTLSALPN
	}
	return MTLS
}

// link is an open connection to the broker.
type link struct {
	net.Conn // carries MQTT
	// socket is the TCP connection beneath it.
	socket *socket
	addr   string // the broker's
}

// A socket is the device's way out.
type socket struct {
	*net.TCPConn
	frozen atomic.Bool
}

// Write sends nothing once the socket is frozen: neither TLS nor WebSocket shall
// answer for a device that is silent.
func (s *socket) Write(p []byte) (int, error) {
	if s.frozen.Load() {
		return len(p), nil
	}
	return s.TCPConn.Write(p)
}

// open makes a connection to the broker that is ready for CONNECT.
func open(ctx context.Context, cfg Config) (*link, error) {
	host, addr, err := cfg.address()
	if err != nil {
		return nil, err
	}
	s, way, err := dial(ctx, cfg, addr)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(way, cfg.tls(host))
	if err := secured.HandshakeContext(ctx); err != nil {
		s.Close()
		return nil, tlsFailed(ctx, addr, err)
	}
	l := &link{secured, s, addr}
	if cfg.Credentials != nil {
		if l.Conn, err = upgrade(ctx, cfg, secured, addr); err != nil {
			s.Close()
			return nil, err
		}
	}
	return l, nil
}

func (c Config) tls(host string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: c.Roots}
	how := c.Transport()
	if how != WebSocket {
		config.Certificates = []tls.Certificate{c.Certificate}
	}
	if how == MTLSALPN {
		config.NextProtos = []string{mqttALPN}
	}
	return config
}

// dial opens the device's socket, and the way to the broker that leads through it:
// the socket itself or, behind a proxy, what the proxy makes of it.
func dial(ctx context.Context, cfg Config, addr string) (s *socket, way net.Conn, err error) {
	via, err := cfg.proxyFor(addr)
	if err != nil {
		return nil, nil, proxyFailed(ctx, addr, "", err)
	}
	first := addr
	if via != nil {
		first = net.JoinHostPort(via.Hostname(), cmp.Or(via.Port(), proxyPorts[via.Scheme]))
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", first)
	switch {
	case err != nil && via != nil:
		return nil, nil, proxyFailed(ctx, addr, via.Redacted(), err)
	case err != nil:
		return nil, nil, dialFailed(ctx, addr, err)
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		c.Close()
		return nil, nil, fmt.Errorf("connect to %s: %T is no TCP connection", first, c)
	}
	s = &socket{TCPConn: tcp}
	if via == nil {
		return s, s, nil
	}
	if way, err = throughProxy(ctx, s, via, addr); err != nil {
		s.Close()
		return nil, nil, proxyFailed(ctx, addr, via.Redacted(), err)
	}
	return s, way, nil
}

// address is the configuration's.
func (c Config) address() (host, addr string, err error) {
	otherwise := mqttPort
	if c.Credentials != nil {
		otherwise = httpsPort
	}
	return address(c.Endpoint, c.Port, otherwise)
}

// address splits an endpoint into the host, which the broker's certificate must
// name, and the address to dial. A port given beside the endpoint must not
// contradict one in it; where there is none, it is otherwise.
func address(endpoint string, port, otherwise int) (host, addr string, err error) {
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
		port = otherwise
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
