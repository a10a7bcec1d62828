package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lastwill/internal/outage"
)

// fakeAWS answers the calls that internal/localaws need not be asked for: errors, and limits.
type fakeAWS struct {
	mutex     sync.Mutex
	queue     int // messages that are left
	receives  int
	deleted   []string
	published url.Values
	asked     int
	tables    int
}

func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	body, _ := io.ReadAll(r.Body)
	target := r.Header.Get("X-Amz-Target")
	switch {
	case strings.HasPrefix(target, "DynamoDB"):
		f.tables++
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not allowed"}`)
	case strings.HasSuffix(target, ".ReceiveMessage"):
		f.receive(w)
	case strings.HasSuffix(target, ".DeleteMessageBatch"):
		var in struct {
			Entries []struct{ ReceiptHandle string }
		}
		json.Unmarshal(body, &in)
		for _, e := range in.Entries {
			f.deleted = append(f.deleted, e.ReceiptHandle)
		}
		fmt.Fprint(w, `{"Successful":[],"Failed":[]}`)
	case strings.HasPrefix(r.URL.Path, "/connections/"):
		f.connection(w, strings.TrimPrefix(r.URL.EscapedPath(), "/connections/"))
	default:
		f.published, _ = url.ParseQuery(string(body))
		fmt.Fprint(w, `<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`)
	}
}

func (f *fakeAWS) receive(w http.ResponseWriter) {
	f.receives++
	type message struct {
		ReceiptHandle, Body string
		Attributes          map[string]string
	}
	var out struct{ Messages []message }
	for range min(maxBatch, f.queue) {
		f.queue--
		out.Messages = append(out.Messages, message{
			fmt.Sprint("receipt-", f.queue), fmt.Sprintf(`{"client":"pump-%d"}`, f.queue%3), map[string]string{"SentTimestamp": "1795788131000"},
		})
	}
	json.NewEncoder(w).Encode(out)
}

// connection answers by the client ID. Only one of its errors means that there is no such client.
func (f *fakeAWS) connection(w http.ResponseWriter, id string) {
	f.asked++
	fail := func(status int, kind string) {
		if kind != "" {
			w.Header().Set("X-Amzn-Errortype", kind)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, `{"message":"no"}`)
	}
	switch id {
	case "connected":
		fmt.Fprint(w, `{"connected":true,"connectedSince":1795788131000}`)
	case "lost":
		fmt.Fprint(w, `{"connected":false,"disconnectedSince":1795788131000,"disconnectReason":"CONNECTION_LOST"}`)
	case "a%20b%2Fc%3F%23%25":
		fmt.Fprint(w, `{"connected":true,"connectedSince":1795788131000}`)
	case "never":
		fail(http.StatusNotFound, "ResourceNotFoundException")
	case "proxy": // not AWS's own 404
		fail(http.StatusNotFound, "")
	case "throttled":
		fail(http.StatusTooManyRequests, "ThrottlingException")
	case "denied":
		fail(http.StatusForbidden, "ForbiddenException")
	default:
		fail(http.StatusBadRequest, "InvalidRequestException")
	}
}

func start(t *testing.T, f *fakeAWS) (*services, func(string) string) {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	env := func(name string) string {
		return map[string]string{
			"AWS_ENDPOINT_URL": server.URL, "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret",
			"GRACE": "3m0s", "QUEUE_URL": server.URL + "/123456789012/queue", "TABLE": "outages", "SNS_TOPIC": "arn:aws:sns:eu-central-1:123456789012:lwtSNSTopic",
		}[name]
	}
	s, err := settingsFrom(env)
	if err != nil {
		t.Fatal(err)
	}
	return newAWS(fromEnvironment(env), s), env
}

