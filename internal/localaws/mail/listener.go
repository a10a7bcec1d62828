package mail

import (
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

// Accept turns away what is too many with the words of RFC 5321, 3.8.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.admit(conn) {
			return &connection{Conn: conn, listener: l}, nil
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

// A connection of the server. It keeps replies until the server waits for more
// commands: pipelined ones are then answered together, as RFC 2920, 3.2, wants
// it, and a mail is not held up by two system calls for its envelope.
type connection struct {
	net.Conn
	listener *listener

	mu      sync.Mutex
	replies []byte
}

func (c *connection) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replies = append(c.replies, b...)
	return len(b), nil
}

func (c *connection) Read(b []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *connection) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.replies) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.replies)
	c.replies = c.replies[:0]
	return err
}

func (c *connection) Close() error {
	_ = c.flush() // the last word; who has gone does not hear it
	c.listener.mu.Lock()
	delete(c.listener.conns, c.Conn)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}
