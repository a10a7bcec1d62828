package cloud

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"lastwill/internal/await"
	"lastwill/internal/device"
	"lastwill/internal/iotsql"
	"lastwill/internal/keypair"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/localtest"
	"lastwill/internal/page"
	"lastwill/internal/will"
)

var names = will.NewNames("")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A stage is a deployed stack and a page of it.
type stage struct {
	*localaws.Server
	t    testing.TB
	page *Page
	mux  http.Handler

	mu        sync.Mutex
	complains []string
	watchers  []string // client IDs of the page's connections
}

// A transport refuses requests that have a text in them, and changes answers.
type transport struct {
	forbidden atomic.Pointer[string]
	change    *strings.Replacer
}

func (f *transport) Do(r *http.Request) (*http.Response, error) {
	asked := r.URL.Path + r.Header.Get("X-Amz-Target")
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		asked += string(b)
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	if text := f.forbidden.Load(); text != nil && strings.Contains(asked, *text) {
		answer := httptest.NewRecorder()
		answer.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		answer.WriteHeader(http.StatusForbidden)
		if r.URL.Path != "/" || r.Header.Get("X-Amz-Target") != "" { // not the query protocol, which is XML
			fmt.Fprint(answer, `{"message": "not for you"}`)
			return answer.Result(), nil
		}
		fmt.Fprint(answer, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>not for you</Message></Error></ErrorResponse>`)
		return answer.Result(), nil
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil || f.change == nil {
		return answer, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	answer.Body = io.NopCloser(strings.NewReader(f.change.Replace(string(b))))
	return answer, err
}

func (f *transport) forbid(text string) { f.forbidden.Store(&text) }

func setUp(t testing.TB) *stage {
	t.Helper()
	return setUpWith(t, &transport{})
}

func setUpWith(t testing.TB, f *transport) *stage {
	t.Helper()
	s := &stage{t: t}
	s.Server = localtest.Deploy(t, localaws.Options{ConnectInterval: -1, ObserveIoT: func(e iot.Event) {
		if e.Kind == iot.Connected && strings.HasPrefix(e.ClientID, will.WatchPrefix) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.watchers = append(s.watchers, e.ClientID)
		}
	}})
	s.open(f)
	return s
}

// open opens a page of the stack.
func (s *stage) open(f *transport) {
	s.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.IoT.RootCA())
	ctx, cancel := context.WithCancel(context.Background())
	p, err := Open(ctx, Options{
		AWS: aws.Config{
			Region: localaws.Account.Region, BaseEndpoint: aws.String(s.URL()), HTTPClient: f,
			Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		},
		Stack: localtest.Stack, Endpoint: s.IoT.Address(), Roots: roots, Address: "127.0.0.1:4567", Every: 100 * time.Millisecond,
		Log: func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.complains = append(s.complains, err.Error())
		},
	})
	must(s.t, err)
	s.t.Cleanup(func() { cancel(); p.Wait() })
	s.page, s.mux = p, p.Handler()
}

// connect connects the deployed thing, with a certificate more.
func (s *stage) connect() *device.Device {
	s.t.Helper()
	dir := s.t.TempDir()
	csr, err := keypair.Ensure(dir, will.ThingName, true)
	must(s.t, err)
	certificate, err := s.IoT.CreateCertificateFromCSR(csr, true)
	must(s.t, err)
	must(s.t, s.IoT.AttachPolicy(s.IoT.ListPolicies()[0].Name, certificate.ARN))
	must(s.t, s.IoT.AttachThingPrincipal(will.ThingName, certificate.ARN))
	key, err := os.ReadFile(keypair.KeyFile(dir, will.ThingName))
	must(s.t, err)
	pair, err := tls.X509KeyPair([]byte(certificate.PEM), key)
	must(s.t, err)
	d, err := device.Connect(s.t.Context(), device.Config{Endpoint: s.IoT.Address(), Roots: s.page.Roots, Certificate: pair, ClientID: will.ThingName})
	must(s.t, err)
	s.t.Cleanup(func() { _, _ = d.Drop() }) // it may have ended before
	return d
}

// ask sends a request to the page.
func (s *stage) ask(method, path, body string) string {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:4567/_lwt/"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer := httptest.NewRecorder()
	s.mux.ServeHTTP(answer, r)
	return answer.Body.String()
}

type event struct{ Kind, Client, Topic, Payload, Detail string }

func (e event) String() string {
	return strings.TrimRight(strings.Join([]string{e.Kind, e.Client, e.Topic, e.Payload, e.Detail}, "|"), "|")
}

// A batch is what the stream of the page sends.
type batch struct {
	Totals map[string]int
	Events []event
}

// events are those in the history, except changes of the stack.
func (s *stage) events() []event {
	s.t.Helper()
	return slices.DeleteFunc(s.batch().Events, func(e event) bool { return e.Kind == "stack" })
}

func (s *stage) batch() batch {
	s.t.Helper()
	return s.streams("?once=1")
}

// streams returns what a stream sends that ends.
func (s *stage) streams(query string) (all batch) {
	s.t.Helper()
	server := httptest.NewServer(s.mux) // the stream wants a real connection
	defer server.Close()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, server.URL+"/_lwt/events"+query, nil)
	must(s.t, err)
	request.Host = "127.0.0.1:4567"
	response, err := http.DefaultClient.Do(request)
	must(s.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(s.t, err)
	for line := range strings.Lines(string(text)) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var more batch
			must(s.t, json.Unmarshal([]byte(data), &more))
			all.Totals, all.Events = more.Totals, append(all.Events, more.Events...)
		}
	}
	return all
}

// until waits until something is so, and fails with what otherwise says.
func (s *stage) until(so func() bool, otherwise func() string) {
	s.t.Helper()
	await.True(s.t, so, "what the page is told", otherwise)
}

// sees waits until the history has all of these events, in this order.
func (s *stage) sees(want ...string) (all []event) {
	s.t.Helper()
	at := 0
	s.until(func() bool {
		all, at = s.events(), 0
		for _, e := range all {
			if at < len(want) && strings.HasPrefix(e.String(), want[at]) {
				at++
			}
		}
		return at == len(want)
	}, func() string { return fmt.Sprintf("%q was never seen; seen were %v", want[at], all) })
	return all
}

// Messages on topics that several filters get come once, whoever asked first.
func TestMessagesOfOverlappingFiltersComeOnce(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	for _, filter := range []string{"site/+", "site/#", "#", names.WillTopic, "site/+"} {
		if answer := s.ask("POST", "subscribe", `{"filter":"`+filter+`"}`); strings.Contains(answer, "error") {
			t.Fatal(answer)
		}
	}
	for i, topic := range []string{"site/a", "site/a/b", "elsewhere", names.ConnectedTopic} {
		if answer := s.ask("POST", "publish", fmt.Sprintf(`{"topic":%q,"payload":"%d","qos":1}`, topic, i)); strings.Contains(answer, "error") {
			t.Fatal(answer)
		}
	}
	// Each connection is in order, and all of them get this one's.
	for _, topic := range []string{"site/end", "site/end/end", "end", names.ConnectedTopic} {
		must(t, s.IoT.Publish(t.Context(), topic, []byte("end"), 1, false))
		s.sees("message||" + topic + "|end")
	}
	got := map[string]int{}
	for _, e := range s.events() {
		got[e.Topic+" "+e.Payload]++
	}
	for i, topic := range []string{"site/a", "site/a/b", "elsewhere", names.ConnectedTopic} {
		if n := got[fmt.Sprintf("%s %d", topic, i)]; n != 1 {
			t.Errorf("the message on %s came %d times", topic, n)
		}
	}
	for i := range maxFilters {
		answer := s.ask("POST", "subscribe", fmt.Sprintf(`{"filter":"more/%d"}`, i))
		if i >= maxFilters-3 != strings.Contains(answer, "error") {
			t.Errorf("filter %d is answered with %s", i+3, answer)
		}
		if i == maxFilters-1 && !strings.Contains(answer, "the most that this page makes") {
			t.Errorf("one filter too many is answered with %s", answer)
		}
	}
}

// What comes in a storm is counted to the last message.
func TestAStormIsCounted(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	const devices = 500
	for i := range devices {
		must(t, s.IoT.Publish(t.Context(), names.WillTopic, will.Payload(fmt.Sprint("device-", i)), 1, false))
	}
	var totals map[string]int
	s.until(func() bool {
		totals = s.batch().Totals
		return totals["will"] == devices && totals["matched"] == devices && totals["copy"] == devices
	}, func() string {
		return fmt.Sprintf("of %d devices %d wills, %d matches and %d copies are counted", devices, totals["will"], totals["matched"], totals["copy"])
	})
}

// shows waits until a view has a text, and returns the view.
func (s *stage) shows(path, text string) (view string) {
	s.t.Helper()
	s.until(func() bool {
		view = s.ask("GET", path, "")
		return strings.Contains(view, text)
	}, func() string { return fmt.Sprintf("/_lwt/%s never says %q:\n%s", path, text, view) })
	return view
}

// What may not be read is named on the timeline and on standard error, once, and
// the rest is as it was.
func TestWhatIsForbiddenIsNamed(t *testing.T) {
	t.Parallel()
	for call, says := range map[string]string{
		"DescribeStacks":           "read stack Lastwill: AccessDenied: not for you",
		"ListStackResources":       "resources cannot be read: AccessDenied: not for you",
		"DescribeStackEvents":      "events cannot be read: ",
		"/rules/":                  "rule lastWillRule cannot be read: AccessDenied",
		"/policies/":               "policy Lastwill-",
		"Action=GetRole&":          "role Lastwill-",
		"GetRolePolicy":            "of role Lastwill-",
		"ListRolePolicies":         "policies of role Lastwill-",
		"GetTopicAttributes":       "policy of arn:aws:sns:",
		"ListSubscriptionsByTopic": "subscriptions of arn:aws:sns:",
		"FilterLogEvents":          "failed actions are not shown: ",
		"GetMetricData":            "deliveries of e-mails are not counted: ",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			f := &transport{}
			s := setUpWith(t, f)
			s.shows("stack", "lastWillRule")
			anew := func() { // as if the stack had changed: all of it is read
				s.page.mu.Lock()
				defer s.page.mu.Unlock()
				s.page.state.Updated = time.Now()
			}
			f.forbid(call)
			anew()
			s.shows("", says)
			for _, want := range []string{"Not all of it is known", "<dd>0 of 1</dd>"} {
				s.shows("", want)
			}
			for _, want := range []string{"lastWillRule", "PENDING", "ops@example.com", "AlertTopic"} {
				s.shows("stack", want)
			}
			must(t, s.IoT.Publish(t.Context(), names.WillTopic, will.Payload("pump"), 1, false))
			s.sees("matched|pump")
			f.forbid("nothing at all")
			anew()
			s.shows("", `id="problems" hidden`)
			s.mu.Lock()
			defer s.mu.Unlock()
			if said := strings.Join(s.complains, "\n"); strings.Count(said, says) > 1 {
				t.Errorf("on standard error stands\n%s", said)
			}
		})
	}
}

// A subscription that its owner has ended is no address that gets mails.
func TestAnEndedSubscriptionIsNoAddress(t *testing.T) {
	t.Parallel()
	s := setUpWith(t, &transport{change: strings.NewReplacer("PendingConfirmation", "Deleted")})
	if timeline := s.ask("GET", "", ""); !strings.Contains(timeline, "<dd>0 of 0</dd>") {
		t.Errorf("the timeline does not say that there is no address:\n%s", timeline)
	}
}

// A connection that is lost is made again, and the page says what that means.
func TestALostConnectionIsNoted(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	s.mu.Lock()
	first := s.watchers[0]
	s.mu.Unlock()
	must(t, s.IoT.DeleteConnection(first, true, false))
	s.shows("", "there is no connection for "+names.WillTopic)
	s.sees("note||||no connection for " + names.WillTopic)
	s.shows("", `id="problems" hidden`)
	must(t, s.IoT.Publish(t.Context(), names.WillTopic, []byte("after"), 1, false))
	s.sees("will||" + names.WillTopic + "|after")
}

// A device that dies while nobody is told is no longer shown as connected; one that
// was there before is.
func TestConnectionsOfAGapAreAskedFor(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	d := s.connect()
	s.sees("connected|lwtThing")
	s.mu.Lock()
	lifecycle := s.watchers[3:] // after the stack's topics
	s.mu.Unlock()
	for _, id := range lifecycle {
		must(t, s.IoT.DeleteConnection(id, true, false))
	}
	_, err := d.Drop()
	must(t, err)
	s.sees("connected|lwtThing", "disconnected|lwtThing|||CONNECTION_LOST")

	s.connect()
	s.open(&transport{})
	s.sees("connected|lwtThing|||connected since ")
}

// A filter's connection ends with its last page, and its messages with it.
func TestUnsubscribingEndsTheConnection(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	if answer := s.ask("POST", "subscribe", `{"filter":"site/#"}`); strings.Contains(answer, "error") {
		t.Fatal(answer)
	}
	s.mu.Lock()
	client := s.watchers[len(s.watchers)-1]
	s.mu.Unlock()
	s.ask("POST", "unsubscribe", `{"filter":"site/#"}`)
	s.until(func() bool {
		c, err := s.IoT.GetConnection(client)
		return err == nil && !c.Connected
	}, func() string { return "the connection of a filter that nobody wants still stands" })
	// A page that has it all the same subscribes anew.
	s.streams("?once=1&filter=site/%23")
	must(t, s.IoT.Publish(t.Context(), "site/a", []byte("x"), 1, false))
	s.sees("message||site/a|x")
}

// presence is a lifecycle event as AWS IoT Core publishes it.
func presence(event, client string, version int, reason string) device.Message {
	b, err := json.Marshal(map[string]any{
		"clientId": client, "eventType": event, "versionNumber": version, "disconnectReason": reason, "timestamp": time.Now().UnixMilli(),
		"connectFailureReason": map[bool]string{true: "AUTHORIZATION_FAILED"}[event == "connect_failed"],
	})
	if err != nil {
		panic(err)
	}
	return device.Message{Topic: "$aws/events/presence/" + event + "/" + client, Payload: b}
}

// Lifecycle events come late, twice, and of devices of other stacks.
func TestLifecycleEventsAreTakenAsTheyCome(t *testing.T) {
	t.Parallel()
	alert := func(client string) device.Message {
		return device.Message{Topic: names.WillTopic, Payload: will.Payload(client)}
	}
	for _, c := range []struct {
		claim string
		come  []device.Message
		want  []string
	}{
		{
			"a connection and its end",
			[]device.Message{presence("connected", "lwtThing", 1, ""), presence("disconnected", "lwtThing", 1, "CONNECTION_LOST")},
			[]string{"connected|lwtThing", "disconnected|lwtThing CONNECTION_LOST"},
		},
		{
			"each twice",
			[]device.Message{
				presence("connected", "lwtThing", 1, ""), presence("connected", "lwtThing", 1, ""),
				presence("disconnected", "lwtThing", 1, "CONNECTION_LOST"), presence("disconnected", "lwtThing", 1, "CONNECTION_LOST"),
			},
			[]string{"connected|lwtThing", "disconnected|lwtThing CONNECTION_LOST"},
		},
		{
			"the end of a connection after the next has begun",
			[]device.Message{
				presence("connected", "lwtThing", 1, ""), presence("connected", "lwtThing", 2, ""),
				presence("disconnected", "lwtThing", 1, "DUPLICATE_CLIENTID"),
			},
			[]string{"connected|lwtThing", "connected|lwtThing", "note|lwtThing an earlier connection ended: DUPLICATE_CLIENTID"},
		},
		{
			"two beginnings in the wrong order",
			[]device.Message{
				presence("connected", "lwtThing", 2, ""), presence("connected", "lwtThing", 1, ""),
				presence("disconnected", "lwtThing", 1, "DUPLICATE_CLIENTID"), presence("disconnected", "lwtThing", 1, "DUPLICATE_CLIENTID"),
			},
			[]string{"connected|lwtThing", "note|lwtThing an earlier connection ended: DUPLICATE_CLIENTID"},
		},
		{
			"the end of an earlier connection after that of the last",
			[]device.Message{
				presence("connected", "lwtThing", 2, ""), presence("disconnected", "lwtThing", 2, "CONNECTION_LOST"),
				presence("disconnected", "lwtThing", 1, "DUPLICATE_CLIENTID"),
			},
			[]string{"connected|lwtThing", "disconnected|lwtThing CONNECTION_LOST", "note|lwtThing an earlier connection ended: DUPLICATE_CLIENTID"},
		},
		{
			"the end before the beginning",
			[]device.Message{presence("disconnected", "lwtThing", 1, "CONNECTION_LOST"), presence("connected", "lwtThing", 1, "")},
			[]string{"disconnected|lwtThing CONNECTION_LOST"},
		},
		{
			"a refusal",
			[]device.Message{presence("connect_failed", "lwtThing", 1, "")},
			[]string{"refused|lwtThing AUTHORIZATION_FAILED: its policies forbid the connection, or its Will Message"},
		},
		{
			"a device that the stack does not know, until its topics name it",
			[]device.Message{
				presence("connected", "other", 1, ""), presence("connected", "pump", 1, ""),
				presence("disconnected", "pump", 1, "CONNECTION_LOST"), alert("pump"), presence("connected", "pump", 2, ""),
			},
			[]string{"connected|pump", "disconnected|pump CONNECTION_LOST", "will|pump", "matched|pump", "connected|pump"},
		},
		{
			"our own connections, and what is no lifecycle event",
			[]device.Message{
				presence("connected", "lwt-watch-abc", 1, ""),
				{Topic: "$aws/events/presence/connected/x", Payload: []byte("x")},
				presence("subscribed", "lwtThing", 1, ""), presence("connected", "", 1, ""),
			},
			nil,
		},
		{
			"a connected message of the only one that has just connected",
			[]device.Message{presence("connected", "lwtThing", 1, ""), {Topic: names.ConnectedTopic, Payload: []byte("{}")}},
			[]string{"connected|lwtThing", "message|lwtThing"},
		},
		{
			"a copy before its will",
			[]device.Message{{Topic: names.ExecutedTopic, Payload: will.Payload("pump")}, alert("pump")},
			[]string{"will|pump", "matched|pump", "copy|pump"},
		},
		{
			"a copy whose will was lost",
			[]device.Message{{Topic: names.ExecutedTopic, Payload: will.Payload("valve")}},
			[]string{"copy|valve"},
		},
		{
			"a connected message before the connection",
			[]device.Message{{Topic: names.ConnectedTopic, Payload: []byte("{}")}, presence("connected", "lwtThing", 1, "")},
			[]string{"connected|lwtThing", "message|lwtThing"},
		},
		{
			"a connected message of one of two",
			[]device.Message{
				alert("pump"), presence("connected", "lwtThing", 1, ""), presence("connected", "pump", 1, ""),
				{Topic: names.ConnectedTopic, Payload: []byte("{}")},
			},
			[]string{"will|pump", "matched|pump", "connected|lwtThing", "connected|pump", "message|"},
		},
		{
			"a will that the rule does not want, one that is retained, one that names nobody",
			[]device.Message{
				{Topic: names.WillTopic, Payload: []byte(`{"a":[{"client_id":"pump"}]}`)},
				{Topic: names.WillTopic, Payload: will.Payload("pump"), Retain: true},
				{Topic: names.WillTopic, Payload: []byte{0xff}},
			},
			[]string{"will|pump", "unmatched|pump", "message|pump", "will|", "unmatched|"},
		},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			s := setUp(t)
			for _, m := range c.come {
				if strings.HasPrefix(m.Topic, "$") {
					s.page.presence(m)
				} else {
					s.page.receive(t.Context(), m)
				}
			}
			var all []event
			s.until(func() bool { // a message waits for its lifecycle event
				all = s.events()
				return len(all) >= len(c.want)
			}, func() string { return fmt.Sprintf("the page was told %v alone", all) })
			var got []string
			for _, e := range all {
				text := e.Kind + "|" + e.Client
				if e.Kind != "unmatched" && e.Detail != "" {
					text += " " + e.Detail
				}
				got = append(got, text)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("the page was told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// Devices are remembered, but not without end.
func TestRememberedClientsAreBounded(t *testing.T) {
	t.Parallel()
	p := &Page{history: page.NewHistory(), known: map[string]*client{}, things: map[string]bool{will.ThingName: true}}
	p.presence(presence("connected", will.ThingName, 1, ""))
	for i := range maxClients + 100 {
		p.presence(presence("connected", fmt.Sprint("device-", i), 1, ""))
	}
	if len(p.known) != maxClients {
		t.Errorf("%d clients are remembered, of at most %d", len(p.known), maxClients)
	}
	// Not even payloads that name thousands make the stack's own thing unknown.
	for i := range maxClients + 100 {
		p.receive(t.Context(), device.Message{Topic: "t", Payload: will.Payload(fmt.Sprint("invented-", i))})
	}
	if c, ok := p.known[will.ThingName]; !ok || !c.connected || len(p.known) != maxClients {
		t.Errorf("of the stack's thing is known %+v, of %d clients", c, len(p.known))
	}
	if got := clientOf([]byte(`{"client_id":"` + strings.Repeat("x", will.MaxClientIDBytes+1) + `"}`)); got != "" {
		t.Errorf("a client ID of %d bytes is believed", len(got))
	}
}

// A stack that is destroyed while somebody looks is said to be gone.
func TestAStackThatIsDestroyedIsGone(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	stack, err := s.CloudFormation.Describe(localtest.Stack)
	must(t, err)
	must(t, s.CloudFormation.Delete(stack.ID))
	_, err = s.CloudFormation.Await(t.Context(), stack.ID)
	must(t, err)
	s.shows("stack", "read stack Lastwill: it does not exist")
	if answer := s.ask("GET", "stack", ""); strings.Contains(answer, names.Rule) {
		t.Errorf("the stack's view says\n%s", answer)
	}
}

// What SNS has counted is told once, and nothing of before the page.
func TestDeliveriesAreToldOnce(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	mails, err := s.Mailbox.Wait(t.Context(), 0)
	must(t, err)
	link := regexp.MustCompile(`https?://\S+/_lwt/sns/confirm\S+`).FindString(string(mails[0].Raw))
	response, err := http.Get(link)
	must(t, err)
	response.Body.Close()
	must(t, s.IoT.Publish(t.Context(), names.WillTopic, will.Payload("pump"), 1, false))
	must(t, s.Flush(t.Context()))
	s.sees("note||||SNS counts 1 notifications as delivered")
	must(t, s.IoT.Publish(t.Context(), names.WillTopic, will.Payload("valve"), 1, false))
	all := s.sees("note||||SNS counts 1 notifications as delivered", "note||||SNS counts 1 notifications as delivered")
	if n := len(slices.DeleteFunc(all, func(e event) bool { return e.Kind != "note" })); n != 2 {
		t.Errorf("two mails are told in %d notes", n)
	}
}

// Whatever comes over MQTT or stands in the log, the page goes on and sends JSON.
func FuzzMessages(f *testing.F) {
	for _, payload := range []string{
		string(will.Payload("pump")), `{"client_id":1}`, `[[{"client_id":"x"}]]`, "\xff", "",
		`{"clientId":"x","eventType":"disconnected","sessionIdentifier":"1","disconnectReason":"CONNECTION_LOST"}`,
		`{"ruleName":"r","clientId":"x","base64OriginalPayload":"eA==","failures":[{"failedAction":"SnsAction","errorMessage":"no"}]}`,
	} {
		f.Add([]byte(payload))
	}
	query, err := iotsql.Compile(will.SQL(names.WillTopic), will.SQLVersion)
	must(f, err)
	f.Fuzz(func(t *testing.T, payload []byte) {
		p := &Page{history: page.NewHistory(), known: map[string]*client{}, things: map[string]bool{}}
		p.target.WillTopic, p.target.ExecutedTopic = names.WillTopic, names.ExecutedTopic
		p.rules = []rule{{name: names.Rule, account: localaws.Account.ID, query: query}}
		for _, topic := range []string{names.WillTopic, names.ExecutedTopic} {
			p.receive(t.Context(), device.Message{Topic: topic, Payload: payload})
		}
		p.presence(device.Message{Topic: "$aws/events/presence/connected/x", Payload: payload})
		for _, e := range failuresOf(string(payload), time.Now()) {
			p.history.Record(e)
		}
		s := &stage{t: t, page: p, mux: page.New(page.Options{Place: "x", Address: "127.0.0.1:4567", History: p.history})}
		if all := s.events(); len(all) < 4 {
			t.Errorf("of two messages, a verdict and a line of the log only %v is told", all)
		}
	})
}

// Who is told of a trouble may ask the page about it.
func TestALogMayAskThePage(t *testing.T) {
	t.Parallel()
	var p *Page
	var problems []string
	p = &Page{
		history: page.NewHistory(), troubles: map[string]string{}, state: page.StackState{Name: "Lastwill"},
		Options: Options{Log: func(error) {
			p.mu.Lock() // which would wait for ever if it were held
			defer p.mu.Unlock()
			problems = append(problems, p.troubles["counters"])
		}},
	}
	for range 2 {
		p.trouble("counters", "not counted", io.ErrUnexpectedEOF)
	}
	p.trouble("counters", "", nil)
	p.trouble("counters", "not counted", io.ErrClosedPipe)
	if want := []string{"not counted: unexpected EOF", "not counted: io: read/write on closed pipe"}; !slices.Equal(problems, want) {
		t.Errorf("it was told %q, want %q", problems, want)
	}
}
