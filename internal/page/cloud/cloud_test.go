package cloud

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"lastwill/internal/device"
	"lastwill/internal/iotsql"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/localtest"
	"lastwill/internal/page"
	"lastwill/internal/watch"
	"lastwill/internal/will"
)

// patience is how long something may take to be seen. It only matters to tests
// that fail.
const patience = time.Minute

var names = will.NamesFor("")

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

// transport refuses requests whose body contains a text.
type transport struct{ forbidden string }

func (f transport) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && f.forbidden != "" {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if bytes.Contains(b, []byte(f.forbidden)) {
			answer := httptest.NewRecorder()
			answer.WriteHeader(http.StatusForbidden)
			fmt.Fprint(answer, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>not for you</Message></Error></ErrorResponse>`)
			return answer.Result(), nil
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
	}
	return http.DefaultClient.Do(r)
}

func setUp(t testing.TB, forbidden string) *stage {
	t.Helper()
	s := &stage{t: t}
	s.Server = localtest.Deploy(t, localaws.Options{ObserveIoT: func(e iot.Event) {
		if e.Kind == iot.Connected && strings.HasPrefix(e.ClientID, watch.ClientPrefix) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.watchers = append(s.watchers, e.ClientID)
		}
	}})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.IoT.RootCA())
	ctx, cancel := context.WithCancel(context.Background())
	p, err := Open(ctx, Options{
		AWS: aws.Config{
			Region: localaws.Account.Region, BaseEndpoint: aws.String(s.URL()), HTTPClient: transport{forbidden},
			Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		},
		Stack: localtest.Stack, Endpoint: s.IoT.Address(), Roots: roots, Address: "127.0.0.1:4567",
		Log: func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.complains = append(s.complains, err.Error())
		},
	})
	must(t, err)
	t.Cleanup(func() { cancel(); p.Wait() })
	s.page, s.mux = p, p.Handler()
	return s
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

func (s *stage) batch() (all batch) {
	s.t.Helper()
	server := httptest.NewServer(s.mux) // the stream wants a real connection
	defer server.Close()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, server.URL+"/_lwt/events?once=1", nil)
	must(s.t, err)
	request.Host = "127.0.0.1:4567"
	response, err := http.DefaultClient.Do(request)
	must(s.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(s.t, err)
	_, data, _ := strings.Cut(string(text), "data: ")
	must(s.t, json.Unmarshal([]byte(data), &all))
	return all
}

// sees waits until the history has all of these events, in this order.
func (s *stage) sees(want ...string) []event {
	s.t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(patience); ; <-ticker.C {
		all := s.events()
		at := 0
		for _, e := range all {
			if at < len(want) && strings.HasPrefix(e.String(), want[at]) {
				at++
			}
		}
		if at == len(want) {
			return all
		}
		if time.Now().After(end) {
			s.t.Fatalf("%q was never seen; seen were %v", want[at], all)
		}
	}
}

// Messages on topics that several filters get come once, whoever asked first.
func TestMessagesOfOverlappingFiltersComeOnce(t *testing.T) {
	t.Parallel()
	s := setUp(t, "")
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
		if i == maxFilters-1 && !strings.Contains(answer, "no more at a time") {
			t.Errorf("one filter too many is answered with %s", answer)
		}
	}
}

// A site that is lost is counted to the last device.
func TestAStormIsCounted(t *testing.T) {
	t.Parallel()
	s := setUp(t, "")
	const devices = 500
	for i := range devices {
		must(t, s.IoT.Publish(t.Context(), names.WillTopic, will.Payload(fmt.Sprint("device-", i)), 1, false))
	}
	s.sees(fmt.Sprintf("copy|device-%d|", devices-1))
	if got := s.batch().Totals; got["will"] != devices || got["matched"] != devices || got["copy"] != devices {
		t.Errorf("of %d devices %d wills, %d matches and %d copies are counted", devices, got["will"], got["matched"], got["copy"])
	}
}

// What may not be read is named, and the rest is shown.
func TestWhatIsForbiddenIsNamed(t *testing.T) {
	t.Parallel()
	s := setUp(t, "Action=GetRolePolicy")
	stack := s.ask("GET", "stack", "")
	for _, want := range []string{"Not all of it can be read", "AccessDenied", names.Rule, "PENDING", "ops@example.com"} {
		if !strings.Contains(stack, want) {
			t.Errorf("the stack's view does not say %q:\n%s", want, stack)
		}
	}
	if timeline := s.ask("GET", "", ""); !strings.Contains(timeline, "<dd>0 of 1</dd>") {
		t.Errorf("the timeline does not say that no address is confirmed:\n%s", timeline)
	}
	at := regexp.MustCompile(`data-at="[^"]*"`)
	for range 3 {
		s.page.refresh(t.Context())
	}
	if before, now := at.FindString(stack), at.FindString(s.ask("GET", "stack", "")); now != before {
		t.Errorf("the same problem made events: from %s to %s", before, now)
	}
	if len(s.complains) == 0 || !strings.HasPrefix(s.complains[0], "policy ") || !strings.Contains(s.complains[0], "AccessDenied") {
		t.Errorf("on standard error stands %q", s.complains)
	}
}

// A connection that is lost is made again, and the page says what that means.
func TestALostConnectionIsNoted(t *testing.T) {
	t.Parallel()
	s := setUp(t, "")
	s.mu.Lock()
	first := s.watchers[0]
	s.mu.Unlock()
	must(t, s.IoT.DeleteConnection(first, true, false))
	s.sees("note||||the page lost its connection", "note||||the page is connected again; what was published meanwhile is lost")
	must(t, s.IoT.Publish(t.Context(), names.ConnectedTopic, []byte("after"), 1, false))
	s.sees("message||" + names.ConnectedTopic + "|after")
}

// presence is a lifecycle event as AWS IoT Core publishes it.
func presence(event, client, session, reason string) device.Message {
	b, err := json.Marshal(map[string]any{"clientId": client, "eventType": event, "sessionIdentifier": session, "disconnectReason": reason})
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
			[]device.Message{presence("connected", "lwtThing", "1", ""), presence("disconnected", "lwtThing", "1", "CONNECTION_LOST")},
			[]string{"connected|lwtThing", "disconnected|lwtThing CONNECTION_LOST"},
		},
		{
			"each twice",
			[]device.Message{
				presence("connected", "lwtThing", "1", ""), presence("connected", "lwtThing", "1", ""),
				presence("disconnected", "lwtThing", "1", "CONNECTION_LOST"), presence("disconnected", "lwtThing", "1", "CONNECTION_LOST"),
			},
			[]string{"connected|lwtThing", "disconnected|lwtThing CONNECTION_LOST"},
		},
		{
			"the end of a connection after the next has begun",
			[]device.Message{
				presence("connected", "lwtThing", "1", ""), presence("connected", "lwtThing", "2", ""),
				presence("disconnected", "lwtThing", "1", "DUPLICATE_CLIENTID"),
			},
			[]string{"connected|lwtThing", "connected|lwtThing", "note|lwtThing an earlier connection ended: DUPLICATE_CLIENTID"},
		},
		{
			"the end before the beginning",
			[]device.Message{presence("disconnected", "lwtThing", "1", "CONNECTION_LOST"), presence("connected", "lwtThing", "1", "")},
			[]string{"disconnected|lwtThing CONNECTION_LOST"},
		},
		{
			"a refusal",
			[]device.Message{presence("connect_failed", "lwtThing", "1", "")},
			[]string{"refused|lwtThing : its policies forbid the connection, or its Will Message"},
		},
		{
			"a device that the stack does not know, until its topics name it",
			[]device.Message{
				presence("connected", "other", "1", ""), presence("connected", "pump", "1", ""),
				presence("disconnected", "pump", "1", "CONNECTION_LOST"), alert("pump"), presence("connected", "pump", "2", ""),
			},
			[]string{"connected|pump", "disconnected|pump CONNECTION_LOST", "will|pump", "matched|pump", "connected|pump"},
		},
		{
			"our own connections, and what is no lifecycle event",
			[]device.Message{
				presence("connected", "lwt-watch-abc", "1", ""),
				{Topic: "$aws/events/presence/connected/x", Payload: []byte("x")},
				presence("subscribed", "lwtThing", "1", ""), presence("connected", "", "1", ""),
			},
			nil,
		},
		{
			"a connected message of the only one that has just connected",
			[]device.Message{presence("connected", "lwtThing", "1", ""), {Topic: names.ConnectedTopic, Payload: []byte("{}")}},
			[]string{"connected|lwtThing", "message|lwtThing"},
		},
		{
			"a connected message before the connection",
			[]device.Message{{Topic: names.ConnectedTopic, Payload: []byte("{}")}, presence("connected", "lwtThing", "1", "")},
			[]string{"connected|lwtThing", "message|lwtThing"},
		},
		{
			"a connected message of one of two",
			[]device.Message{
				alert("pump"), presence("connected", "lwtThing", "1", ""), presence("connected", "pump", "1", ""),
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
			s := setUp(t, "")
			for _, m := range c.come {
				if strings.HasPrefix(m.Topic, "$") {
					s.page.presence(m)
				} else {
					s.page.receive(m)
				}
			}
			all := s.events()
			for end := time.Now().Add(patience); len(all) < len(c.want) && time.Now().Before(end); all = s.events() {
				runtime.Gosched() // a message waits for its lifecycle event
			}
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
	p := &Page{history: page.NewHistory(), devices: map[string]*client{}, connecting: map[string]time.Time{}}
	for i := range maxDevices + 100 {
		p.presence(presence("connected", fmt.Sprint("device-", i), "1", ""))
	}
	if len(p.devices) != maxDevices || len(p.connecting) > maxDevices {
		t.Errorf("%d clients are remembered, and %d that connect, of at most %d", len(p.devices), len(p.connecting), maxDevices)
	}
	if got := clientOf([]byte(`{"client_id":"` + strings.Repeat("x", maxClientIDBytes+1) + `"}`)); got != "" {
		t.Errorf("a client ID of %d bytes is believed", len(got))
	}
}

// A stack that is destroyed while somebody looks is said to be gone, once.
func TestAStackThatIsDestroyedIsGone(t *testing.T) {
	t.Parallel()
	s := setUp(t, "")
	stack, err := s.CloudFormation.Describe(localtest.Stack)
	must(t, err)
	must(t, s.CloudFormation.Delete(stack.ID))
	_, err = s.CloudFormation.Await(t.Context(), stack.ID)
	must(t, err)
	for range 3 {
		s.page.refresh(t.Context())
	}
	if answer := s.ask("GET", "stack", ""); !strings.Contains(answer, "read stack Lastwill: it does not exist") || strings.Contains(answer, names.Rule) {
		t.Errorf("the stack's view says\n%s", answer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.complains) != 1 {
		t.Errorf("on standard error stands %q", s.complains)
	}
}

// What SNS has counted is told once, and nothing of before the page.
func TestDeliveriesAreToldOnce(t *testing.T) {
	t.Parallel()
	s := setUp(t, "")
	mails, err := s.Mailbox.Wait(t.Context(), 0)
	must(t, err)
	link := regexp.MustCompile(`https?://\S+/_lwt/sns/confirm\S+`).FindString(string(mails[0].Raw))
	response, err := http.Get(link)
	must(t, err)
	response.Body.Close()
	must(t, s.IoT.Publish(t.Context(), names.WillTopic, will.Payload("pump"), 1, false))
	must(t, s.Flush(t.Context()))
	var got []page.Event
	for range 3 {
		got = append(got, s.page.deliveries(t.Context())...)
	}
	if len(got) != 1 || got[0].Kind != page.Mail || !strings.HasPrefix(got[0].Detail, "SNS counts 1 as delivered") {
		t.Errorf("told was %+v", got)
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
		p := &Page{history: page.NewHistory(), ctx: t.Context(), devices: map[string]*client{}, connecting: map[string]time.Time{}}
		p.target.WillTopic, p.target.ExecutedTopic = names.WillTopic, names.ExecutedTopic
		p.rules = []rule{{names.Rule, localaws.Account.ID, false, query}}
		p.looking.Store(maxLooks) // nobody is there to be asked
		for _, topic := range []string{names.WillTopic, names.ExecutedTopic} {
			p.receive(device.Message{Topic: topic, Payload: payload})
		}
		p.presence(device.Message{Topic: "$aws/events/presence/connected/x", Payload: payload})
		p.record(failuresOf(string(payload), time.Now()))
		s := &stage{t: t, page: p, mux: page.New(page.Options{Place: "x", Address: "127.0.0.1:4567", History: p.history})}
		if all := s.events(); len(all) < 4 {
			t.Errorf("of two messages, a verdict and a line of the log only %v is told", all)
		}
	})
}
