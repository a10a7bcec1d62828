package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

// fleetVariable makes this test binary the process that the devices live in,
// so that killing it drops them all at once.
const fleetVariable = "LASTWILL_BENCH_FLEET"

type fleetOrder struct {
	identity
	Devices int
}

func TestMain(m *testing.M) {
	run := runFleet
	order := os.Getenv(fleetVariable)
	if order == "" {
		run, order = runLoadOfOurs, os.Getenv(loadVariable)
	}
	if order == "" {
		os.Exit(m.Run())
	}
	if err := run(order); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// runFleet connects the devices, says so, and keeps them until it is killed or
// its parent is gone.
func runFleet(order string) error {
	var o fleetOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	config, err := o.tls()
	if err != nil {
		return err
	}
	devices := make([]*client, o.Devices)
	errs := make([]error, o.Devices)
	next := make(chan int)
	var connecting sync.WaitGroup
	for range 8 {
		connecting.Go(func() {
			for i := range next {
				devices[i], errs[i] = connect(o.Addr, config, deviceID(i), true)
			}
		})
	}
	for i := range devices {
		next <- i
	}
	close(next)
	connecting.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// The kernel frees a killed process's memory before it closes the sockets:
	// the less, the sooner all are gone.
	debug.FreeOSMemory()
	fmt.Println("connected")
	_, err = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(devices) // collected, they would close their sockets
	return err
}

func deviceID(i int) string { return fmt.Sprintf("device-%05d", i) }

// startFleet returns when all devices are connected. drop kills them and
// returns the time just before; it does not wait until the last socket is closed.
func startFleet(t testing.TB, id identity, devices int) (drop func() time.Time) {
	t.Helper()
	order, err := json.Marshal(fleetOrder{id, devices})
	check(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fleetVariable+"="+string(order))
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	drop = sync.OnceValue(func() time.Time {
		now := time.Now()
		cmd.Process.Kill()
		return now
	})
	t.Cleanup(func() { drop(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "connected\n" {
		t.Fatalf("fleet of %d devices says %q, %v", devices, line, err)
	}
	return drop
}
