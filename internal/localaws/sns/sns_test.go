package sns

import (
	"errors"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/mail"
	"lastwill/internal/localaws/policy"
)

var account = awsapi.Account{ID: "123456789012", Region: "us-east-1"}

const topicARN = "arn:aws:sns:us-east-1:123456789012:lwtSNSTopic"

// An outbox keeps what is sent, or fails.
type outbox struct {
	sent []mail.Message
	err  error
}

func (o *outbox) Send(m mail.Message) error {
	if o.err == nil {
		o.sent = append(o.sent, m)
	}
	return o.err
}

// last returns the newest mail.
func (o *outbox) last(t *testing.T) mail.Message {
	t.Helper()
	if len(o.sent) == 0 {
		t.Fatal("no mail was sent")
	}
	return o.sent[len(o.sent)-1]
}

// A bench is a Service with one topic, a clock to turn and its links served.
type bench struct {
	*Service
	*outbox
	clock time.Time
	web   *httptest.Server
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{outbox: &outbox{}, clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	b.web = httptest.NewUnstartedServer(nil)
	b.Service = New(account, b.outbox, nil, "http://"+b.web.Listener.Addr().String())
	b.now = func() time.Time { return b.clock }
	b.web.Config.Handler = b.Handler()
	b.web.Start()
	t.Cleanup(b.web.Close)
	b.createTopic(t, "lwtSNSTopic", map[string]string{"DisplayName": "lwtSNSTopic"})
	return b
}

func (b *bench) createTopic(t *testing.T, name string, attributes map[string]string) string {
	t.Helper()
	arn, err := b.CreateTopic(name, attributes, nil)
	if err != nil {
		t.Fatal(err)
	}
	return arn
}

func (b *bench) subscribe(t *testing.T, endpoint string) string {
	t.Helper()
	arn, err := b.Subscribe(topicARN, "email", endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	return arn
}

// confirmed subscribes and follows the link in the mail.
func (b *bench) confirmed(t *testing.T, endpoint string) string {
	t.Helper()
	arn := b.subscribe(t, endpoint)
	if status, body := b.visit(t, link(t, b.last(t).Body)); status != http.StatusOK {
		t.Fatalf("confirmation: %d %s", status, body)
	}
	return arn
}

func (b *bench) publish(t *testing.T, in PublishInput) {
	t.Helper()
	in.TopicARN = topicARN
	if _, err := b.Publish(in, nil, nil); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) visit(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

var httpLink = regexp.MustCompile(`http://127\.\S+`)

func link(t *testing.T, body string) string {
	t.Helper()
	links := httpLink.FindAllString(body, -1)
	if len(links) != 1 {
		t.Fatalf("%d links in\n%s", len(links), body)
	}
	return links[0]
}

func wantError(t *testing.T, err error, code, text string) {
	t.Helper()
	var e *awsapi.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) {
		t.Errorf("error is %v, want %s with %q", err, code, text)
	}
}

func TestAlertReachesWhoConfirmed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.confirmed(t, "me@example.com")
	b.subscribe(t, "pending@example.com")
	b.sent = nil

	b.publish(t, PublishInput{Message: `{"state":{"reported":{"last_will":"yes"}}}`})
	if len(b.sent) != 1 {
		t.Fatalf("%d mails, want one: who has not confirmed gets nothing", len(b.sent))
	}
	m := b.sent[0]
	want := mail.Message{
		From:    mail.Address{Name: "lwtSNSTopic", Address: "no-reply@sns.amazonaws.com"},
		To:      mail.Address{Address: "me@example.com"},
		Subject: "AWS Notification Message",
		Body: `{"state":{"reported":{"last_will":"yes"}}}

--
If you wish to stop receiving notifications from this topic, please click or visit the link below to unsubscribe:
` + link(t, m.Body) + `

Please do not reply directly to this email. It comes from lastwill's local SNS, not from AWS.
`,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("mail differs (-want +got):\n%s", diff)
	}

	if status, body := b.visit(t, link(t, m.Body)); status != http.StatusOK || !strings.Contains(body, "Subscription removed!") {
		t.Errorf("unsubscribe link: %d %s", status, body)
	}
	b.sent = nil
	b.publish(t, PublishInput{Message: "again"})
	if len(b.sent) != 0 {
		t.Error("who unsubscribed still gets mail")
	}
}

func TestConfirmationMail(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.subscribe(t, "me@example.com")
	m := b.last(t)
	if m.Subject != "AWS Notification - Subscription Confirmation" || m.To.Address != "me@example.com" || !strings.Contains(m.Body, topicARN) {
		t.Errorf("confirmation mail is %+v", m)
	}
	status, body := b.visit(t, link(t, m.Body))
	if status != http.StatusOK || !strings.Contains(body, "Subscription confirmed!") {
		t.Errorf("link answers %d %s", status, body)
	}
}

func TestSenderNameWithoutDisplayName(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := b.SetTopicAttributes(topicARN, "DisplayName", ""); err != nil {
		t.Fatal(err)
	}
	b.subscribe(t, "me@example.com")
	if got := b.last(t).From.Name; got != "AWS Notifications" {
		t.Errorf("sender is %q", got)
	}
}

func TestConfirmationLinkThatDoesNotWork(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.subscribe(t, "me@example.com")
	good := link(t, b.last(t).Body)
	tests := []struct {
		name, url string
		status    int
		says      string
	}{
		{"wrong token", strings.Replace(good, "Token=", "Token=0", 1), http.StatusBadRequest, "Token"},
		{"no token", strings.Split(good, "?")[0], http.StatusBadRequest, "TopicArn"},
		{"another topic", strings.Replace(good, "lwtSNSTopic", "other", 1), http.StatusNotFound, "Topic does not exist"},
		{"hostile text is shown, not run", b.web.URL + confirmPath + "?TopicArn=%3Cscript%3Ealert(1)%3C/script%3E", http.StatusBadRequest, "&lt;script&gt;"},
		{"hostile text in the other link", b.web.URL + unsubscribePath + "?SubscriptionArn=%3Cscript%3Ealert(1)%3C/script%3E", http.StatusBadRequest, "&lt;script&gt;"},
		{"pending subscriptions cannot be removed", b.web.URL + unsubscribePath + "?SubscriptionArn=" + b.subscribe(t, "me@example.com"), http.StatusBadRequest, "pending confirmation"},
		{"no such page", b.web.URL + "/_lwt/sns/other", http.StatusNotFound, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := b.visit(t, tt.url)
			if status != tt.status || !strings.Contains(body, tt.says) || strings.Contains(body, "<script>") {
				t.Errorf("%d %s, want %d and %q", status, body, tt.status, tt.says)
			}
		})
	}

	b.clock = b.clock.Add(tokenLife)
	if status, body := b.visit(t, good); status != http.StatusBadRequest || !strings.Contains(body, "expired at 2026-01-04T03:04:05Z, subscribe again") {
		t.Errorf("after two days: %d %s", status, body)
	}
	b.subscribe(t, "me@example.com")
	if status, _ := b.visit(t, link(t, b.last(t).Body)); status != http.StatusOK {
		t.Error("subscribing again does not bring a link that works")
	}
	b.clock = b.clock.Add(tokenLife)
	if status, _ := b.visit(t, good); status != http.StatusOK {
		t.Error("the link of a confirmed subscription does not say so any more")
	}
}

