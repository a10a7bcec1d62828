package loopback

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Limit lets a listener for HTTP have so many connections at a time. One more is
// told so with status 503, and closed.
func Limit(l net.Listener, most int) net.Listener { return &limited{Listener: l, most: int64(most)} }

type limited struct {
	net.Listener
	most int64
	open atomic.Int64
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &counted{Conn: c, closed: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		refuse(c, l.most)
	}
}

// refuse needs no goroutine: the answer fits into the socket's buffer.
func refuse(c net.Conn, most int64) {
	text := fmt.Sprintf("there are %d connections already, the most that are taken\n", most)
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	_ = c.Close() // it is being given up
}

// counted gives its place back once it is closed.
type counted struct {
	net.Conn
	closed func()
}

func (c *counted) Close() error {
	defer c.closed()
	return c.Conn.Close()
}
