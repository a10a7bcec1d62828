// Package loopback opens ports that only this machine can reach.
package loopback

import (
	"fmt"
	"net"
)

// An AddressError is about an address at which nobody can listen here.
type AddressError struct{ Address, Problem string }

func (e *AddressError) Error() string { return fmt.Sprintf("address %q %s", e.Address, e.Problem) }

// Listen listens on a TCP address of the loopback interface; an address that is
// not is an error. Default: a free port on 127.0.0.1.
func Listen(address string) (net.Listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, &AddressError{address, "is none: " + err.Error()}
	}
	if !resolved.IP.IsLoopback() {
		return nil, &AddressError{address, fmt.Sprintf("is not on loopback: use 127.0.0.1:%d", resolved.Port)}
	}
	l, err := net.ListenTCP("tcp", resolved)
	if err != nil {
		return nil, err // and no interface around a nil listener
	}
	return l, nil
}
