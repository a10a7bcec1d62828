package ends

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A device on AWS's Device SDKs for JavaScript, of version 1 and 2, connects over each
// transport and gets a message back. Killed, it leaves its will; asked to disconnect,
// none.
func TestAWSDeviceSDKs(t *testing.T) {
	c := startCloud(t)
	t.Run("sdks", func(t *testing.T) {
		for n, sdk := range []string{"v1", "v2", "v2, MQTT 5"} {
			for m, transport := range []string{"mtls", "alpn", "websocket"} {
				for _, e := range []end{{"drop", "CONNECTION_LOST", 1}, {"disconnect", "CLIENT_INITIATED_DISCONNECT", 0}} {
					of := willOf{fmt.Sprintf("sdk-%d-%s-%s", n, transport, e.name), byte((n + m) % 2)}
					t.Run(fmt.Sprintf("%s, %s, %s", sdk, transport, e.name), func(t *testing.T) {
						t.Parallel()
						device, disconnect := awsDevice(t, c, of, sdk, transport)
						if e.name == "drop" {
							check(t, device.Kill())
						} else {
							disconnect()
						}
						h := c.await(t, of.clientID, "the end", func(h history) bool { return len(h.ended) == 1 })
						if h.ended[0] != e.reason || h.wills != e.wills || h.wills > 0 && h.qos != of.qos {
							t.Errorf("got %+v, want %+v", h, e)
						}
					})
				}
			}
		}
	})
	c.stop(t)
}

func awsDevice(t *testing.T, c *cloud, of willOf, sdk, transport string) (process *os.Process, disconnect func()) {
	t.Helper()
	_, port, err := net.SplitHostPort(c.IoT.Address())
	check(t, err)
	options, err := json.Marshal(map[string]any{
		"sdk": sdk, "transport": transport, "host": "localhost", "port": json.Number(port), "id": of.clientID, "will": names.WillTopic, "qos": of.qos,
		"caFile": c.caFile, "certFile": c.certFile, "keyFile": c.keyFile, "topic": "/to/" + of.clientID,
	})
	check(t, err)
	cmd := exec.Command("node", "sdk.mjs", string(options))
	cmd.Dir = "../e2e"
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+c.caFile) // the first SDK has no option for it with WebSocket
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "ready" {
			return cmd.Process, func() {
				_, err := in.Write([]byte("\n"))
				check(t, err)
			}
		}
		said = append(said, lines.Text())
	}
	t.Fatalf("it ended before it was ready: %s", strings.Join(said, "\n"))
	return nil, nil
}
