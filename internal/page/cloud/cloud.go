// Package cloud shows a deployed stack on the page, as somebody sees it who has
// AWS credentials and a browser: over the APIs of AWS and a subscription to the
// message broker.
//
// AWS tells a subscriber less than the local endpoint tells its page. Who published
// a message is not said: it is the client that the payload names in client_id. What
// the rule made of it is not said either: the deployed statement is evaluated here.
// Failed actions are read from the log of the rule's error action, deliveries of
// e-mails from SNS's counters. PINGREQs cannot be seen.
package cloud

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"

	"lastwill/internal/check"
	"lastwill/internal/device"
	"lastwill/internal/page"
	"lastwill/internal/watch"
)

// Options of a Page.
type Options struct {
	AWS aws.Config
	// Stack is its name. Required.
	Stack string
	// Endpoint is the message broker, host or host:port. Required.
	Endpoint string
	// Roots may vouch for the broker. Default: the system's.
	Roots *x509.CertPool
	// Address is where the page is served, host:port. Required.
	Address string
	// Log is told what goes wrong meanwhile. Required.
	Log func(error)
}

// A Page follows a stack and shows it.
type Page struct {
	Options
	clients
	history *page.History
	target  check.Target
	ctx     context.Context // until the page is not wanted any more
	ended   sync.WaitGroup
	logged  seen
	counted counts
	looking atomic.Int32

	mu sync.Mutex
	// state is what was read last, readAt when all of it was; broken tells why
	// nothing could be read since.
	state  page.StackState
	readAt time.Time
	broken error
	rules  []rule
	// unread are the problems of those parts that are not read each time.
	unread []string
	// devices by client ID.
	devices map[string]*client
	// connecting are clients whose connected message has not come yet.
	connecting map[string]time.Time
	// filters are what is subscribed to, each by a connection of its own but the
	// first, which are the stack's topics.
	filters []string
}

// Open reads the stack and subscribes to its topics. The page is told what happens
// until ctx ends; Wait then waits for that.
func Open(ctx context.Context, o Options) (*Page, error) {
	p := &Page{
		Options: o, clients: clientsOf(o.AWS, o.Endpoint), history: page.NewHistory(), ctx: ctx,
		devices: map[string]*client{}, connecting: map[string]time.Time{},
		logged: seen{from: time.Now().Add(-lookBack), told: map[string]time.Time{}},
	}
	var err error
	if p.target, err = check.TargetOf(ctx, o.AWS, o.Stack); err != nil {
		return nil, err
	}
	p.filters = slices.Compact(slices.Sorted(slices.Values([]string{p.target.WillTopic, p.target.ConnectedTopic, p.target.ExecutedTopic})))
	p.refresh(ctx)
	for _, problem := range p.state.Problems {
		o.Log(errors.New(problem))
	}
	p.deliveries(ctx) // those of before are nobody's news
	p.record(append(p.connections(ctx), p.failures(ctx)...))
	if err := p.follow(ctx, slices.Clone(p.filters), p.receive); err != nil {
		return nil, err
	}
	// Without these there are messages, but no connections.
	if err := p.follow(ctx, []string{"$aws/events/presence/+/+"}, p.presence); err != nil {
		o.Log(fmt.Errorf("connections are not shown: %w", err))
	}
	p.ended.Go(p.poll)
	return p, nil
}

// Wait waits until all connections are closed, after the end of Open's context.
func (p *Page) Wait() { p.ended.Wait() }

// Handler serves the page.
func (p *Page) Handler() http.Handler {
	return page.New(page.Options{
		Place: p.Stack + ", " + p.AWS.Region, Address: p.Address, History: p.history, Closing: p.ctx.Done(),
		Limits: "AWS does not say who sent a message, so its lane is that of the client which the payload names in client_id; " +
			"nor what a rule made of it, so the deployed statement is evaluated on this machine; " +
			"nor who got an e-mail, so there is only SNS's count of each minute, when that is over. " +
			"Failed actions come from the rule's log, some seconds later.",
		Publish:   p.publish,
		Subscribe: p.subscribe,
		Stacks: func(context.Context) ([]page.StackState, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.state.Name == "" {
				return nil, p.broken
			}
			return []page.StackState{p.state}, p.broken
		},
	})
}

// follow receives the messages of topic filters on a connection of its own, which
// is made again when it is lost.
func (p *Page) follow(ctx context.Context, filters []string, receive func(device.Message)) error {
	w := watch.New(p.AWS, p.Endpoint, p.Roots, filters, receive)
	d, err := w.Connect(ctx)
	if err != nil {
		return err
	}
	p.ended.Go(func() {
		for {
			select {
			case <-d.Done():
			case <-p.ctx.Done():
				_ = d.Disconnect() // it may have been lost just now
				return
			}
			p.note(fmt.Sprintf("the page lost its connection: %v", d.Err()))
			p.Log(d.Err())
			if d = w.Again(p.ctx, d, p.Log); d == nil {
				return
			}
			p.note("the page is connected again; what was published meanwhile is lost")
		}
	})
	return nil
}

func (p *Page) note(detail string) {
	p.history.Record(page.Event{Kind: page.Note, Time: time.Now(), Detail: detail})
}

func (p *Page) publish(ctx context.Context, m page.Outgoing) error {
	_, err := p.data.Publish(ctx, &iotdataplane.PublishInput{Topic: &m.Topic, Payload: []byte(m.Payload), Qos: int32(m.QoS), Retain: m.Retain})
	return err
}

// maxFilters bounds the connections of the MQTT client.
const maxFilters = 20

// subscribe has messages on a topic filter come into the history, each once: what
// an earlier filter gets, too, comes from there.
func (p *Page) subscribe(_ context.Context, filter string) error {
	p.mu.Lock()
	place := len(p.filters)
	known, full := slices.Contains(p.filters, filter), place == maxFilters
	if !known && !full {
		p.filters = append(p.filters, filter)
	}
	p.mu.Unlock()
	switch {
	case known:
		return nil
	case full:
		return fmt.Errorf("there are %d subscriptions, and no more at a time: start lwt watch -web anew", maxFilters)
	}
	err := p.follow(p.ctx, []string{filter}, func(m device.Message) {
		p.mu.Lock()
		earlier := p.filters[:min(slices.Index(p.filters, filter), len(p.filters))]
		covered := slices.ContainsFunc(earlier, func(f string) bool { return page.Subscribed(f, m.Topic) })
		p.mu.Unlock()
		if !covered {
			p.history.Record(message(page.Message, m))
		}
	})
	if err != nil {
		p.mu.Lock()
		p.filters = slices.DeleteFunc(p.filters, func(f string) bool { return f == filter })
		p.mu.Unlock()
	}
	return err
}

// message is an event of a message that came just now.
func message(kind page.Kind, m device.Message) page.Event {
	return page.Event{Kind: kind, Time: time.Now(), Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain}
}
