// Package cloud shows a deployed stack on the page, as somebody sees it who has
// AWS credentials and a browser: over the APIs of AWS and subscriptions to the
// message broker.
//
// AWS tells a subscriber less than the local endpoint tells its page; Limits says
// what. Who published a message is the client that the payload names in client_id.
// What the rule made of it is computed here, from the deployed statement. Failed
// actions are read from the log of the rule's error action, deliveries of e-mails
// from SNS's counters.
package cloud

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/smithy-go"

	"lastwill/internal/deployed"
	"lastwill/internal/device"
	"lastwill/internal/page"
	"lastwill/internal/watch"
	"lastwill/internal/will"
)

// limits is what the page cannot know.
const limits = "AWS does not say who sent a message, so its lane is that of the client which the payload names in client_id; " +
	"nor what a rule made of it, so the deployed statement is evaluated on this machine; " +
	"nor how long a device is silent; nor who got an e-mail, so there is only SNS's count of each minute, when that is over. " +
	"Times are those of arrival here. Failed actions come from the rule's log, some seconds later. " +
	"Beyond 100 messages a second AWS drops what it would send here: then the counts are too low."

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
	// Every is how often AWS is asked what it does not tell by itself. Default: 5 s.
	Every time.Duration
	// Log is told what goes wrong meanwhile. Required.
	Log func(error)
}

// A Page follows a stack and shows it.
type Page struct {
	Options
	clients
	history *page.History
	handler http.Handler
	closing <-chan struct{} // closed when the page is no longer wanted
	ended   sync.WaitGroup
	// What only Open and then poll use: how far the log was read and what was
	// counted, when all of the stack was read, and the problems with that.
	logged  logged
	counted counts
	readAt  time.Time
	unread  []string
	// subscribing is held while a subscription is made or ended.
	subscribing sync.Mutex

	mu     sync.Mutex
	target will.Target
	// state is what was read last. troubles are what keeps the rest from being known,
	// by its source.
	state    page.StackState
	troubles map[string]string
	rules    []rule
	// known are clients by their IDs, things those of the stack.
	known   map[string]*client
	things  map[string]bool
	looking int
	// filters are what is subscribed to, first the stack's topics. Each has a
	// connection of its own: the broker may send a message once for each of a
	// client's filters, or once for all.
	filters []string
	// leave ends the connection of a filter of the MQTT client's.
	leave map[string]context.CancelFunc
}

// Open reads the stack and subscribes to its topics. The page is told what happens
// until ctx ends; Wait then waits for that.
func Open(ctx context.Context, o Options) (*Page, error) {
	target, err := deployed.Target(ctx, o.AWS, o.Stack)
	if err != nil {
		return nil, err
	}
	p := &Page{
		Options: o, clients: clientsOf(o.AWS, o.Endpoint), history: page.NewHistory(), closing: ctx.Done(), target: target,
		logged:   logged{from: time.Now().Add(-lookBack), told: map[string]time.Time{}},
		troubles: map[string]string{}, known: map[string]*client{}, things: map[string]bool{}, leave: map[string]context.CancelFunc{},
		filters: slices.Compact(slices.Sorted(slices.Values([]string{target.WillTopic, target.ConnectedTopic, target.ExecutedTopic}))),
	}
	p.handler = p.pages(ctx)
	p.refresh(ctx)
	for _, filter := range p.filters {
		if err := p.follow(ctx, []string{filter}, func(m device.Message) { p.receive(ctx, m) }); err != nil {
			return nil, err
		}
	}
	p.followLifecycle(ctx)
	p.catchUp(ctx)
	p.failures(ctx)
	p.deliveries(ctx)
	p.ended.Go(func() { p.poll(ctx) })
	return p, nil
}

// Wait waits until all connections are closed, after the end of Open's context.
func (p *Page) Wait() { p.ended.Wait() }

// Handler serves the page.
func (p *Page) Handler() http.Handler { return p.handler }

// pages makes the handler. What is subscribed to from it ends with ctx.
func (p *Page) pages(ctx context.Context) http.Handler {
	return page.New(page.Options{
		Place: p.Stack + ", " + p.AWS.Region, Address: p.Address, History: p.history, Closing: p.closing, Limits: limits,
		Publish: p.publish, Unsubscribe: p.unsubscribe,
		Subscribe: func(_ context.Context, filter string) error { return p.subscribe(ctx, filter) },
		Stacks: func(context.Context) ([]page.StackState, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			var err error
			state := p.state
			for _, source := range slices.Sorted(maps.Keys(p.troubles)) {
				if source == stackSource {
					err = errors.New(p.troubles[source])
					continue
				}
				state.Problems = append(slices.Clip(state.Problems), p.troubles[source])
			}
			if state.Name == "" {
				return nil, err
			}
			return []page.StackState{state}, err
		},
	})
}