// An answer that is taken for "not there" drops a loss: nobody would be told.
func TestAnErrorIsJudgedByItsType(t *testing.T) {
	t.Parallel()
	a, _ := start(t, &fakeAWS{})
	at := time.UnixMilli(1_795_788_131_000)
	want := map[string]outage.Answer{
		"connected": {Connection: outage.Connected, Since: at},
		"lost":      {Connection: outage.Disconnected, Since: at, Reason: "CONNECTION_LOST"},
		"a b/c?#%":  {Connection: outage.Connected, Since: at},
		"never":     {Connection: outage.NotFound},
		"proxy":     {Connection: outage.Unavailable},
		"throttled": {Connection: outage.Throttled},
		"denied":    {Connection: outage.Unavailable},
		"\"x\"\n":   {Connection: outage.Unavailable},
	}
	var devices []string
	for device := range want {
		devices = append(devices, device)
	}
	got := map[string]outage.Answer{}
	for n, answer := range a.ask(t.Context(), devices, time.Now().Add(time.Minute)) {
		got[devices[n]] = answer
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestQuestionsEndWithTheirTime(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{}
	a, _ := start(t, f)
	for _, answer := range a.ask(t.Context(), slices.Repeat([]string{"lost"}, 100), time.Now()) {
		if answer.Connection != outage.Unasked {
			t.Errorf("%v", answer)
		}
	}
	if f.asked != 0 {
		t.Errorf("%d questions were asked", f.asked)
	}
}

func TestAllMessagesAreReceivedAndDeleted(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{queue: 237}
	a, _ := start(t, f)
	var all []outage.Message
	for {
		messages, err := a.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) == 0 {
			break
		}
		all = append(all, messages...)
	}
	if len(all) != 237 || !all[0].Sent.Equal(time.UnixMilli(1_795_788_131_000)) {
		t.Errorf("%d messages, the first %+v", len(all), all[0])
	}
	if err := a.Delete(t.Context(), all); err != nil || len(f.deleted) != 237 {
		t.Errorf("%d are deleted, %v", len(f.deleted), err)
	}
}

func TestAMailHasAFormForEachProtocol(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{}
	a, _ := start(t, f)
	if err := a.tell(t.Context(), outage.Mail{Subject: "pump-7 is offline", Text: "text", Machine: `{"version":1}`, Chat: `{"version":"1.0"}`, Event: "offline"}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"Subject": "pump-7 is offline", "MessageStructure": "json", "TopicArn": "arn:aws:sns:eu-central-1:123456789012:lwtSNSTopic",
		"Message":                        `{"default":"text","https":"{\"version\":\"1.0\"}","lambda":"{\"version\":1}","sqs":"{\"version\":1}"}`,
		"MessageAttributes.entry.1.Name": "event", "MessageAttributes.entry.1.Value.StringValue": "offline",
	} {
		if got := f.published.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

// A table that is denied: one mail with the count, the wills stay in the queue, and the
// function fails, so that its alarm tells.
func TestATableThatDoesNotAnswerIsOneMail(t *testing.T) {
	t.Parallel()
	f := &fakeAWS{queue: 9}
	_, env := start(t, f)
	s, err := settingsFrom(env)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	err = sweep(t.Context(), fromEnvironment(env), s, slog.New(slog.NewJSONHandler(&log, nil)))
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("err = %v", err)
	}
	if got := f.published.Get("Subject"); got != "3 devices were lost, not checked" || len(f.deleted) != 0 {
		t.Errorf("mail %q, %d messages deleted", got, len(f.deleted))
	}
	if !strings.Contains(log.String(), `"did":"degraded"`) {
		t.Errorf("log: %s", log.String())
	}
}

func TestALineOfTheLogHasDeviceAndDecision(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	at := time.UnixMilli(1_795_788_131_000)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("decision", decision(outage.Decision{
		Device: "pump-7\n", Did: "drop", Why: "connected again", State: outage.Waiting, Since: at, Reason: "CONNECTION_LOST",
	})...)
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	delete(line, "time")
	want := map[string]any{
		"level": "INFO", "msg": "decision", "device": "pump-7\n", "did": "drop", "why": "connected again", "state": "waiting",
		"since": at.UTC().Format(time.RFC3339), "reason": "CONNECTION_LOST",
	}
	if diff := cmp.Diff(want, line); diff != "" || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAllThatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	_, err := settingsFrom(func(string) string { return "" })
	for _, want := range []string{"QUEUE_URL is not set", "TABLE is not set", "SNS_TOPIC is not set", "GRACE is not set", `GRACE "": give a duration above zero, such as 3m`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
