package ends

import (
	"bufio"
	"flag"
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

	"github.com/aws/aws-sdk-go-v2/credentials"

	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
	"lastwill/internal/will"
)

// A relay passes bytes on between clients and a broker.
type relay struct {
	addr   string
	listen net.Listener

	mu      sync.Mutex
	sockets []*net.TCPConn
	running sync.WaitGroup
}

func newRelay(to string) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{addr: l.Addr().String(), listen: l}
	r.running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			broker, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			r.pass(client.(*net.TCPConn), broker.(*net.TCPConn))
		}
	})
	return r, nil
}

func (r *relay) pass(a, b *net.TCPConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sockets = append(r.sockets, a, b)
	for _, way := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		r.running.Go(func() {
			io.Copy(way[0], way[1])
			way[0].Close()
			way[1].Close()
		})
	}
}

// reset resets all connections on both sides.
func (r *relay) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sockets {
		s.SetLinger(0)
		s.Close()
	}
}

func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	r, err := newRelay(to)
	check(t, err)
	t.Cleanup(func() {
		r.listen.Close()
		r.reset()
		r.running.Wait()
	})
	return r
}

// relayVariable makes this test binary a relay to the address that it holds.
const relayVariable = "LASTWILL_RELAY_TO"

func TestMain(m *testing.M) {
	to := os.Getenv(relayVariable)
	if to == "" {
		// The tests wait for the same 45 s and compute little: all at the same time.
		flag.Parse()
		_ = flag.Set("test.parallel", "1000") // its name and value are good
		os.Exit(m.Run())
	}
	r, err := newRelay(to)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(r.addr)
	io.Copy(io.Discard, os.Stdin) // until the parent is gone
}

// A network is a relay in a process of its own: stopped, it is a black hole, which
// needs no rights that a namespace would.
type network struct {
	addr    string
	process *os.Process
}

func startNetwork(t *testing.T, to string) *network {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), relayVariable+"="+to)
	_, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	check(t, err)
	return &network{strings.TrimSpace(line), cmd.Process}
}

func (n *network) cut(t *testing.T)  { t.Helper(); check(t, n.process.Signal(syscall.SIGSTOP)) }
func (n *network) mend(t *testing.T) { t.Helper(); check(t, n.process.Signal(syscall.SIGCONT)) }

// cutNetwork claims that a cut network is noticed on both sides, each by itself:
// by the device when its ping is not answered, by the broker after 1.5 times the
// keep alive that AWS honours. The will comes once, also when the network is
// mended before, and the device comes back.
func cutNetwork(t *testing.T) {
	c := startCloud(t)
	t.Run("transports", func(t *testing.T) {
		for _, transport := range transports {
			t.Run(string(transport), func(t *testing.T) {
				t.Parallel()
				n := startNetwork(t, c.IoT.Address())
				clientID := "cut-" + string(transport)
				cfg := c.device(willOf{clientID, 0}, transport, false)
				direct := cfg.Endpoint
				cfg.Endpoint, cfg.KeepAlive = n.addr, time.Second
				d := connect(t, cfg)
				n.cut(t)
				<-d.Done()
				if err := d.Err(); err == nil || !strings.Contains(err.Error(), "does not answer any more") {
					t.Errorf("the device says %v", err)
				}
				h := c.await(t, clientID, "the end", func(h history) bool { return len(h.ended) == 1 })
				if h.ended[0] != "MQTT_KEEP_ALIVE_TIMEOUT" || h.wills != 1 {
					t.Errorf("the broker noticed %+v", h)
				}
				n.mend(t)
				cfg.Endpoint = direct
				connect(t, cfg).disconnect(t)
				h = c.await(t, clientID, "the second end", func(h history) bool { return len(h.ended) == 2 })
				if h.wills != 1 || h.copies != 1 || h.ended[1] != "CLIENT_INITIATED_DISCONNECT" {
					t.Errorf("after it came back: %+v", h)
				}
			})
		}
	})
	c.stop(t)
}

// anybody has credentials that mosquitto does not look at.
var anybody = credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")

// onMosquitto claims of our device that mosquitto, which knows nothing of it,
// publishes the wills that it should.
func onMosquitto(t *testing.T) {
	pki := brokertest.NewPKI(t)
	m := brokertest.StartMosquitto(t, pki)
	cert, err := device.LoadCertificate(pki.Issue(t, "device"))
	check(t, err)
	observer := brokertest.NewPeer(t, pki, m.Addr).Observe(t, names.WillTopic)
	wanted := map[string]int{}
	var frozen []ours
	for _, e := range ends[:5] { // mosquitto has no API to kill with
		for _, transport := range transports {
			for n := range 4 {
				mqtt5, qos := n%2 == 1, byte(n/2)
				clientID := fmt.Sprintf("%s-%s-%t-%d", e.name, transport, mqtt5, qos)
				cfg := device.Config{
					Endpoint: m.Addr, Roots: pki.Pool, Certificate: cert, ClientID: clientID, MQTT5: mqtt5,
					Will:      device.Message{Topic: names.WillTopic, Payload: will.Payload(clientID), QoS: qos},
					KeepAlive: time.Second, ALPN: transport == device.MTLSALPN,
				}
				if transport == device.WebSocket {
					cfg.Endpoint, cfg.Credentials, cfg.Region = m.WebSocketAddr, anybody, "us-east-1"
				}
				d := connect(t, cfg)
				wanted[clientID] = e.wills
				switch e.name {
				case "disconnect":
					d.disconnect(t)
				case "drop":
					d.drop(t)
				case "reset":
					d.reset(t)
				case "freeze":
					d.freeze(t)
					frozen = append(frozen, d)
				case "takeover":
					d.takeover(t)()
				}
			}
		}
	}
	for _, d := range frozen {
		<-d.Done()
	}
	got := map[string]int{}
	for _, s := range observer.Rest(t) {
		got[deviceIn(s.Payload)]++
	}
	for id, n := range wanted {
		if got[id] != n {
			t.Errorf("%s: %d wills, want %d", id, got[id], n)
		}
	}
}
