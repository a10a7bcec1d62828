// Package local shows the local endpoint on the page: it tells the page what the
// endpoint does, and gives it stacks, mailbox and devices.
package local

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lastwill/internal/iotsql"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/mail"
	"lastwill/internal/page"
)

// A Page observes an endpoint and serves a page of it. Its methods fit into
// localaws.Options.
type Page struct {
	certs   string
	history *page.History
	senders senders
}

// New returns a Page. Devices started from it have the private keys in the folder
// certs.
func New(certs string) *Page {
	return &Page{certs: certs, history: page.NewHistory(), senders: senders{seed: maphash.MakeSeed(), of: map[uint64]string{}}}
}

// ObserveIoT tells the page what the broker and the rules engine do.
func (p *Page) ObserveIoT(e iot.Event) {
	if e.Kind == iot.Pinged {
		p.history.Heard(e.ClientID, e.Time)
		return
	}
	out := page.Event{
		Kind: kindOf(e), Time: e.Time, Client: e.ClientID, Rule: e.Rule, Detail: e.Detail, KeepAlive: e.KeepAlive,
		Query: e.Query, Output: e.Output,
	}
	if m := e.Message; m != nil {
		out.Topic, out.Payload, out.QoS, out.Retain = m.Topic, m.Payload, m.QoS, m.Retain
		if e.Query != nil {
			out.Message = &iotsql.Message{
				Topic: m.Topic, Payload: m.Payload, ClientID: m.ClientID, Principal: m.Principal, SourceIP: m.SourceIP,
				AccountID: localaws.Account.ID, Time: m.Time,
			}
		}
	}
	if e.Kind == iot.Matched {
		p.senders.expect(e.Output, e.ClientID)
	}
	if out.Kind == page.Failed && e.ErrorAction {
		out.Detail = "error action, " + out.Detail
	}
	if out.Kind == page.Done && e.Detail == "RepublishAction" {
		return // the copy tells it
	}
	p.history.Record(out)
}

func kindOf(e iot.Event) page.Kind {
	switch e.Kind {
	case iot.Connected:
		return page.Connected
	case iot.Refused:
		return page.Refused
	case iot.Disconnected:
		return page.Disconnected
	case iot.Matched:
		return page.Matched
	case iot.NotMatched:
		return page.NotMatched
	case iot.ActionFailed:
		return page.Failed
	case iot.ActionDone:
		if e.ErrorAction {
			return page.ErrorAction
		}
		return page.Done
	}
	switch {
	case e.Message.Will:
		return page.Will
	case e.Message.Copy():
		return page.Copy
	}
	return page.Message
}

// ObserveStacks tells the page what deployments do.
func (p *Page) ObserveStacks(e cloudformation.Event) {
	p.history.Record(page.Event{Kind: page.Stack, Time: e.Time, Name: e.StackName, Detail: e.LogicalID + " " + e.Status})
}

// Serve returns the handler of the page of a server.
func (p *Page) Serve(s *localaws.Server) http.Handler {
	status := s.Status()
	options := page.Options{
		Place: "Local endpoint", Address: strings.TrimPrefix(status.Endpoint, "http://"),
		History: p.history, Closing: s.Closing(),
		Publish: func(ctx context.Context, m page.Outgoing) error {
			return s.IoT.Publish(ctx, m.Topic, []byte(m.Payload), m.QoS, m.Retain)
		},
		Subscribe: func(_ context.Context, filter string) error {
			if strings.HasPrefix(filter, "$aws/events/") {
				s.IoT.WatchLifecycle()
			}
			return nil
		},
		Retained: func() (out []page.Retained) {
			for _, m := range s.IoT.ListRetainedMessages() {
				out = append(out, page.Retained{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Time: m.LastModified})
			}
			return out
		},
		Stacks: func(context.Context) ([]page.StackState, error) { return stacksOf(s), nil },
		Fleet:  newFleet(s, p.certs),
	}
	if s.Mailbox != nil {
		options.Mailbox = mailbox{s.Mailbox}
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			<-s.Closing()
			cancel()
		}()
		go p.watch(ctx, s.Mailbox, len(s.Mailbox.List()))
	}
	return page.New(options)
}

