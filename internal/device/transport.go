package device

import (
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
	tcp, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	s := &socket{TCPConn: tcp}
	secured := tls.Client(s, cfg.tls(host, addr))
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

func (c Config) tls(host, addr string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: c.Roots}
	if c.Credentials != nil {
		return config
	}
	config.Certificates = []tls.Certificate{c.Certificate}
	if c.ALPN || strings.HasSuffix(addr, ":"+strconv.Itoa(httpsPort)) {
		config.NextProtos = []string{mqttALPN}
	}
	return config
}

func dial(ctx context.Context, addr string) (*net.TCPConn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, dialFailed(ctx, addr, err)
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("connect to %s: %T is no TCP connection", addr, c)
	}
	return tcp, nil
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