func TestPostDoesNotConfirm(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.subscribe(t, "me@example.com")
	res, err := http.Post(link(t, b.last(t).Body), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST answers %d", res.StatusCode)
	}
}

func TestConfirmationPageOffersTheWayBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.subscribe(t, "me@example.com")
	_, body := b.visit(t, link(t, b.last(t).Body))
	undo := regexp.MustCompile(`href="([^"]*)"`).FindStringSubmatch(body)
	if undo == nil {
		t.Fatalf("no link in\n%s", body)
	}
	if status, _ := b.visit(t, html.UnescapeString(undo[1])); status != http.StatusOK || len(b.ListSubscriptions()) != 0 {
		t.Errorf("the way back answers %d and leaves %v", status, b.ListSubscriptions())
	}
}

func TestCreateTopic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		topic      string
		attributes map[string]string
		tags       awsapi.Tags
		code, says string
	}{
		{"a new topic", "other_Topic-1", nil, nil, "", ""},
		{"the same again", "lwtSNSTopic", map[string]string{"DisplayName": "lwtSNSTopic"}, nil, "", ""},
		{"the same without attributes", "lwtSNSTopic", nil, nil, "", ""},
		{"the same with another display name", "lwtSNSTopic", map[string]string{"DisplayName": "x"}, nil, "InvalidParameter", "already exists with different attributes"},
		{"the same with other tags", "lwtSNSTopic", nil, awsapi.Tags{"a": "b"}, "InvalidParameter", "already exists with different tags"},
		{"no name", "", nil, nil, "InvalidParameter", "Topic Name"},
		{"a name with dots", "a.b", nil, nil, "InvalidParameter", "Topic Name"},
		{"a FIFO topic", "a.fifo", nil, nil, "InvalidParameter", "FIFO"},
		{"a name of 257 characters", strings.Repeat("x", 257), nil, nil, "InvalidParameter", "Topic Name"},
		{"a display name of 101 characters", "a", map[string]string{"DisplayName": strings.Repeat("ü", 101)}, nil, "InvalidParameter", "DisplayName"},
		{"a display name with a line break", "a", map[string]string{"DisplayName": "a\nb"}, nil, "InvalidParameter", "DisplayName"},
		{"an attribute that is not here", "a", map[string]string{"KmsMasterKeyId": "k"}, nil, "InvalidParameter", `not "KmsMasterKeyId"`},
		{"a policy without a principal", "a", map[string]string{"Policy": `{"Statement":{"Effect":"Allow","Action":"SNS:Publish","Resource":"*"}}`}, nil, "InvalidParameter", "Principal is missing"},
		{"a policy with an action of another service", "a", map[string]string{"Policy": `{"Statement":{"Effect":"Allow","Principal":"*","Action":["SNS:Publish","sqs:SendMessage"],"Resource":"*"}}`}, nil, "InvalidParameter", "Invalid parameter: Policy statement action out of service scope!"},
		{"a policy with all actions", "a", map[string]string{"Policy": `{"Statement":{"Effect":"Allow","Principal":"*","Action":"sns:*","Resource":"*"}}`}, nil, "InvalidParameter", "out of service scope!"},
		{"a policy with an unknown condition key", "a", map[string]string{"Policy": `{"Statement":{"Effect":"Deny","Principal":"*","Action":"sns:Publish","Resource":"*","Condition":{"StringEquals":{"aws:SorceArn":"x"}}}}`}, nil, "InvalidParameter", `"aws:SorceArn"`},
		{"a policy that is none", "a", map[string]string{"Policy": "{"}, nil, "InvalidParameter", "Policy Error"},
		{"a tag without a key", "a", nil, awsapi.Tags{"": "b"}, "InvalidParameter", "Tags"},
		{"a tag of AWS's", "a", nil, awsapi.Tags{"aws:x": "b"}, "InvalidParameter", "Tags"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			arn, err := b.CreateTopic(tt.topic, tt.attributes, tt.tags)
			if tt.code != "" {
				wantError(t, err, tt.code, tt.says)
				return
			}
			if err != nil || arn != account.ARN("sns", tt.topic) {
				t.Errorf("topic %q, %v", arn, err)
			}
		})
	}
}

