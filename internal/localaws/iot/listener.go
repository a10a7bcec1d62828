package iot

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

const (
	// connectTimeout is how long a socket may stay without a CONNECT; the keep
	// alive then sets deadlines of its own.
	connectTimeout = 30 * time.Second
	// acceptPause is the wait after a failed accept, such as for a lack of files.
	acceptPause = 100 * time.Millisecond
)

// A listener hands connections to mochi-mqtt, whose own listeners neither tell
// when a connection has wholly ended nor close those that have sent no CONNECT.
type listener struct {
	tcp net.Listener
	tls *tls.Config
	// verify returns who signed a WebSocket request.
	verify func(*http.Request) (Signer, error)
	log    *slog.Logger
	// refused is told of who gets no MQTT connection.
	refused func(error)
	// ended is told of each connection when mochi-mqtt is done with it.
	ended func(net.Conn)

	mu      sync.Mutex
	closed  bool
	conns   map[*tls.Conn]bool
	serving sync.WaitGroup
}

func (l *listener) ID() string              { return "mqtt" }
func (l *listener) Address() string         { return l.tcp.Addr().String() }
func (l *listener) Protocol() string        { return "tcp" }
func (l *listener) Init(*slog.Logger) error { return nil }

// Serve accepts connections until Close.
func (l *listener) Serve(establish listeners.EstablishFn) {
	for {
		conn, err := l.tcp.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			l.log.Error("MQTT connection was not accepted", "error", err)
			time.Sleep(acceptPause)
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(connectTimeout)) // it fails only if the socket is closed
		l.serve(tls.Server(&socket{Conn: conn}, l.tls), establish)
	}
}

func (l *listener) serve(c *tls.Conn, establish listeners.EstablishFn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
		return
	}
	l.conns[c] = true
	l.serving.Go(func() {
		if t, err := l.open(c); err != nil {
			_ = c.Close()
			l.refused(err)
		} else {
			_ = establish(l.ID(), t) // how a connection ended is OnDisconnect's to tell
			l.ended(t)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, c)
	})
}

// Close closes the port and all sockets, and waits until the connections have
// ended. A word of farewell would wait for clients that read nothing.
func (l *listener) Close(listeners.CloseFn) {
	_ = l.tcp.Close()
	l.mu.Lock()
	l.closed = true
	for c := range l.conns {
		_ = c.NetConn().Close()
	}
	l.mu.Unlock()
	l.serving.Wait()
}