// trouble notes what keeps something from being known, or, without an error, that
// it is known again. Each trouble is logged once.
func (p *Page) trouble(source, what string, err error) {
	select {
	case <-p.closing:
		return
	default:
	}
	if p.note(source, what, err) && err != nil {
		p.Log(fmt.Errorf("%s: %w", what, plain(err)))
	}
}

// note keeps a trouble, or that it is over, and reports whether that is news.
func (p *Page) note(source, what string, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.troubles[source]
	if err == nil {
		delete(p.troubles, source)
	} else {
		p.troubles[source] = what + ": " + plain(err).Error()
	}
	if p.troubles[source] == before {
		return false
	}
	p.changed()
	return true
}

// plain is an error in words that are the same each time: without a request's ID.
func plain(err error) error {
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		return fmt.Errorf("%s: %s", answer.ErrorCode(), answer.ErrorMessage())
	}
	return err
}

// changed tells pages that show the stack to fetch it; p.mu is held.
func (p *Page) changed() {
	p.history.Record(page.Event{Kind: page.Stack, Time: time.Now(), Name: p.Stack, Detail: p.Stack + " " + p.state.Status})
}

// maxThings bounds the subscriptions to the lifecycle events of single things, of
// which a connection may have 50 (general reference, message broker limits).
const maxThings = 50

// followLifecycle receives the lifecycle events of the stack's things, and on a
// connection of their own those of all clients: the account's may be so many that
// the broker drops some. What comes twice is told once.
func (p *Page) followLifecycle(ctx context.Context) {
	p.mu.Lock()
	var own []string
	for _, id := range slices.Sorted(maps.Keys(p.things)) {
		if len(own) < maxThings {
			own = append(own, "$aws/events/presence/+/"+id)
		}
	}
	p.mu.Unlock()
	var err error
	if len(own) > 0 {
		err = p.follow(ctx, own, p.presence)
	}
	err = errors.Join(err, p.follow(ctx, []string{"$aws/events/presence/+/+"}, p.presence))
	p.trouble("lifecycle events", "not all connections are shown", err)
}

// follow receives the messages of topic filters on a connection of its own until
// ctx ends, and makes that again when it is lost.
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
			case <-ctx.Done():
				_ = d.Disconnect() // it may have been lost just now
				return
			}
			lost := time.Now()
			source, what := "connection of "+filters[0], "since "+lost.Format("15:04:05")+" there is no connection for "+filters[0]
			p.trouble(source, what, d.Err())
			d = w.Again(ctx, d, p.Log)
			p.trouble(source, "", nil)
			if d == nil {
				return
			}
			p.history.Record(page.Event{
				Kind: page.Note, Time: time.Now(),
				Detail: fmt.Sprintf("no connection for %s from %s to now: what was published meanwhile is lost", filters[0], lost.Format("15:04:05")),
			})
			p.catchUp(ctx)
		}
	})
	return nil
}

func (p *Page) publish(ctx context.Context, m page.Outgoing) error {
	_, err := p.data.Publish(ctx, &iotdataplane.PublishInput{Topic: &m.Topic, Payload: []byte(m.Payload), Qos: int32(m.QoS), Retain: m.Retain})
	return plain(err)
}

// maxFilters bounds the connections of the MQTT client.
const maxFilters = 20

// subscribe has messages on a topic filter come into the history, each once: what
// an earlier filter gets, too, comes from there.
func (p *Page) subscribe(ctx context.Context, filter string) error {
	p.subscribing.Lock()
	defer p.subscribing.Unlock()
	p.mu.Lock()
	known, full := slices.Contains(p.filters, filter), len(p.leave) == maxFilters
	if !known && !full {
		p.filters = append(p.filters, filter)
	}
	p.mu.Unlock()
	switch {
	case known:
		return nil
	case full:
		return fmt.Errorf("there are %d subscriptions, the most that this page makes: unsubscribe from one", maxFilters)
	}
	ctx, cancel := context.WithCancel(ctx)
	err := p.follow(ctx, []string{filter}, func(m device.Message) {
		p.mu.Lock()
		covered := slices.ContainsFunc(p.filters[:max(0, slices.Index(p.filters, filter))], func(f string) bool { return page.Subscribed(f, m.Topic) })
		p.mu.Unlock()
		if !covered {
			p.history.Record(message(page.Message, m))
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		cancel()
		p.filters = slices.DeleteFunc(p.filters, func(f string) bool { return f == filter })
		return err
	}
	p.leave[filter] = cancel
	return nil
}

// unsubscribe ends what subscribe began.
func (p *Page) unsubscribe(filter string) {
	p.subscribing.Lock()
	defer p.subscribing.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if cancel, ok := p.leave[filter]; ok {
		cancel()
		delete(p.leave, filter)
		p.filters = slices.DeleteFunc(p.filters, func(f string) bool { return f == filter })
	}
}

// message is an event of a message that came just now.
func message(kind page.Kind, m device.Message) page.Event {
	return page.Event{Kind: kind, Time: time.Now(), Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain}
}
