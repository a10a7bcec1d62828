// Package page is a page to see it on: what happens to devices, live, in a
// browser on this machine. It is served as HTML with a little JavaScript, all of
// it embedded, and knows neither the local endpoint nor AWS: a package such as
// page/local tells it what happens and gives it what it shows.
//
// The page is for the person at this machine and for nobody else. It answers
// only to its own address (guard.go), runs no script but its own, and everything
// that came from outside is text to it: html/template escapes it here, textContent
// there, and Trusted Types keep it so.
package page

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"lastwill/internal/will"
)

// Options of a Page. What is nil is not shown.
type Options struct {
	// Place says in a word or two what is shown: Local endpoint. Required.
	Place string
	// Limits says what of it the page cannot know. Default: it knows all.
	Limits string
	// Address is where the page is served, host:port. Required.
	Address string
	// History is what the page tells. Required.
	History *History
	// Closing ends the streams. Default: only the pages do.
	Closing <-chan struct{}
	// Publish publishes a message as the account's owner. Required.
	Publish func(ctx context.Context, m Outgoing) error
	// Subscribe makes sure that messages on a topic filter come into the History.
	// Default: they do.
	Subscribe func(ctx context.Context, filter string) error
	// Unsubscribe is told of a filter that somebody has ended and no page wants.
	// Default: nobody is.
	Unsubscribe func(filter string)
	// Retained returns the retained messages. Default: the broker sends them.
	Retained func() []Retained
	// Stacks are the deployed stacks, newest first.
	Stacks func(context.Context) ([]StackState, error)
	// Mailbox has the e-mails.
	Mailbox Mailbox
	// Fleet are devices that can be started and made to vanish.
	Fleet Fleet
}

// Outgoing is a message that the page publishes.
type Outgoing struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	QoS     byte   `json:"qos"`
	Retain  bool   `json:"retain"`
}

// A Retained message of a topic.
type Retained struct {
	Topic   string
	Payload []byte
	QoS     byte
	Time    time.Time
}

// A StackState is a stack as the page shows it.
type StackState struct {
	Name, ID, Description, Status, Reason string
	Created, Updated                      time.Time
	Resources                             []Resource
	Outputs                               []Output
	Rules                                 []Rule
	Policies                              []Policy
	// Addresses that get the e-mails.
	Addresses []Address
	// Problems are what kept parts of the stack from being read.
	Problems []string
	// Events of the last deployment, oldest first.
	Events []StackEvent
}

// Output returns the value of an output, or "".
func (s StackState) Output(key string) string {
	for _, o := range s.Outputs {
		if o.Key == key {
			return o.Value
		}
	}
	return ""
}

// Failure is the event that the last deployment failed with, or nil.
func (s StackState) Failure() *StackEvent {
	if stateOf(s.Status) != "lost" {
		return nil
	}
	for i, e := range s.Events {
		// CloudFormation cancels what it was making beside the one that failed.
		if strings.HasSuffix(e.Status, "_FAILED") && e.LogicalID != s.Name && !strings.Contains(e.Reason, "cancelled") {
			return &s.Events[i]
		}
	}
	return nil
}

// Parts of a stack.
type (
	Resource struct{ LogicalID, Type, PhysicalID, Status, Reason string }
	Output   struct{ Key, Value, Description string }
	Policy   struct{ Name, Kind, Document string }
	Address  struct {
		Address string
		// Pending until its owner has followed the link in the confirmation mail.
		Pending bool
	}
	StackEvent struct {
		Time                            time.Time
		LogicalID, Type, Status, Reason string
	}
	Rule struct {
		Name, Description, SQL, Version string
		Disabled                        bool
		// Actions and ErrorAction in words.
		Actions     []string
		ErrorAction string
	}
)

// A Mailbox has e-mails.
type Mailbox interface {
	// List returns at most limit mails, newest first, after skipping some, and how
	// many there are.
	List(skip, limit int) ([]Letter, int)
	// Newer returns how many mails arrived after the one of a name.
	Newer(name string) (n int, ok bool)
	// Letter returns the mail of a name.
	Letter(name string) (Letter, bool)
}