func TestTopicAttributes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.confirmed(t, "a@example.com")
	b.confirmed(t, "b@example.com")
	b.subscribe(t, "c@example.com")
	if err := b.Unsubscribe(b.confirmed(t, "d@example.com")); err != nil {
		t.Fatal(err)
	}
	got, err := b.GetTopicAttributes(topicARN)
	if err != nil {
		t.Fatal(err)
	}
	standard := got["Policy"]
	if _, err := policy.Parse([]byte(standard)); err != nil {
		t.Errorf("default policy: %v", err)
	}
	delete(got, "Policy")
	want := map[string]string{
		"TopicArn": topicARN, "Owner": account.ID, "DisplayName": "lwtSNSTopic",
		"SubscriptionsConfirmed": "2", "SubscriptionsPending": "1", "SubscriptionsDeleted": "1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes differ (-want +got):\n%s", diff)
	}

	if err := b.SetTopicAttributes(topicARN, "Policy", tlsOnly); err != nil {
		t.Fatal(err)
	}
	if err := b.SetTopicAttributes(topicARN, "Policy", ""); err != nil {
		t.Fatal(err)
	}
	if got, _ := b.GetTopicAttributes(topicARN); got["Policy"] != standard {
		t.Errorf("policy taken away leaves %s", got["Policy"])
	}
	wantError(t, b.SetTopicAttributes(topicARN+"x", "DisplayName", "x"), "NotFound", "Topic does not exist")
	wantError(t, b.SetTopicAttributes("lwtSNSTopic", "DisplayName", "x"), "InvalidParameter", "at least 6 elements, not 1")
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                      string
		topic, protocol, endpoint string
		attributes                map[string]string
		code, says                string
	}{
		{"a queue of another account", topicARN, "sqs", "arn:aws:sqs:us-east-1:210987654321:q", nil, "InvalidParameter", "this account"},
		{"a web address", topicARN, "https", "https://example.com", nil, "InvalidParameter", "email and sqs only"},
		{"no address", topicARN, "email", "me", nil, "InvalidParameter", "Email address"},
		{"an SMTP command", topicARN, "email", "me@example.com>\r\nRCPT TO:<you@example.com", nil, "InvalidParameter", "Email address"},
		{"no such topic", topicARN + "x", "email", "me@example.com", nil, "NotFound", "Topic does not exist"},
		{"a filter policy", topicARN, "email", "me@example.com", map[string]string{"FilterPolicy": "{}"}, "InvalidParameter", "FilterPolicy"},
		{"raw delivery", topicARN, "email", "me@example.com", map[string]string{"RawMessageDelivery": "true"}, "InvalidParameter", "RawMessageDelivery"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			_, err := b.Subscribe(tt.topic, tt.protocol, tt.endpoint, tt.attributes)
			wantError(t, err, tt.code, tt.says)
			if len(b.sent) != 0 || len(b.ListSubscriptions()) != 0 {
				t.Error("it left a subscription or a mail")
			}
		})
	}
}

func TestSubscribeAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.subscribe(t, "me@example.com")
	if second := b.subscribe(t, "me@example.com"); second != first || len(b.sent) != 2 {
		t.Errorf("subscribing again made %s of %s, with %d mails: want the same and its mail again", second, first, len(b.sent))
	}
	if status, _ := b.visit(t, link(t, b.sent[0].Body)); status != http.StatusOK {
		t.Error("the first mail's link does not work any more")
	}
	if third := b.subscribe(t, "me@example.com"); third != first || len(b.sent) != 2 {
		t.Errorf("subscribing again after confirmation made %s of %s, with %d mails", third, first, len(b.sent))
	}
}

func TestSubscriptionWithoutMailIsNone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.err = mail.ErrQueueFull
	_, err := b.Subscribe(topicARN, "email", "me@example.com", nil)
	wantError(t, err, "Throttled", "queue is full")
	if got := b.ListSubscriptions(); len(got) != 0 {
		t.Errorf("subscriptions %v", got)
	}
}

func TestSubscriptionLists(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := b.createTopic(t, "other", nil)
	confirmed := b.confirmed(t, "me@example.com")
	if _, err := b.Subscribe(other, "email", "you@example.com", nil); err != nil {
		t.Fatal(err)
	}
	mine := Subscription{confirmed, topicARN, "email", "me@example.com", account.ID}
	yours := Subscription{"PendingConfirmation", other, "email", "you@example.com", account.ID}
	if diff := cmp.Diff([]Subscription{mine, yours}, b.ListSubscriptions()); diff != "" {
		t.Errorf("list differs (-want +got):\n%s", diff)
	}
	got, err := b.ListSubscriptionsByTopic(other)
	if diff := cmp.Diff([]Subscription{yours}, got); diff != "" || err != nil {
		t.Errorf("list by topic differs (-want +got):\n%s, %v", diff, err)
	}
	_, err = b.ListSubscriptionsByTopic(topicARN + "x")
	wantError(t, err, "NotFound", "Topic does not exist")
}

