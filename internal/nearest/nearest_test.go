package nearest_test

import (
	"testing"

	"lastwill/internal/nearest"
)

func TestOf(t *testing.T) {
	t.Parallel()
	settings := []string{"email", "environment", "keepAlive", "things", "region"}
	for _, c := range []struct{ name, word, want string }{
		{"a letter is missing", "enviroment", "environment"},
		{"two letters are swapped", "emial", "email"},
		{"a letter too many", "thinngs", "things"},
		{"other case", "KEEPALIVE", "keepAlive"},
		{"another ending", "keepAliveTime", "keepAlive"},
		{"nothing like it", "colour", ""},
		{"nothing at all", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := nearest.Of(c.word, settings); got != c.want {
				t.Errorf("Of(%q) = %q, want %q", c.word, got, c.want)
			}
		})
	}
}
