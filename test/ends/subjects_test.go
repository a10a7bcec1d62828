package ends

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lastwill/internal/device"
	"lastwill/internal/will"
)

// ours is our device.
type ours struct{ *device.Device }

func ourDevice(t *testing.T, c *cloud, of willOf, transport device.Transport, mqtt5 bool) subject {
	t.Helper()
	return connect(t, c.device(of, transport, mqtt5))
}

func connect(t *testing.T, cfg device.Config) ours {
	t.Helper()
	d, err := device.Connect(t.Context(), cfg)
	check(t, err)
	t.Cleanup(func() { _, _ = d.Drop() }) // it may have ended before
	check(t, d.Announce(t.Context()))
	return ours{d}
}

func (d ours) disconnect(t *testing.T) { t.Helper(); check(t, d.Disconnect()) }
func (d ours) drop(t *testing.T)       { t.Helper(); _, err := d.Drop(); check(t, err) }
func (d ours) reset(t *testing.T)      { t.Helper(); _, err := d.Reset(); check(t, err) }
func (d ours) freeze(t *testing.T)     { t.Helper(); _, err := d.Freeze(); check(t, err) }

func (d ours) takeover(t *testing.T) func() {
	t.Helper()
	second, err := d.Reconnect(t.Context())
	check(t, err)
	<-d.Done()
	return func() {
		check(t, second.Announce(t.Context())) // it lives
		check(t, second.Disconnect())
	}
}

// A host is a Node process with devices on MQTT.js.
type host struct {
	process *os.Process

	mu    sync.Mutex
	in    io.Writer
	said  map[string]chan struct{} // by event and device
	wrong bytes.Buffer
}

// hosts are one for those that act, and one for those that freeze, all together.
type hosts struct {
	acting, freezing *host
	frozen           sync.WaitGroup
}

func newHosts(t *testing.T) *hosts {
	t.Helper()
	h := &hosts{acting: startHost(t), freezing: startHost(t)}
	h.frozen.Add(len(transports) * 4)
	return h
}

func startHost(t *testing.T) *host {
	t.Helper()
	cmd := exec.Command("node", "devices.mjs")
	cmd.Dir = "../e2e"
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	cmd.Stderr = os.Stderr
	check(t, cmd.Start())
	h := &host{process: cmd.Process, in: in, said: map[string]chan struct{}{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			h.heard(s.Text())
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
	return h
}

// once is closed when a line has been said.
func (h *host) once(line string) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.said[line]
	if !ok {
		c = make(chan struct{})
		h.said[line] = c
	}
	return c
}

func (h *host) heard(line string) {
	c := h.once(line)
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-c:
	default:
		close(c)
	}
	if strings.HasPrefix(line, "error ") {
		fmt.Fprintln(&h.wrong, line)
	}
}

func (h *host) do(t *testing.T, command map[string]any) {
	t.Helper()
	line, err := json.Marshal(command)
	check(t, err)
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err = h.in.Write(append(line, '\n'))
	check(t, err)
}

func (h *host) connect(t *testing.T, options map[string]any) {
	t.Helper()
	h.do(t, options)
	select {
	case <-h.once(fmt.Sprint("connected ", options["as"])):
	case <-time.After(patience):
		h.mu.Lock()
		defer h.mu.Unlock()
		t.Fatalf("%v does not connect: %s", options["as"], h.wrong.String())
	}
}

// javaScript is a device on MQTT.js.
type javaScript struct {
	*host
	of      *hosts
	options map[string]any
}

func (h *hosts) device(t *testing.T, c *cloud, of willOf, transport device.Transport, mqtt5 bool) subject {
	t.Helper()
	clientID := of.clientID
	address, port, err := net.SplitHostPort(c.IoT.Address())
	check(t, err)
	options := map[string]any{
		"do": "connect", "id": clientID, "as": clientID, "will": names.WillTopic, "willQoS": of.qos, "caFile": c.caFile,
		"protocol": "mqtts", "host": address, "port": port, "protocolVersion": 4,
	}
	if mqtt5 {
		options["protocolVersion"] = 5
	}
	switch transport {
	case device.WebSocket:
		options["protocol"], options["url"] = "wss", c.signedURL(t)
	case device.MTLSALPN:
		options["ALPNProtocols"] = []string{"x-amzn-mqtt-ca"}
		fallthrough
	default:
		options["certFile"], options["keyFile"] = c.certFile, c.keyFile
	}
	d := javaScript{h.acting, h, options}
	if strings.HasPrefix(clientID, "freeze") {
		d.host = h.freezing
	}
	d.connect(t, options)
	return d
}