func TestSubscriptionAttributes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	arn := b.subscribe(t, "me@example.com")
	got, err := b.GetSubscriptionAttributes(arn)
	if err != nil || got["PendingConfirmation"] != "true" || got["Endpoint"] != "me@example.com" || got["TopicArn"] != topicARN {
		t.Errorf("attributes %v, %v", got, err)
	}
	b.confirmed(t, "me@example.com")
	if got, _ := b.GetSubscriptionAttributes(arn); got["PendingConfirmation"] != "false" {
		t.Errorf("attributes after confirmation %v", got)
	}
	_, err = b.GetSubscriptionAttributes("PendingConfirmation")
	wantError(t, err, "InvalidParameter", "at least 7 elements, not 1")
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	confirmed := b.confirmed(t, "me@example.com")
	pending := b.subscribe(t, "pending@example.com")
	toPending := link(t, b.last(t).Body)

	wantError(t, b.Unsubscribe(pending), "InvalidParameter", "pending confirmation")
	wantError(t, b.Unsubscribe("PendingConfirmation"), "InvalidParameter", "at least 7 elements")
	if err := b.DeleteTopic(topicARN); err != nil {
		t.Fatal(err)
	}
	got := b.ListSubscriptions()
	if len(got) != 1 || got[0].Endpoint != "pending@example.com" {
		t.Errorf("subscriptions after their topic %v, want the pending one", got)
	}
	if status, _ := b.visit(t, toPending); status != http.StatusNotFound {
		t.Errorf("a subscription to a topic that is gone was confirmed: %d", status)
	}
	_, err := b.Publish(PublishInput{TopicARN: topicARN, Message: "m"}, nil, nil)
	wantError(t, err, "NotFound", "Topic does not exist")

	for _, err := range []error{b.DeleteTopic(topicARN), b.Unsubscribe(confirmed)} {
		if err != nil {
			t.Errorf("deleting again: %v", err)
		}
	}
	b.clock = b.clock.Add(pendingLife + time.Second)
	if got := b.ListSubscriptions(); len(got) != 0 {
		t.Errorf("subscriptions after three days %v", got)
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, tags := range []awsapi.Tags{{"a": "1", "b": "2"}, {"b": "3"}} {
		if err := b.SetTags(topicARN, tags); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.ListTagsForResource(topicARN)
	if want := (awsapi.Tags{"b": "3"}); !maps.Equal(got, want) || err != nil {
		t.Errorf("tags %v, %v, want %v", got, err, want)
	}
	many := awsapi.Tags{}
	for i := range maxTags + 1 {
		many[strings.Repeat("k", i+1)] = ""
	}
	wantError(t, b.SetTags(topicARN, many), "TagLimitExceeded", "50")
	wantError(t, b.SetTags(topicARN+"x", nil), "ResourceNotFound", "does not exist")
}

func TestPublishedText(t *testing.T) {
	t.Parallel()
	limit := strings.Repeat("x", maxMessageBytes)
	tests := []struct {
		name string
		in   PublishInput
		// text is how the mail begins, or else the error has this code and text.
		text       string
		code, says string
	}{
		{"a will as it is", PublishInput{Message: `{"state":{}}`}, `{"state":{}}`, "", ""},
		{"the largest message", PublishInput{Message: limit}, limit, "", ""},
		{"one byte more", PublishInput{Message: limit + "x"}, "", "InvalidParameter", "Message too long"},
		{"nothing", PublishInput{}, "", "InvalidParameter", "Empty message"},
		{"bytes that are no text", PublishInput{Message: "a\xff"}, "", "InvalidParameter", "UTF-8"},
		{"an unknown structure", PublishInput{Message: "m", MessageStructure: "xml"}, "", "InvalidParameter", "MessageStructure"},

		{"default for everybody", structured(`{"default":"for all"}`), "for all", "", ""},
		{"email for e-mail", structured(`{"default":"for all","email":"for you","sms":"no"}`), "for you", "", ""},
		{"an email that is no string is ignored", structured(`{"default":"for all","email":1}`), "for all", "", ""},
		{"other keys are ignored", structured(`{"state":{"default":[{}]},"default":"d"}`), "d", "", ""},
		{"a will without default", structured(`{"state":{"reported":{"last_will":"yes"}}}`), "", "InvalidParameter", "Invalid parameter: Message Structure - No default entry in JSON message body"},
		{"a default that is no string", structured(`{"default":1}`), "", "InvalidParameter", "No default entry in JSON message body"},
		{"an empty default", structured(`{"default":""}`), "", "InvalidParameter", "Empty message"},
		{"a default further down", structured(`{"a":{"default":"d"}}`), "", "InvalidParameter", "No default entry in JSON message body"},
		{"default twice", structured(`{"default":"a","default":"b"}`), "", "InvalidParameter", "JSON message body failed to parse"},
		{"plain text", structured(`hello`), "", "InvalidParameter", "JSON message body failed to parse"},
		{"an array", structured(`["default"]`), "", "InvalidParameter", "JSON message body failed to parse"},
		{"half an object", structured(`{"default":"a"`), "", "InvalidParameter", "JSON message body failed to parse"},
		{"more than an object", structured(`{"default":"a"} x`), "", "InvalidParameter", "JSON message body failed to parse"},
		{"deep JSON", structured(`{"default":"a","b":` + strings.Repeat("[", 20000)), "", "InvalidParameter", "JSON message body failed to parse"},

		{"a subject", PublishInput{Message: "m", Subject: "Gerät ☂"}, "m", "", ""},
		{"a subject of 99 characters", PublishInput{Message: "m", Subject: strings.Repeat("ü", 99)}, "m", "", ""},
		{"a subject of 100 characters", PublishInput{Message: "m", Subject: strings.Repeat("ü", 100)}, "", "InvalidParameter", "Subject"},
		{"a subject with a header", PublishInput{Message: "m", Subject: "a\r\nBcc: you@example.com"}, "", "InvalidParameter", "Subject"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.confirmed(t, "me@example.com")
			b.sent = nil
			tt.in.TopicARN = topicARN
			id, err := b.Publish(tt.in, nil, nil)
			if tt.code != "" {
				wantError(t, err, tt.code, tt.says)
				if len(b.sent) != 0 {
					t.Error("it was sent all the same")
				}
				return
			}
			if err != nil || id == "" {
				t.Fatalf("id %q, %v", id, err)
			}
			m := b.last(t)
			if !strings.HasPrefix(m.Body, tt.text+"\n\n--\n") {
				t.Errorf("mail begins %.200q, want %.200q", m.Body, tt.text)
			}
			if tt.in.Subject != "" && m.Subject != tt.in.Subject {
				t.Errorf("subject is %q", m.Subject)
			}
		})
	}
}

