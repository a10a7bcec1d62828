package mail

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// A listener limits how many connections are open at once, and closes them
// with itself: go-smtp has no limit, and its graceful shutdown waits for
// clients that keep an idle connection.
type listener struct {
	net.Listener
	max int

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

func listenLoopback(addr string, maxConns int) (*listener, error) {
	resolved, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	if !resolved.IP.IsLoopback() {
		return nil, fmt.Errorf("address %q is not on loopback: use 127.0.0.1:0", addr)
	}
	l, err := net.ListenTCP("tcp", resolved)
	if err != nil {
		return nil, err
	}
	return &listener{Listener: l, max: maxConns, conns: map[net.Conn]struct{}{}}, nil
}

// Accept turns away what is too many with the words of RFC 5321, 3.8.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.admit(conn) {
			return &tracked{conn, l}, nil
		}
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write([]byte("421 4.7.0 localhost Too many connections, closing\r\n"))
		_ = conn.Close()
	}
}

func (l *listener) admit(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.conns) >= l.max {
		return false
	}
	l.conns[conn] = struct{}{}
	return true
}

// Close closes the listener and its connections. Further calls do nothing.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for conn := range l.conns {
		_ = conn.Close()
	}
	return l.Listener.Close()
}

type tracked struct {
	net.Conn
	listener *listener
}

func (t *tracked) Close() error {
	t.listener.mu.Lock()
	delete(t.listener.conns, t.Conn)
	t.listener.mu.Unlock()
	return t.Conn.Close()
}
