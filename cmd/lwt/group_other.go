//go:build !unix

package main

import "os/exec"

// ownGroup does nothing where there are no process groups: a terminal's Ctrl-C
// reaches the command itself.
func ownGroup(*exec.Cmd) {}
