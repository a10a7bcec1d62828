package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Ten thousand clients that connect and say nothing are told so, most of them,
// take little memory, and keep nobody out once they are gone.
func TestIdleClientsAreTurnedAway(t *testing.T) {
	t.Parallel()
	c := startCloud(t, filepath.Join(t.TempDir(), "data"))
	http.DefaultClient.CloseIdleConnections()
	address := strings.TrimPrefix(c.status.Endpoint, "http://")
	const allowed = 1000
	var idle []net.Conn
	refused := 0
	for range 10_000 {
		conn, err := net.Dial("tcp", address)
		check(t, err)
		if len(idle) >= allowed {
			check(t, conn.SetReadDeadline(time.Now().Add(time.Second))) // it may be let in, if another was given up
			if answer, _ := io.ReadAll(conn); strings.Contains(string(answer), "503 Service Unavailable") {
				refused++
				check(t, conn.Close())
				continue
			}
		}
		idle = append(idle, conn)
	}
	if refused == 0 {
		t.Error("nobody was turned away")
	}
	if most := c.peakMiB(); most > 100 {
		t.Errorf("%d connections took the endpoint to %d MiB", len(idle), most)
	}
	for _, conn := range idle {
		check(t, conn.Close())
	}
	for answered := false; !answered; {
		response, err := http.Get(c.status.Endpoint + "/_lwt/status")
		if err == nil {
			answered = response.StatusCode == http.StatusOK
			_ = response.Body.Close()
		}
	}
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMiB is the most memory that the endpoint ever had, as Linux tells it; zero
// elsewhere.
func (c *cloud) peakMiB() int {
	c.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	kib, err := strconv.Atoi(string(peak.FindSubmatch(status)[1]))
	check(c.t, err)
	return kib >> 10
}
