// Package watch receives the messages of MQTT topics over WebSocket, with AWS
// credentials and without a Will Message, for as long as somebody wants them.
package watch

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"lastwill/internal/device"
	"lastwill/internal/will"
)

// A Watcher connects with subscriptions to topic filters.
type Watcher struct {
	device  device.Config
	filters []string
}

// New returns a Watcher for a message broker, host or host:port. A nil roots are
// the system's authorities. receive gets one message after the other.
func New(config aws.Config, endpoint string, roots *x509.CertPool, filters []string, receive func(device.Message)) *Watcher {
	return &Watcher{filters: filters, device: device.Config{
		Endpoint: endpoint, Roots: roots, Credentials: config.Credentials, Region: config.Region, NoWill: true,
		ClientID: will.WatchPrefix + strings.ToLower(rand.Text()[:10]), Receive: receive,
	}}
}

// Connect connects and subscribes. Its errors are *device.Error, with a hint.
func (w *Watcher) Connect(ctx context.Context) (*device.Device, error) {
	d, err := device.Connect(ctx, w.device)
	if err != nil {
		return nil, err
	}
	for _, filter := range w.filters {
		if err := d.Subscribe(ctx, filter); err != nil {
			_ = d.Disconnect() // it may have been the broker's answer
			return nil, err
		}
	}
	return d, nil
}

// longestPause is between two attempts to connect again.
const longestPause = 30 * time.Second

// Again connects again after a connection that was lost, as often as it takes, and
// tells failed of each error. What was published meanwhile is lost. It returns nil
// when ctx ends.
func (w *Watcher) Again(ctx context.Context, lost *device.Device, failed func(error)) *device.Device {
	for pause := time.Until(lost.NextConnect()); ; pause = min(max(2*pause, time.Second), longestPause) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		d, err := w.Connect(ctx)
		if err == nil {
			return d
		}
		if ctx.Err() == nil {
			failed(err)
		}
	}
}