// atLeisure is how many mails at once are read for whom they are about; of more
// only the number counts.
const atLeisure = 100

// watch tells the page of each mail that arrives after those that were there when
// the endpoint started.
func (p *Page) watch(ctx context.Context, box *mail.Mailbox, seen int) {
	for {
		mails, err := box.Wait(ctx, seen)
		if err != nil {
			return
		}
		seen += len(mails)
		for _, m := range mails {
			e := page.Event{Kind: page.Mail, Time: m.Arrived, Name: m.Name}
			if len(mails) <= atLeisure {
				if read, err := mail.Parse(m.Raw); err == nil { // else the mailbox shows it as it came
					e.Detail = read.Subject
					e.Client = p.senders.about(read.Body)
				}
			}
			p.history.Record(e)
		}
	}
}

// senders remembers which client's message became which text, so that a mail
// finds its way back to the device that it is about.
type senders struct {
	mu    sync.Mutex
	seed  maphash.Seed
	of    map[uint64]string
	order []uint64 // oldest first
}

const maxSenders = 1000

func (s *senders) expect(text []byte, client string) {
	sum := maphash.Bytes(s.seed, trimmed(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.of[sum]; !ok {
		if len(s.order) == maxSenders {
			delete(s.of, s.order[0])
			s.order = s.order[1:]
		}
		s.order = append(s.order, sum)
	}
	s.of[sum] = client
}

// about returns the client that a notification is about, or "".
func (s *senders) about(body string) string {
	text, _, ok := strings.Cut(body, "\n\n--\n")
	if !ok {
		return ""
	}
	sum := maphash.String(s.seed, text)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[sum]
}

// trimmed is a text as it stands in a mail.
func trimmed(text []byte) []byte {
	return []byte(strings.ReplaceAll(strings.TrimRight(string(text), "\r\n"), "\r\n", "\n"))
}

type mailbox struct{ box *mail.Mailbox }

func (m mailbox) List(skip, limit int) ([]page.Letter, int) {
	all := m.box.List()
	var out []page.Letter
	for i := len(all) - 1 - skip; i >= 0 && len(out) < limit; i-- {
		out = append(out, letterOf(all[i]))
	}
	return out, len(all)
}

func (m mailbox) Newer(name string) (int, bool) {
	all := m.box.List()
	at := slices.IndexFunc(all, func(found mail.Mail) bool { return found.Name == name })
	return len(all) - 1 - at, at >= 0
}

func (m mailbox) Letter(name string) (page.Letter, bool) {
	got, ok := m.box.Get(name)
	if !ok {
		return page.Letter{}, false
	}
	return letterOf(got), true
}

func letterOf(m mail.Mail) page.Letter {
	read, err := mail.Parse(m.Raw)
	if err != nil {
		return page.Letter{Name: m.Name, Arrived: m.Arrived, Subject: "(a mail that cannot be read: " + err.Error() + ")", Text: string(m.Raw)}
	}
	return page.Letter{
		Name: m.Name, Arrived: m.Arrived, FromName: read.From.Name, From: read.From.Address, To: read.To.Address,
		Subject: read.Subject, Text: strings.TrimSpace(read.Body), HTML: mail.HTML(m.Raw),
	}
}

// stacksOf returns the stacks that exist, newest first.
func stacksOf(s *localaws.Server) []page.StackState {
	var out []page.StackState
	for _, st := range s.CloudFormation.List() {
		if st.Status != "DELETE_COMPLETE" {
			out = append(out, stackOf(s, st))
		}
	}
	slices.Reverse(out)
	return out
}

func stackOf(s *localaws.Server, st *cloudformation.Stack) page.StackState {
	out := page.StackState{
		Name: st.Name, ID: st.ID, Description: st.Description, Status: st.Status, Reason: st.StatusReason,
		Created: st.Created, Updated: st.Updated,
	}
	for _, o := range st.Outputs {
		out.Outputs = append(out.Outputs, page.Output{Key: o.Key, Value: o.Value, Description: o.Description})
	}
	for _, r := range st.Resources {
		out.Resources = append(out.Resources, page.Resource{
			LogicalID: r.LogicalID, Type: r.Type, PhysicalID: r.PhysicalID, Status: r.Status, Reason: r.StatusReason,
		})
	}
	slices.SortFunc(out.Resources, func(a, b page.Resource) int {
		return strings.Compare(a.Type+" "+a.LogicalID, b.Type+" "+b.LogicalID)
	})
	for _, r := range out.Resources {
		describe(s, &out, r, st.Resources[r.LogicalID].Properties)
	}
	begun := 0
	for i, e := range st.Events {
		if e.Type == cloudformation.StackType && strings.HasSuffix(e.Status, "_IN_PROGRESS") && e.StatusReason == "User Initiated" {
			begun = i
		}
	}
	for _, e := range st.Events[begun:] {
		out.Events = append(out.Events, page.StackEvent{Time: e.Time, LogicalID: e.LogicalID, Type: e.Type, Status: e.Status, Reason: e.StatusReason})
	}
	return out
}

// describe adds the rule or the policies of a resource. One that is gone already
// has none.
func describe(s *localaws.Server, out *page.StackState, r page.Resource, properties map[string]any) {
	add := func(name, kind, document string) {
		out.Policies = append(out.Policies, page.Policy{Name: name, Kind: kind, Document: document})
	}
	switch r.Type {
	case "AWS::IoT::TopicRule":
		if rule, err := s.IoT.GetTopicRule(r.PhysicalID); err == nil {
			out.Rules = append(out.Rules, ruleOf(rule))
		}
	case "AWS::IoT::Policy":
		if policy, err := s.IoT.GetPolicy(r.PhysicalID); err == nil {
			add(policy.Name, "IoT policy, version "+policy.DefaultVersion, policy.Document)
		}
	case "AWS::IAM::Role":
		if role, err := s.IAM.GetRole(r.PhysicalID); err == nil {
			add(role.Name, "who may assume the role", role.TrustPolicy)
			for name, document := range role.Policies {
				add(role.Name, "inline policy "+name, document)
			}
		}
	case "AWS::SNS::Topic":
		subscriptions, _ := s.SNS.ListSubscriptionsByTopic(r.PhysicalID) // a topic that is gone has none
		for _, sub := range subscriptions {
			if strings.HasPrefix(sub.Protocol, "email") {
				out.Addresses = append(out.Addresses, page.Address{Address: sub.Endpoint, Pending: sub.ARN == "PendingConfirmation"})
			}
		}
	case "AWS::SNS::TopicPolicy":
		if document, err := json.Marshal(properties["PolicyDocument"]); err == nil {
			add(r.LogicalID, "SNS topic policy", string(document))
		}
	}
}

func ruleOf(r iot.TopicRule) page.Rule {
	out := page.Rule{
		Name: r.Name, Description: r.Payload.Description, SQL: r.Payload.SQL, Version: r.Payload.AwsIotSQLVersion,
		Disabled: r.Payload.RuleDisabled,
	}
	for _, a := range r.Payload.Actions {
		out.Actions = append(out.Actions, inWords(a))
	}
	if a := r.Payload.ErrorAction; a != nil {
		out.ErrorAction = inWords(*a)
	}
	return out
}

func inWords(a iot.Action) string {
	switch {
	case a.SNS != nil:
		return "publish to SNS topic " + a.SNS.TargetARN
	case a.Republish != nil:
		return "republish to " + a.Republish.Topic
	case a.CloudwatchLogs != nil:
		return "write to log group " + a.CloudwatchLogs.LogGroupName
	}
	return a.String()
}

func milliseconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1000 }
