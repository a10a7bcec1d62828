package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"

	"lastwill/internal/device"
	"lastwill/internal/fleet"
)

// BenchmarkVanish kills a process with 10,000 devices, so that all vanish within
// one second. Ours ends when the rule has republished every will, mosquitto's when
// a subscriber has them all.
func BenchmarkVanish(b *testing.B) {
	const devices = 10_000
	e := startEndpoint(b)
	mosquitto := startMosquitto(b)
	for b.Loop() {
		republished := loseFleet(b, e.identity, names.ExecutedTopic, devices)
		wills := loseFleet(b, mosquitto, names.WillTopic, devices)
		ours, theirs := devices/percentile(republished, 100).Seconds(), devices/percentile(wills, 100).Seconds()
		b.ReportMetric(float64(percentile(republished, 99).Milliseconds()), "p99-ms")
		b.ReportMetric(float64(percentile(wills, 99).Milliseconds()), "mosquitto-p99-ms")
		b.ReportMetric(ours, "wills/s")
		b.ReportMetric(theirs, "mosquitto-wills/s")
		b.ReportMetric(ours/theirs, "ratio")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkConnect connects 2,000 devices as fast as they can: our fleet, and
// MQTT.js with as many clients, each in a process of its own, to the same
// mosquitto. Memory is what the process has resident, without what it has with
// one device.
func BenchmarkConnect(b *testing.B) {
	const devices = 2000
	mosquitto := startMosquitto(b)
	for b.Loop() {
		for _, peer := range []struct {
			name string
			cmd  func(devices int) *exec.Cmd
		}{
			{"ours", func(n int) *exec.Cmd { return loadOfOurs(b, mosquitto, n) }},
			{"mqttjs", func(n int) *exec.Cmd { return loadOfMQTTJS(b, mosquitto, n) }},
		} {
			_, least := runLoad(b, peer.cmd(1))
			seconds, most := runLoad(b, peer.cmd(devices))
			b.ReportMetric(devices/seconds, peer.name+"-connects/s")
			b.ReportMetric(float64(most-least)/(devices-1), peer.name+"-KiB/device")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// runLoad runs a process that says how long its devices took to connect, and
// returns that and its resident memory in KiB.
func runLoad(b *testing.B, cmd *exec.Cmd) (seconds float64, resident int) {
	b.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(b, err)
	out, err := cmd.StdoutPipe()
	check(b, err)
	check(b, cmd.Start())
	defer func() {
		in.Close()
		cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	check(b, err)
	_, err = fmt.Sscanf(line, "connected %f", &seconds)
	check(b, err)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	check(b, err)
	resident, err = strconv.Atoi(string(regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)[1]))
	check(b, err)
	return seconds, resident
}

// loadVariable makes this test binary the process of our fleet.
const loadVariable = "LASTWILL_BENCH_LOAD"

func loadOfOurs(b *testing.B, id identity, devices int) *exec.Cmd {
	b.Helper()
	order, err := json.Marshal(fleetOrder{id, devices})
	check(b, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), loadVariable+"="+string(order))
	return cmd
}

func loadOfMQTTJS(b *testing.B, id identity, devices int) *exec.Cmd {
	b.Helper()
	cmd := exec.Command("node", "load.mjs", id.Addr, id.CAFile, id.CertFile, id.KeyFile, strconv.Itoa(devices))
	cmd.Dir = "../e2e"
	return cmd
}

// runLoadOfOurs connects the fleet, says how long that took, and keeps it until
// its parent is gone.
func runLoadOfOurs(order string) error {
	var o fleetOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	config, err := o.config()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
		cancel()
	}()
	said := false
	report := fleet.Run(ctx, fleet.Config{
		Size: o.Devices, Rate: 1e9, After: time.Hour,
		Device: func(i int) device.Config {
			c := config
			c.ClientID = deviceID(i)
			return c
		},
		Progress: func(r fleet.Report) {
			if r.ConnectSeconds > 0 && !said {
				said = true
				fmt.Printf("connected %f\n", r.ConnectSeconds)
			}
		},
	})
	if !report.OK() {
		return fmt.Errorf("%+v", report)
	}
	return nil
}

// config is that of our device.
func (i identity) config() (device.Config, error) {
	cert, err := device.LoadCertificate(i.CertFile, i.KeyFile)
	if err != nil {
		return device.Config{}, err
	}
	roots, err := device.LoadRoots(i.CAFile)
	return device.Config{Endpoint: i.Addr, Roots: roots, Certificate: cert, KeepAlive: 20 * time.Minute}, err
}

// BenchmarkDeviceMemory is what a device takes, heap and stack, beside what a bare
// TLS connection takes.
func BenchmarkDeviceMemory(b *testing.B) {
	const devices = 1000
	mosquitto := startMosquitto(b)
	config, err := mosquitto.config()
	check(b, err)
	bare := clientTLS(b, mosquitto)
	for b.Loop() {
		plain := perOne(devices, func(i int) any {
			c, err := tls.Dial("tcp", mosquitto.Addr, bare)
			check(b, err)
			b.Cleanup(func() { c.Close() })
			return c
		})
		device := perOne(devices, func(i int) any {
			c := config
			c.ClientID = deviceID(i)
			d, err := device.Connect(b.Context(), c)
			check(b, err)
			b.Cleanup(func() { d.Drop() })
			return d
		})
		b.ReportMetric(plain/1024, "TLS-KiB")
		b.ReportMetric(device/1024, "device-KiB")
		b.ReportMetric((device-plain)/1024, "beyond-TLS-KiB")
	}
	b.ReportMetric(0, "ns/op")
}

// perOne is the memory, in bytes, of one of the things that make makes.
func perOne(n int, make func(i int) any) float64 {
	before := inUse()
	all := map[int]any{}
	for i := range n {
		all[i] = make(i)
	}
	after := inUse()
	runtime.KeepAlive(all)
	return float64(after-before) / float64(n)
}

func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