func (d javaScript) tell(t *testing.T, what string) {
	t.Helper()
	d.do(t, map[string]any{"do": what, "as": d.options["as"]})
}

func (d javaScript) disconnect(t *testing.T) { t.Helper(); d.tell(t, "disconnect") }
func (d javaScript) drop(t *testing.T)       { t.Helper(); d.tell(t, "drop") }
func (d javaScript) reset(t *testing.T)      { t.Helper(); d.tell(t, "reset") }

// freeze stops the process when all its devices are there.
func (d javaScript) freeze(t *testing.T) {
	t.Helper()
	d.of.frozen.Done()
	d.of.frozen.Wait()
	check(t, d.process.Signal(syscall.SIGSTOP))
}

func (d javaScript) takeover(t *testing.T) func() {
	t.Helper()
	second := d
	second.options = map[string]any{}
	for k, v := range d.options {
		second.options[k] = v
	}
	second.options["as"] = fmt.Sprint(d.options["as"], "-second")
	second.connect(t, second.options)
	return func() { second.disconnect(t) }
}

// mosquittoSub is mosquitto_sub.
type mosquittoSub struct {
	cmd     *exec.Cmd
	way     *relay
	restart func(t *testing.T) *mosquittoSub
	end     func(t *testing.T) // sends it the one message that it waits for
}

func mosquittoClient(t *testing.T, c *cloud, of willOf, transport device.Transport, mqtt5 bool) subject {
	t.Helper()
	clientID := of.clientID
	var start func(t *testing.T) *mosquittoSub
	start = func(t *testing.T) *mosquittoSub {
		t.Helper()
		way := startRelay(t, c.IoT.Address())
		address, port, err := net.SplitHostPort(way.addr)
		check(t, err)
		version := "mqttv311"
		if mqtt5 {
			version = "mqttv5"
		}
		args := []string{
			"-oL", "mosquitto_sub", "-d", "-h", address, "-p", port, "--cafile", c.caFile, "--cert", c.certFile, "--key", c.keyFile,
			"-V", version, "-i", clientID, "-k", "30", "-t", "/to/" + clientID,
			"--will-topic", names.WillTopic, "--will-payload", string(will.Payload(clientID)), "--will-qos", fmt.Sprint(of.qos), "-C", "1",
		}
		if transport == device.MTLSALPN {
			args = append(args, "--tls-alpn", "x-amzn-mqtt-ca")
		}
		cmd := exec.Command("stdbuf", args...)
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "Subscribed") {
				end := func(t *testing.T) {
					t.Helper()
					check(t, c.IoT.Publish(t.Context(), "/to/"+clientID, nil, 0, false))
				}
				return &mosquittoSub{cmd, way, start, end}
			}
		}
		t.Fatal("mosquitto_sub ended without a subscription")
		return nil
	}
	return start(t)
}

// disconnect is not SIGTERM's: at that it asks, in MQTT 5, for its will.
func (m *mosquittoSub) disconnect(t *testing.T) { t.Helper(); m.end(t) }

func (m *mosquittoSub) drop(t *testing.T) { t.Helper(); check(t, m.cmd.Process.Kill()) }

// reset is a middlebox's: mosquitto's clients do none themselves.
func (m *mosquittoSub) reset(t *testing.T) { t.Helper(); m.way.reset() }

func (m *mosquittoSub) freeze(t *testing.T) {
	t.Helper()
	check(t, m.cmd.Process.Signal(syscall.SIGSTOP))
}

func (m *mosquittoSub) takeover(t *testing.T) func() {
	t.Helper()
	second := m.restart(t)
	// Told to end, it does not come back and take over in turn.
	_ = m.cmd.Process.Kill()
	return func() { second.disconnect(t) }
}