// A Letter is an e-mail.
type Letter struct {
	Name     string
	Arrived  time.Time
	FromName string
	From, To string
	Subject  string
	Text     string
	// HTML is the mail's part in HTML, if it has one.
	HTML string
}

// A Fleet is devices that can be started.
type Fleet interface {
	// Things can be played.
	Things(context.Context) ([]Thing, error)
	// Devices that were started, in the order of their names.
	Devices() []Device
	Start(context.Context, Order) error
	// End ends a device in a way of device.Ends, or has it come back.
	End(ctx context.Context, client, way string) error
}

// A Thing is one that a device can play, unless Missing says what is missing.
type Thing struct {
	Name    string `json:"name"`
	Missing string `json:"missing,omitempty"`
	// WillPayload is the Will Message by default.
	WillPayload string `json:"willPayload"`
}

// A Device that was started.
type Device struct {
	Client string `json:"client"`
	// State is connected, silent, lost, left or failed.
	State  string  `json:"state"`
	Detail string  `json:"detail,omitempty"`
	Since  float64 `json:"since"` // milliseconds since 1970
}

// An Order says how to start a device.
type Order struct {
	Thing       string `json:"thing"`
	KeepAlive   int    `json:"keepAlive"` // seconds
	WillPayload string `json:"willPayload"`
}

// A Page is the handler of everything below Root.
type Page struct {
	options Options
	history *History
	mux     *http.ServeMux

	// afterwards is when a stream without a filter has taken the place of one with it.
	afterwards time.Duration

	mu sync.Mutex
	// wanted counts the streams for each topic filter.
	wanted map[string]int
}

// Root is the path below which a Page is served.
const Root = "/_lwt/"

// New returns a Page.
func New(o Options) *Page {
	p := &Page{options: o, history: o.History, mux: http.NewServeMux(), afterwards: 2 * time.Second, wanted: map[string]int{}}
	p.mux.HandleFunc("GET "+Root+"assets/{version}/{name}", serveAsset)
	p.mux.HandleFunc("GET "+Root+"{$}", p.serveTimeline)
	p.mux.HandleFunc("GET "+Root+"client", p.serveClient)
	p.mux.HandleFunc("GET "+Root+"rule", p.serveRule)
	p.mux.HandleFunc("GET "+Root+"events", p.serveEvents)
	p.mux.HandleFunc("GET "+Root+"event/{n}", p.serveEvent)
	p.mux.HandleFunc("POST "+Root+"publish", p.publish)
	p.mux.HandleFunc("POST "+Root+"subscribe", p.subscribe)
	p.mux.HandleFunc("POST "+Root+"unsubscribe", p.unsubscribe)
	p.mux.HandleFunc("POST "+Root+"try", p.tryRule)
	if o.Stacks != nil {
		p.mux.HandleFunc("GET "+Root+"stack", p.serveStack)
	}
	if o.Mailbox != nil {
		p.mux.HandleFunc("GET "+Root+"mailbox", p.serveMailbox)
		p.mux.HandleFunc("GET "+Root+"mailbox/{name}", p.serveMailbox)
		p.mux.HandleFunc("GET "+Root+"mailbox/{name}/html", p.serveMailHTML)
	}
	if o.Fleet != nil {
		p.mux.HandleFunc("GET "+Root+"simulate", p.serveSimulate)
		p.mux.HandleFunc("GET "+Root+"devices", p.listDevices)
		p.mux.HandleFunc("POST "+Root+"devices", p.startDevice)
		p.mux.HandleFunc("POST "+Root+"devices/{way}", p.endDevice)
	}
	p.mux.HandleFunc(Root, p.serveNothing)
	return p
}

func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.guard(w, r, p.mux) }

// publish sends a message of the MQTT client.
func (p *Page) publish(w http.ResponseWriter, r *http.Request) {
	var m Outgoing
	if decode(w, r, &m) {
		answer(w, struct{}{}, p.options.Publish(r.Context(), m))
	}
}

