package local

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"lastwill/internal/device"
	"lastwill/internal/keypair"
	"lastwill/internal/localaws"
	"lastwill/internal/page"
	"lastwill/internal/will"
)

// maxDevices bounds how many devices the page starts.
const maxDevices = 20

// A fleet starts devices that are the stacks' things: with the certificate that
// the deployment made and the key on this workstation.
type fleet struct {
	server *localaws.Server
	certs  string

	mu      sync.Mutex
	devices map[string]*played // by client ID
}

// played is a device of the page.
type played struct {
	page.Device
	device *device.Device
}

func newFleet(s *localaws.Server, certs string) *fleet {
	return &fleet{server: s, certs: certs, devices: map[string]*played{}}
}

func (f *fleet) Things(context.Context) ([]page.Thing, error) {
	var out []page.Thing
	for _, t := range f.server.IoT.ListThings() {
		thing := page.Thing{Name: t.Name, WillPayload: string(will.Payload(t.Name))}
		if _, err := f.identity(t.Name); err != nil {
			thing.Missing = err.Error()
		}
		out = append(out, thing)
	}
	return out, nil
}

// identity is the certificate of a thing with its private key.
func (f *fleet) identity(thing string) (tls.Certificate, error) {
	principals, err := f.server.IoT.ListThingPrincipals(thing)
	if err != nil {
		return tls.Certificate{}, err
	}
	file := keypair.KeyFile(f.certs, thing)
	key, err := os.ReadFile(file)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("no private key: %w (cdk deploy makes it in the folder certs; lwt local -certs names another)", err)
	}
	for _, arn := range principals {
		_, id, _ := strings.Cut(arn, "cert/")
		certificate, err := f.server.IoT.DescribeCertificate(id)
		if err != nil || certificate.Status != "ACTIVE" {
			continue
		}
		if pair, err := tls.X509KeyPair([]byte(certificate.PEM), key); err == nil {
			return pair, nil
		}
	}
	return tls.Certificate{}, fmt.Errorf("no active certificate of the thing belongs to the key in %s", file)
}

func (f *fleet) Devices() []page.Device {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []page.Device{}
	for _, d := range f.devices {
		out = append(out, d.Device)
	}
	slices.SortFunc(out, func(a, b page.Device) int { return strings.Compare(a.Client, b.Client) })
	return out
}

// topics are those of the stack that a thing belongs to.
func (f *fleet) topics(thing string) (wills, connected string) {
	names := will.NewNames("")
	for _, s := range stacksOf(f.server) {
		if s.Output(will.OutputWillTopic) != "" && slices.ContainsFunc(s.Resources, func(r page.Resource) bool { return r.PhysicalID == thing }) {
			return s.Output(will.OutputWillTopic), s.Output(will.OutputConnectedTopic)
		}
	}
	return names.WillTopic, names.ConnectedTopic
}

func (f *fleet) Start(ctx context.Context, o page.Order) error {
	f.mu.Lock()
	running, there := f.devices[o.Thing]
	full := !there && len(f.devices) == maxDevices
	f.mu.Unlock()
	switch {
	case there && running.State == "connected":
		return fmt.Errorf("%s is connected", o.Thing)
	case full:
		return fmt.Errorf("there are %d devices, and no more at a time", maxDevices)
	}
	pair, err := f.identity(o.Thing)
	if err != nil {
		return err
	}
	if there {
		turn := time.NewTimer(time.Until(running.device.NextConnect()))
		defer turn.Stop()
		select {
		case <-turn.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(f.server.IoT.RootCA())
	wills, connected := f.topics(o.Thing)
	return f.play(ctx, o.Thing, func() (*device.Device, error) {
		return device.Connect(ctx, device.Config{
			Endpoint: f.server.IoT.Address(), Roots: roots, Certificate: pair, ClientID: o.Thing,
			KeepAlive: time.Duration(o.KeepAlive) * time.Second, ConnectedTopic: connected,
			Will: device.Message{Topic: wills, Payload: []byte(o.WillPayload), QoS: will.QoS},
			Kill: func(_ context.Context, client string) error {
				return f.server.IoT.DeleteConnection(client, false, false)
			},
		})
	})
}

// play connects a device and follows it to its end.
func (f *fleet) play(ctx context.Context, client string, connect func() (*device.Device, error)) error {
	d, err := connect()
	if err != nil {
		return err
	}
	now := &played{page.Device{Client: client, State: "connected", Since: milliseconds(time.Now())}, d}
	f.mu.Lock()
	f.devices[client] = now
	f.mu.Unlock()
	go func() {
		<-d.Done()
		f.mu.Lock()
		defer f.mu.Unlock()
		if err := d.Err(); err != nil {
			now.become("lost", err.Error())
		}
	}()
	return d.Announce(ctx)
}

func (p *played) become(state, detail string) {
	p.State, p.Detail, p.Since = state, detail, milliseconds(time.Now())
}

// ended is the state of a device after an end, in a word and in words.
var ended = map[device.End]struct{ state, detail string }{
	device.Drop:       {"lost", "it closed the socket without DISCONNECT"},
	device.Reset:      {"lost", "it reset the TCP connection"},
	device.Freeze:     {"silent", "it sends nothing more, and its socket stays open"},
	device.Kill:       {"lost", "the broker ended its connection"},
	device.Disconnect: {"left", "it sent DISCONNECT"},
}

// End ends a device in a way, or has it connect again.
func (f *fleet) End(ctx context.Context, client, way string) error {
	f.mu.Lock()
	p, ok := f.devices[client]
	f.mu.Unlock()
	if !ok {
		return fmt.Errorf("no device %s was started from this page", client)
	}
	how := device.End(way)
	if how == device.Takeover || way == "reconnect" {
		return f.play(ctx, client, func() (*device.Device, error) { return p.device.Reconnect(ctx) })
	}
	then, ok := ended[how]
	if !ok {
		return fmt.Errorf("unknown way to vanish %q: use one of %v", way, device.Ends)
	}
	if _, err := p.device.End(ctx, how); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p.become(then.state, then.detail)
	return nil
}
