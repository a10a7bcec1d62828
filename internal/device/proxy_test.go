package device_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"lastwill/internal/await"
	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
)

// relay copies both ways until one side ends, and then ends both.
func relay(a, b net.Conn) {
	go func() {
		defer a.Close()
		defer b.Close()
		io.Copy(a, b)
	}()
	io.Copy(b, a)
	b.Close()
}

// connectProxy answers CONNECT as a proxy does, and remembers what it was asked.
func connectProxy(asked chan<- string, status string) func(net.Conn) {
	return func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		asked <- r.Method + " " + r.RequestURI + " " + r.Header.Get("Proxy-Authorization")
		if !strings.HasPrefix(status, "200") {
			io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
			return
		}
		broker, err := net.Dial("tcp", r.RequestURI)
		if err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 "+status+"\r\n\r\n")
		relay(c, broker)
	}
}

// socksProxy is a proxy of RFC 1928 without authentication, for IPv4.
func socksProxy(asked chan<- string) func(net.Conn) {
	return func(c net.Conn) {
		head := make([]byte, 2)
		io.ReadFull(c, head)
		io.ReadFull(c, make([]byte, head[1]))
		c.Write([]byte{5, 0})
		request := make([]byte, 10)
		io.ReadFull(c, request)
		to := &net.TCPAddr{IP: request[4:8], Port: int(request[8])<<8 | int(request[9])}
		asked <- to.String()
		broker, err := net.Dial("tcp", to.String())
		if err != nil {
			return
		}
		c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		relay(c, broker)
	}
}

func TestProxies(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	mosquitto := brokertest.StartMosquitto(t, pki)
	asked := make(chan string, 10)
	tests := []struct{ name, proxy, asked string }{
		{"HTTP CONNECT", "http://" + serve(t, connectProxy(asked, "200 OK")), "CONNECT " + mosquitto.Addr + " "},
		{
			"with a password", strings.Replace("http://"+serve(t, connectProxy(asked, "200 OK")), "//", "//me:secret@", 1),
			"CONNECT " + mosquitto.Addr + " Basic bWU6c2VjcmV0",
		},
		{"SOCKS 5", "socks5://" + serve(t, socksProxy(asked)), mosquitto.Addr},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(t, pki, mosquitto.Addr)
			cfg.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(tt.proxy) }
			d := connect(t, cfg)
			if got := await.Value(t, asked, "a request to the proxy"); got != tt.asked {
				t.Errorf("the proxy was asked %q, want %q", got, tt.asked)
			}
			if err := d.Announce(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := d.Reset(); err != nil { // which ends the way through the proxy
				t.Error(err)
			}
			mosquitto.Log.Await(t, "Client lwtThing closed its connection", "Client lwtThing disconnected")
		})
	}
}

func TestProxyErrors(t *testing.T) {
	t.Parallel()
	pki := brokertest.NewPKI(t)
	asked := make(chan string, 10)
	tests := []struct {
		name, proxy string
		want        failure
	}{
		{
			"a proxy that refuses", "http://me:secret@" + serve(t, connectProxy(asked, "403 Forbidden")),
			failure{device.ProxyFailed, ":xxxxx@", "must allow CONNECT"},
		},
		{"its answer is told", "http://" + serve(t, connectProxy(asked, "407 Proxy Authentication Required")), failure{device.ProxyFailed, "407 Proxy Authentication Required", "HTTPS_PROXY"}},
		{"a proxy that is not there", "http://127.0.0.1:1", failure{device.ProxyFailed, "connection refused", "HTTPS_PROXY"}},
		{"one that closes", "http://" + serve(t, func(net.Conn) {}), failure{device.ProxyFailed, "does not lead there", "HTTPS_PROXY"}},
		{"a kind that is not known", "ftp://127.0.0.1:1", failure{device.ProxyFailed, `a proxy of the kind "ftp"`, "socks5://"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, pki, "broker.example:8883")
			cfg.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(tt.proxy) }
			_, err := device.Connect(t.Context(), cfg)
			wantFailure(t, err, tt.want)
		})
	}
}
