// Package wsconn carries the stream of MQTT packets in WebSocket frames (MQTT
// 3.1.1 and 5.0, chapter 6), for the device and for the local broker.
package wsconn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// Path of the WebSocket request (developer guide, "Device communication
	// protocols").
	Path = "/mqtt"
	// Subprotocol that both sides must name [MQTT-6.0.0-3].
	Subprotocol = "mqtt"
)

// Conn is a net.Conn whose bytes travel in binary messages. Reading is one
// goroutine's, all else everybody's. A Close frame of the other side ends reading
// with a *websocket.CloseError, the mere end of the connection with io.EOF.
type Conn struct {
	net.Conn // beneath the frames
	ws       *websocket.Conn
	message  io.Reader // what is left of the last one; nil for none

	mu      sync.Mutex   // of writing
	writeBy atomic.Int64 // in Unix nanoseconds; 0 for no deadline
}

// New returns the Conn of a WebSocket connection.
func New(ws *websocket.Conn) *Conn { return &Conn{Conn: ws.NetConn(), ws: ws} }

// Read reads what the frames carry: one MQTT packet may span several, one may hold
// several packets [MQTT-6.0.0-2].
func (c *Conn) Read(p []byte) (int, error) {
	for {
		if c.message == nil {
			kind, message, err := c.ws.NextReader()
			if err != nil {
				return 0, ended(err)
			}
			if kind != websocket.BinaryMessage { // [MQTT-6.0.0-1]
				return 0, fmt.Errorf("a WebSocket message that is not binary")
			}
			c.message = message
		}
		n, err := c.message.Read(p)
		if errors.Is(err, io.EOF) {
			c.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, ended(err)
		}
	}
}

// ended is io.EOF where the library makes a Close frame of the end of the
// connection.
func ended(err error) error {
	var closed *websocket.CloseError
	if errors.As(err, &closed) && closed.Code == websocket.CloseAbnormalClosure {
		return io.EOF
	}
	return err
}

// Write sends the bytes as one message.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var deadline time.Time
	if by := c.writeBy.Load(); by != 0 {
		deadline = time.Unix(0, by)
	}
	_ = c.ws.SetWriteDeadline(deadline) // it only takes note
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetWriteDeadline is for the writes under way and those to come. The library
// sets a deadline of its own for each write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	by := int64(0)
	if !t.IsZero() {
		by = t.UnixNano()
	}
	c.writeBy.Store(by)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is for reading and writing.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// farewell is how long Close may take to send its frame.
const farewell = time.Second

// Close sends a Close frame, if the connection still takes one, and closes the
// connection.
func (c *Conn) Close() error {
	frame := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = c.ws.WriteControl(websocket.CloseMessage, frame, time.Now().Add(farewell)) // it is being given up
	return c.Conn.Close()
}
