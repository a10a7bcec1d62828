package will

import "testing"

func TestOwnClients(t *testing.T) {
	t.Parallel()
	check := NewCheckName("line:7/press")
	for _, c := range []struct {
		claim, id string
		own       bool
	}{
		{"a check's device", check, true},
		{"a check's watcher", check + "-watch", true},
		{"a watch", WatchPrefix + "abcdefghij", true},
		{"a device", ThingName, false},
		{"a device that is named after a check", "pump-check-1", false},
		{"a device that a check's name begins", check + "-pump", false},
		{"no device", "", false},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			if IsOwnClient(c.id) != c.own {
				t.Errorf("%q: want %v", c.id, c.own)
			}
		})
	}
}