// subscribe prepares a subscription of the MQTT client; the messages then come
// with the stream that begins behind After.
func (p *Page) subscribe(w http.ResponseWriter, r *http.Request) {
	var in struct{ Filter string }
	if !decode(w, r, &in) {
		return
	}
	after := p.history.position()
	err := will.CheckTopicFilter(in.Filter)
	if err == nil && p.options.Subscribe != nil {
		err = p.options.Subscribe(r.Context(), in.Filter)
	}
	var retained []Retained
	if err == nil && p.options.Retained != nil {
		retained = p.options.Retained()
	}
	out := struct {
		After    string      `json:"after"`
		Retained []wireEvent `json:"retained"`
	}{p.history.id(after), []wireEvent{}}
	for _, m := range retained {
		if !Subscribed(in.Filter, m.Topic) {
			continue
		}
		e := entry{Event: Event{Kind: Message, Time: m.Time, Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: true}}
		out.Retained = append(out.Retained, e.wire(len(m.Payload))) // it is in no history that could be asked for the rest
	}
	answer(w, out, err)
}

// unsubscribe ends a subscription of the MQTT client, unless another page has it, too.
func (p *Page) unsubscribe(w http.ResponseWriter, r *http.Request) {
	var in struct{ Filter string }
	if !decode(w, r, &in) {
		return
	}
	if p.options.Unsubscribe != nil {
		time.AfterFunc(p.afterwards, func() {
			p.mu.Lock()
			wanted := p.wanted[in.Filter]
			p.mu.Unlock()
			if wanted == 0 {
				p.options.Unsubscribe(in.Filter)
			}
		})
	}
	answer(w, struct{}{}, nil)
}

// want has messages on the filters of a stream come until done is called.
func (p *Page) want(ctx context.Context, filters []string) (done func(), err error) {
	for _, f := range filters {
		err := will.CheckTopicFilter(f)
		if err == nil && p.options.Subscribe != nil {
			err = p.options.Subscribe(ctx, f)
		}
		if err != nil {
			return nil, err
		}
	}
	count := func(n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, f := range filters {
			if p.wanted[f] += n; p.wanted[f] == 0 {
				delete(p.wanted, f)
			}
		}
	}
	count(1)
	return func() { count(-1) }, nil
}

// serveEvent tells all of one event: the whole payload, and what the rule made of it.
func (p *Page) serveEvent(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseUint(r.PathValue("n"), 10, 64)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	e, ok := p.history.find(n)
	if !ok {
		answer(w, nil, errForgotten)
		return
	}
	out := struct {
		wireEvent
		Output  string   `json:"output,omitempty"`
		Verdict *verdict `json:"verdict,omitempty"`
	}{wireEvent: e.wire(len(e.Payload))}
	out.Output, _ = text(e.Output)
	if e.Query != nil {
		v := judge(e.Query, e.Message)
		out.Verdict = &v
	}
	answer(w, out, nil)
}

var errForgotten = errors.New("this event is no longer in the history, which keeps the last " + strconv.Itoa(MaxEvents))

func (p *Page) listDevices(w http.ResponseWriter, _ *http.Request) {
	answer(w, p.options.Fleet.Devices(), nil)
}

func (p *Page) startDevice(w http.ResponseWriter, r *http.Request) {
	var o Order
	if decode(w, r, &o) {
		answer(w, struct{}{}, p.options.Fleet.Start(r.Context(), o))
	}
}

func (p *Page) endDevice(w http.ResponseWriter, r *http.Request) {
	var in struct{ Client string }
	if decode(w, r, &in) {
		answer(w, struct{}{}, p.options.Fleet.End(r.Context(), in.Client, r.PathValue("way")))
	}
}

// maxRequestBytes has room for the largest MQTT payload, escaped as JSON.
const maxRequestBytes = 1 << 20

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes)).Decode(v); err != nil {
		http.Error(w, "the request is not what this page sends: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// answer sends a value, or an error for the person who sees it.
func answer(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	if err != nil {
		status = http.StatusUnprocessableEntity
		v = struct {
			Error string `json:"error"`
		}{err.Error()}
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the page is gone; there is nobody to tell
}
