//go:build unix

package main

import "syscall"

// mayOpen is how many files and sockets this process may have open. Go has raised
// the soft limit to the hard one when the process started.
func mayOpen() (most uint64, known bool) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return uint64(limit.Cur), true //nolint:unconvert // signed on some systems
}