func structured(message string) PublishInput {
	return PublishInput{Message: message, MessageStructure: "json"}
}

// A caller is a role or service with its own policy's decision.
type caller struct {
	who      policy.Principal
	decision policy.Decision
}

func (c caller) Principal() policy.Principal           { return c.who }
func (c caller) Decide(policy.Request) policy.Decision { return c.decision }

const (
	tlsOnly = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"sns:Publish","Resource":"` + topicARN + `",
		"Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`
	forRule = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"iot.amazonaws.com"},"Action":"sns:Publish","Resource":"` + topicARN + `",
		"Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:iot:us-east-1:123456789012:rule/lastWillRule"}}}]}`
)

func TestPublishNeedsPermission(t *testing.T) {
	t.Parallel()
	const roleARN = "arn:aws:sts::123456789012:assumed-role/lwtRuleRole/session"
	role := func(d policy.Decision) policy.Identity {
		return caller{policy.Principal{ARN: roleARN, Account: account.ID}, d}
	}
	service := caller{policy.Principal{Service: "iot.amazonaws.com"}, policy.ImplicitDeny}
	overTLS := map[string]string{"aws:SecureTransport": "true"}
	plain := map[string]string{"aws:SecureTransport": "false"}
	byRule := map[string]string{"aws:SourceArn": "arn:aws:iot:us-east-1:123456789012:rule/lastWillRule"}
	tests := []struct {
		name    string
		policy  string // empty: the default
		caller  policy.Identity
		context map[string]string
		refused string // empty: it is published
	}{
		{"the account's root", "", nil, nil, ""},
		{"a role that may", "", role(policy.Allow), overTLS, ""},
		{"a role that may not", "", role(policy.ImplicitDeny), overTLS, "User: " + roleARN + " is not authorized to perform: SNS:Publish on resource: " + topicARN + " because no identity-based policy allows the SNS:Publish action"},
		{"a role that must not", "", role(policy.ExplicitDeny), overTLS, "explicit deny in an identity-based policy"},
		{"a role over TLS", tlsOnly, role(policy.Allow), overTLS, ""},
		{"a role without TLS", tlsOnly, role(policy.Allow), plain, "explicit deny in a resource-based policy"},
		{"root without TLS", tlsOnly, nil, plain, "explicit deny in a resource-based policy"},
		{"a service that the topic does not know", "", service, byRule, "iot.amazonaws.com"},
		{"a service that the topic lets in", forRule, service, byRule, ""},
		{"the service for another rule", forRule, service, nil, "iot.amazonaws.com"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.confirmed(t, "me@example.com")
			b.sent = nil
			if err := b.SetTopicAttributes(topicARN, "Policy", tt.policy); err != nil {
				t.Fatal(err)
			}
			_, err := b.Publish(PublishInput{TopicARN: topicARN, Message: "m"}, tt.caller, tt.context)
			if tt.refused != "" {
				wantError(t, err, "AuthorizationError", tt.refused)
			} else if err != nil {
				t.Error(err)
			}
			if sent := len(b.sent) == 1; sent != (tt.refused == "") {
				t.Errorf("%d mails", len(b.sent))
			}
		})
	}
}

func TestMailThatCannotLeaveFailsThePublish(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.confirmed(t, "me@example.com")
	b.err = mail.ErrQueueFull
	_, err := b.Publish(PublishInput{TopicARN: topicARN, Message: "m"}, nil, nil)
	wantError(t, err, "Throttled", "queue is full")
	b.err = mail.ErrClosed
	_, err = b.Publish(PublishInput{TopicARN: topicARN, Message: "m"}, nil, nil)
	wantError(t, err, "InternalError", "closed")
}

// FuzzMessageStructure claims that a message of structure json either yields
// a text for each protocol, or is refused as SNS refuses it.
func FuzzMessageStructure(f *testing.F) {
	f.Add(`{"default":"a","email":"b"}`)
	f.Add(`{"state":{"reported":{"last_will":"yes"}}}`)
	f.Add(`{"default":"\ud800"}`)
	f.Fuzz(func(t *testing.T, message string) {
		texts, err := jsonTexts(message)
		var refused *awsapi.Error
		if err != nil && (!errors.As(err, &refused) || refused.Code != "InvalidParameter") {
			t.Fatalf("error is %v", err)
		}
		if err == nil && (texts.of(emailProtocol) == "" || texts.of(sqsProtocol) == "") {
			t.Error("empty text")
		}
	})
}
