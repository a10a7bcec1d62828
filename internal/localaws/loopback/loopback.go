// Package loopback opens ports that only this machine can reach.
package loopback

import (
	"fmt"
	"net"
	"strings"
)

// An AddressError is about an address at which nobody can listen here.
type AddressError struct{ text string }

func (e *AddressError) Error() string { return e.text }

// Listen listens on a TCP address of the loopback interface; an address that is
// not is an error. Default: a free port on 127.0.0.1.
func Listen(address string) (net.Listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, &AddressError{fmt.Sprintf("address %q: %v", address, err)}
	}
	if !resolved.IP.IsLoopback() {
		return nil, &AddressError{fmt.Sprintf("address %q is not on loopback: use 127.0.0.1:%d", address, resolved.Port)}
	}
	l, err := net.ListenTCP("tcp", resolved)
	if err != nil {
		return nil, err // and no interface around a nil listener
	}
	return l, nil
}

// Host reports whether a request's host, with its port or without, is this machine. The
// page of a name that leads here by trickery shows in it (DNS rebinding).
func Host(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback() || host == "localhost" || strings.HasSuffix(host, ".localhost")
}
