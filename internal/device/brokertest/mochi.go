package brokertest

import (
	"bytes"
	"log/slog"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// AllowAll is a hook that lets everybody in; hooks of tests embed it.
type AllowAll struct{ mochi.HookBase }

// ID implements mochi.Hook.
func (*AllowAll) ID() string { return "allow-all" }

// Provides implements mochi.Hook.
func (*AllowAll) Provides(b byte) bool {
	return bytes.Contains([]byte{mochi.OnConnectAuthenticate, mochi.OnACLCheck}, []byte{b})
}

// OnConnectAuthenticate implements mochi.Hook.
func (*AllowAll) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

// OnACLCheck implements mochi.Hook.
func (*AllowAll) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// StartMochi starts a broker in the test's process that wants client certificates
// of the authority, and returns its address.
func StartMochi(t testing.TB, p *PKI, hooks ...mochi.Hook) (*mochi.Server, string) {
	t.Helper()
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	for _, h := range hooks {
		check(t, s.AddHook(h, nil))
	}
	l := listeners.NewTCP(listeners.Config{ID: "tls", Address: "127.0.0.1:0", TLSConfig: p.ServerTLS(t)})
	check(t, s.AddListener(l))
	check(t, s.Serve())
	t.Cleanup(func() { s.Close() })
	return s, l.Address()
}
