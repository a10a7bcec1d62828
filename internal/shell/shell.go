// Package shell writes commands that work when they are pasted into a shell.
package shell

import "strings"

// Quote makes one word of s.
func Quote(s string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("/._:-@+,%=", r) || 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9'
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
