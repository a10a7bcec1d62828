package page_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/chromedp/chromedp"

	"lastwill/internal/device"
	"lastwill/internal/keypair"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/page"
	"lastwill/internal/page/cloud"
	"lastwill/internal/will"
)

// watched returns the page of a deployed stack as lwt watch -web serves it: it
// knows the stage by AWS's APIs and by MQTT alone.
func (s *stage) watched(t testing.TB) *stage {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	ctx, cancel := context.WithCancel(context.Background())
	shown, err := cloud.Open(ctx, cloud.Options{
		AWS: aws.Config{
			Region: localaws.Account.Region, BaseEndpoint: aws.String(s.URL()),
			Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		},
		Stack: names.Stack, Endpoint: s.IoT.Address(), Roots: s.roots(), Address: strings.TrimPrefix(server.URL, "http://"), Every: 200 * time.Millisecond,
		Log: func(err error) { t.Error(err) },
	})
	check(t, err)
	handler = shown.Handler()
	t.Cleanup(func() {
		cancel()
		shown.Wait()
		server.Close()
	})
	return &stage{Server: s.Server, address: server.URL, certs: s.certs}
}

func (s *stage) roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.IoT.RootCA())
	return roots
}

// device is the configuration of the deployed thing.
func (s *stage) device(t testing.TB, stack *cloudformation.Stack) device.Config {
	t.Helper()
	certificate, err := s.IoT.DescribeCertificate(stack.Output("CertificateId"))
	check(t, err)
	key, err := os.ReadFile(keypair.KeyFile(s.certs, will.ThingName))
	check(t, err)
	pair, err := tls.X509KeyPair([]byte(certificate.PEM), key)
	check(t, err)
	return device.Config{Endpoint: s.IoT.Address(), Roots: s.roots(), Certificate: pair, ClientID: will.ThingName}
}

// A stack is watched with nothing but AWS credentials: who is connected already,
// who vanishes, what the rule makes of it, which action fails, who gets the mail.
func TestAStackIsWatchedOverTheAPIs(t *testing.T) {
	axe, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	check(t, err)
	s := setUp(t)
	stack := s.deploy(t)
	cfg := s.device(t, stack)
	d, err := device.Connect(t.Context(), cfg)
	check(t, err)
	w := s.watched(t)

	timeline := w.open(t, page.Root)
	timeline.shows(".where", names.Stack+", us-east-1")
	timeline.shows(".figures", "0 of 1")
	timeline.shows("[data-client=lwtThing] [data-kind=connected]", "keep alive 30 s")
	timeline.shows("[data-client=lwtThing] .lane-state", "connected")
	if tabs := value[string](timeline, `[...document.querySelectorAll('.top li')].map((e) => e.textContent.trim()).join()`); tabs != "Timeline,MQTT client,Stack,Try a rule" {
		t.Errorf("the views are %s", tabs)
	}
	// What follows from one another hurries over two connections, side by side.
	happened := func(life string, want string) {
		t.Helper()
		timeline.sees(`[...(document.querySelectorAll('[data-client=lwtThing] .life')[` + life + `]?.querySelectorAll('.step') ?? [])].map((s) => s.dataset.kind).sort().join(' ') === '` + want + `'`)
	}
	_, err = d.Drop()
	check(t, err)
	happened("0", "connected copy disconnected matched will")
	timeline.shows("[data-client=lwtThing] .lane-state", "lost")
	timeline.click("[data-kind=matched] button")
	timeline.shows("#detail .sql mark", "state.reported.trigger_action = 'on'")
	timeline.do(chromedp.KeyEvent("\u001b"))

	client := w.open(t, page.Root+"client")
	client.do(chromedp.SetValue(chromedp.CSS("#filter"), "#"))
	client.click("#subscribe .main")
	client.shows("#filters", "#")
	client.do(chromedp.SetValue(chromedp.CSS("#topic"), "site/hall"), chromedp.SetValue(chromedp.CSS("#payload"), `{"n":1}`))
	client.click("#publish .main")
	client.shows(".message .mono", "site/hall")

	// Somebody removes the SNS topic by hand; the device is back, and vanishes.
	stacks := w.open(t, page.Root+"stack")
	stacks.shows("#addresses ~ table", "PENDING")
	stacks.shows("#policies ~ details", "AlertlwtRuleRole")
	mailbox := s.open(t, page.Root+"mailbox/00000001.eml")
	mailbox.click(".text a")
	mailbox.other("/_lwt/sns/confirm").shows("h1", "Subscription confirmed!")
	stacks.shows("#addresses ~ table", "CONFIRMED")
	timeline.shows("#addresses", "1 of 1")
	timeline.do(look(360, 800, "dark")...)
	timeline.shoot("watch-dark-narrow", 360)
	timeline.do(look(1280, 900, "light")...)
	timeline.shoot("watch-light-wide", 1280)
	timeline.do(look(1280, 900, "light")...)
	// Lifecycle events are for the MQTT client of either page.
	own := s.open(t, page.Root+"client")
	for _, b := range []*tab{own, client} {
		b.do(chromedp.SetValue(chromedp.CSS("#filter"), "$aws/events/presence/#"))
		b.click("#subscribe .main")
		b.shows("#filters", "$aws/events/presence/#")
	}
	check(t, s.SNS.DeleteTopic(stack.Output("SNSTopicArn")))
	d, err = d.Reconnect(t.Context())
	check(t, err)
	happened("0", "connected") // which another connection tells than the message
	check(t, d.Announce(t.Context()))
	happened("0", "connected message")
	_, err = d.Drop()
	check(t, err)
	happened("0", "connected copy disconnected erroraction failed matched message will")
	timeline.shows("[data-kind=failed]", "SnsAction on "+stack.Output("SNSTopicArn"))
	client.shows(".message .mono", names.WillTopic)
	for _, b := range []*tab{own, client} {
		b.shows(".message .mono", "$aws/events/presence/connected/"+will.ThingName)
	}
	if n := value[int](client, `[...document.querySelectorAll('.message .mono')].filter((e) => e.textContent === '`+names.WillTopic+`').length`); n != 1 {
		t.Errorf("the will is among the messages %d times", n)
	}

	timeline.shows("#problems", "subscriptions of "+stack.Output("SNSTopicArn")+" cannot be read")
	client.click(`[aria-label="Unsubscribe from #"]`)
	client.sees(`document.querySelectorAll('#filters li').length === 1`)

	rule := w.open(t, page.Root+"rule")
	rule.shows("#verdict h2", "The rule matches")
	for _, b := range []*tab{timeline, client, stacks, rule} {
		for _, width := range []int64{1280, 360} {
			b.do(look(width, 800, map[int64]string{1280: "light", 360: "dark"}[width])...)
			b.sees(`document.getAnimations().every((a) => a.playState !== 'running' || a.id === 'silence' || a.animationName === 'breathe')`)
			b.passes(axe, "of a stack on AWS")
		}
		b.clean()
	}
}
