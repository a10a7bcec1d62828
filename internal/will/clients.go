package will

import (
	"regexp"
	"strings"
)

// WatchPrefix begins the client IDs of lwt watch.
const WatchPrefix = "lwt-watch-"

// checkClient are the client IDs of a check's device and of its watcher.
var checkClient = regexp.MustCompile(`-check-[a-z2-7]{10}(-watch)?$`)

// IsOwnClient reports whether a client ID is one of lwt itself: of a check or of a
// watch.
func IsOwnClient(id string) bool {
	return strings.HasPrefix(id, WatchPrefix) || checkClient.MatchString(id)
}
