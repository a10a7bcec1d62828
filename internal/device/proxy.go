package device

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/net/proxy"
)

// proxyPorts are those that proxies have if their URL names none.
var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// maxAnswerBytes bounds a proxy's answer to CONNECT.
const maxAnswerBytes = 64 << 10

// proxyFor returns the proxy on the way to an address, nil for none.
func (c Config) proxyFor(addr string) (*url.URL, error) {
	found, err := c.Proxy(&http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: addr}, Header: http.Header{}})
	if err != nil || found == nil {
		return nil, err
	}
	if proxyPorts[found.Scheme] == "" {
		return nil, fmt.Errorf("a proxy of the kind %q", found.Scheme)
	}
	return found, nil
}

// throughProxy makes a connection to a proxy into one to an address.
func throughProxy(ctx context.Context, tcp *socket, via *url.URL, addr string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { tcp.Close() })
	defer stop()
	if via.Scheme == "socks5" || via.Scheme == "socks5h" {
		return tcp, socks(ctx, tcp, via, addr)
	}
	conn := net.Conn(tcp)
	if via.Scheme == "https" {
		secured := tls.Client(tcp, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: via.Hostname()})
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secured
	}
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if user := via.User; user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	// The broker says nothing before the device does: what is buffered is the answer's.
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxAnswerBytes)), request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	return conn, nil
}

func socks(ctx context.Context, tcp net.Conn, via *url.URL, addr string) error {
	var auth *proxy.Auth
	if user := via.User; user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", via.Host, auth, nil)
	if err != nil {
		return err
	}
	over, ok := dialer.(interface {
		DialWithConn(ctx context.Context, c net.Conn, network, address string) (net.Addr, error)
	})
	if !ok {
		return fmt.Errorf("%T cannot use a connection that stands", dialer)
	}
	_, err = over.DialWithConn(ctx, tcp, "tcp", addr)
	return err
}
