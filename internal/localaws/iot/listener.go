package iot

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// connectTimeout is how long a socket may stay without a CONNECT; the keep
	// alive then sets deadlines of its own.
	connectTimeout = 30 * time.Second
	// acceptPause is the wait after a failed accept, such as for a lack of files.
	acceptPause = 100 * time.Millisecond
)

// A listener accepts connections and finds out what they carry.
type listener struct {
	tcp net.Listener
	tls *tls.Config
	// verify returns who signed a WebSocket request.
	verify func(*http.Request) (Signer, error)
	log    *slog.Logger
	// refused is told of who gets no MQTT connection.
	refused func(error)
	// serveMQTT speaks MQTT with a client until the connection has ended.
	serveMQTT func(*transport)

	mu      sync.Mutex
	closed  bool
	conns   map[*tls.Conn]bool
	serving sync.WaitGroup
}

// accept accepts connections until close.
func (l *listener) accept() {
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
		l.serve(tls.Server(&socket{Conn: conn}, l.tls))
	}
}

func (l *listener) serve(c *tls.Conn) {
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
			l.serveMQTT(t)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, c)
	})
}

// close closes the port and all sockets, and waits until the connections have
// ended. A word of farewell would wait for clients that read nothing.
func (l *listener) close() {
	_ = l.tcp.Close()
	l.mu.Lock()
	l.closed = true
	for c := range l.conns {
		_ = c.NetConn().Close()
	}
	l.mu.Unlock()
	l.serving.Wait()
}
