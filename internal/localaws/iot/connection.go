package iot

import (
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"lastwill/internal/localaws/awsapi"
)

// disconnectedFor is how long the end of a connection is known (iot-data API
// reference, GetConnection, disconnectedSince).
const disconnectedFor = 30 * time.Minute

// apiDisconnect is why DeleteConnection ends a connection.
var apiDisconnect = packets.Code{Code: packets.ErrAdministrativeAction.Code, Reason: "the connection was deleted with the API"}

// A Connection is the state of a client ID.
type Connection struct {
	ClientID  string
	ThingName string
	Connected bool
	// Since is when the client connected or, if it is not connected, disconnected.
	Since time.Time
	// DisconnectReason is AWS's; empty while the client is connected.
	DisconnectReason string
	// KeepAlive is in seconds, as the client asked for it.
	KeepAlive    int
	CleanSession bool
	// SessionExpiry is in seconds.
	SessionExpiry int

	SourceIP, TargetIP     string
	SourcePort, TargetPort int

	// version counts the connections of the client ID while it is known.
	version int64
}

// connections remembers who is connected, and who was a short time ago.
type connections struct {
	mu       sync.Mutex
	byClient map[string]Connection
	ends     []Connection // oldest first
}

// connected notes a client that is connected, and returns the version number of
// its lifecycle events.
func (c *connections) connected(of *client, p packets.Packet) int64 {
	now := Connection{
		ClientID: of.id, ThingName: of.who.context["iot:Connection.Thing.ThingName"], Connected: true, Since: time.Now(),
		KeepAlive: int(p.Connect.Keepalive), CleanSession: p.Connect.Clean, SessionExpiry: int(of.sessionExpiry),
	}
	now.SourceIP, now.SourcePort = hostAndPort(of.conn.RemoteAddr())
	now.TargetIP, now.TargetPort = hostAndPort(of.conn.LocalAddr())
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, ok := c.byClient[now.ClientID]; ok {
		now.version = before.version + 1
	}
	c.byClient[now.ClientID] = now
	return now.version
}

func hostAndPort(a net.Addr) (string, int) {
	text, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String(), 0
	}
	n, _ := strconv.Atoi(port) // a TCP address has a number
	return text, n
}

// disconnected notes the end of a connection, and reports whether it was one: not
// if the client went before it got its CONNACK.
func (c *connections) disconnected(clientID, reason string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, ok := c.byClient[clientID]
	if !ok {
		return false
	}
	state.Connected, state.Since, state.DisconnectReason = false, time.Now(), reason
	c.byClient[clientID] = state
	c.ends = append(c.ends, state)
	c.forget(state.Since.Add(-disconnectedFor))
	return true
}

// forget drops what ended before a time; c.mu is held.
func (c *connections) forget(before time.Time) {
	for len(c.ends) > 0 && c.ends[0].Since.Before(before) {
		if c.byClient[c.ends[0].ClientID] == c.ends[0] { // and not connected since
			delete(c.byClient, c.ends[0].ClientID)
		}
		c.ends = c.ends[1:]
	}
}

// GetConnection returns the state of a client that is connected, or was within
// the last 30 minutes.
func (s *Service) GetConnection(clientID string) (Connection, error) {
	known := &s.broker.connections
	known.mu.Lock()
	defer known.mu.Unlock()
	known.forget(time.Now().Add(-disconnectedFor))
	state, ok := known.byClient[clientID]
	if !ok {
		return Connection{}, noConnection(clientID)
	}
	return state, nil
}

func noConnection(clientID string) error {
	return awsapi.NotFoundf("ResourceNotFoundException", "Client %q is not connected", clientID)
}

// DeleteConnection ends the connection of a client and returns when nothing of
// it is left. Its will is published unless preventWill; its session ends unless
// it is persistent and cleanSession is false.
func (s *Service) DeleteConnection(clientID string, cleanSession, preventWill bool) error {
	s.broker.mu.Lock()
	of, ok := s.broker.holders[clientID]
	s.broker.mu.Unlock()
	if !ok {
		return noConnection(clientID)
	}
	if preventWill {
		of.willPrevented.Store(true)
	}
	of.end(apiDisconnect)
	<-of.ended
	if cleanSession && of.session != nil {
		s.broker.endSession(of.session)
	}
	return nil
}
