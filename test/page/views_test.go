package page_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/page"
	"lastwill/internal/will"
)

var screenshots = flag.String("screenshots", "", "folder that screenshots of the views go to")

// Every view can be read by everybody: axe finds nothing serious, nothing is
// wider than the window, and the browser has no complaint; light and dark, on a
// phone and on a desk.
func TestEveryViewIsForEverybody(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	check(t, err)
	s := setUp(t)
	visit := func(name, path string, ready func(*tab)) {
		t.Run(name, func(t *testing.T) {
			b := s.open(t, path)
			defer b.close()
			ready(b)
			b.sees(`document.fonts.status === 'loaded'`)
			for _, width := range []int64{1280, 360} {
				if width == 360 {
					b.do(chromedp.KeyEvent("\u001b")) // the detail would cover the lanes
				}
				for _, scheme := range []string{"light", "dark"} {
					b.do(look(width, 800, scheme)...)
					b.sees(`document.getAnimations().every((a) => a.playState !== 'running' || a.id === 'silence' || a.animationName === 'breathe')`)
					b.passes(axe, fmt.Sprint(scheme, " ", width))
					if wide := value[int](b, `document.documentElement.scrollWidth`); wide > int(width) {
						t.Errorf("the page is %d pixels wide in a window of %d", wide, width)
					}
					b.shoot(fmt.Sprintf("%s-%s-%s", name, scheme, map[int64]string{1280: "wide", 360: "narrow"}[width]), width)
				}
			}
			// On the wall it fills the screen, in type that can be read from afar.
			b.do(look(3840, 2160, "light")...)
			if !value[bool](b, `document.querySelector('main').offsetWidth > 0.9 * innerWidth && parseFloat(getComputedStyle(document.body).fontSize) > 24`) {
				t.Error("a wall display is not made use of")
			}
			b.clean()
		})
	}
	shows := func(selector, text string) func(*tab) {
		return func(b *tab) { b.shows(selector, text) }
	}
	visit("empty", page.Root, shows("#waiting", "No device yet"))
	s.play(t)
	visit("timeline", page.Root, func(b *tab) {
		b.shows(".lane h2", "valve-7")
		b.sees(`document.querySelectorAll('[data-kind=mail]').length > 1`)
		b.click(`[data-client=valve-7] [data-kind=unmatched] button`)
		b.shows("#detail", "Conditions that are not true")
	})
	visit("client", page.Root+"client", func(b *tab) {
		b.shows("#messages-title", "Messages")
		b.do(chromedp.SetValue(chromedp.CSS("#filter"), "#"))
		b.click("#subscribe .main")
		b.shows("#filters", "#")
		check(t, s.IoT.Publish(t.Context(), names.ConnectedTopic, will.ConnectedPayload(will.ConnectedMessage), 1, false))
		check(t, s.IoT.Publish(t.Context(), "/site/hall/temperature", []byte(`{"celsius":21.5,"sensor":"hall"}`), 0, false))
		check(t, s.IoT.Publish(t.Context(), names.WillTopic, will.Payload("pump-02"), 0, false))
		b.sees(`document.querySelectorAll('.message').length >= 4`)
	})
	visit("mailbox", page.Root+"mailbox/00000002.eml", shows(".letter h2", "AWS Notification Message"))
	visit("stack", page.Root+"stack", shows("#stack", "lastWillRule"))
	visit("rule", page.Root+"rule", func(b *tab) {
		b.types("#payload", strings.Replace(value[string](b, `document.querySelector('#payload').value`), `"on"`, `"off"`, 1))
		b.shows("#verdict h2", "The rule does not match")
	})
	visit("simulate", page.Root+"simulate", func(b *tab) {
		b.sees(`document.querySelectorAll('.device').length === 3`)
		b.shows("#lanes .lane h2", will.ThingName)
	})
	visit("nothing", page.Root+"nowhere", shows("h1", "Nothing here"))
}

// What is not there yet, what failed, and an endpoint that is gone are told.
func TestAViewSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	check(t, err)
	s := setUp(t)
	simulate, stack := s.open(t, page.Root+"simulate"), s.open(t, page.Root+"stack")
	simulate.shows(".empty", "No thing to play")
	id, err := s.CloudFormation.Create(cloudformation.Input{Name: "Broken", TemplateBody: []byte(`{"Resources":{
		"Good":{"Type":"AWS::SNS::Topic","Properties":{"TopicName":"good"}},
		"Bad":{"Type":"AWS::SNS::Subscription","DependsOn":"Good","Properties":{"TopicArn":"arn:aws:sns:us-east-1:123456789012:none","Protocol":"email","Endpoint":"a@example.com"}}}}`)})
	check(t, err)
	if _, err = s.CloudFormation.Await(t.Context(), id); err == nil {
		t.Fatal("the stack did not fail")
	}
	stack.shows(".stack-head .status[data-tone=lost]", "ROLLBACK_COMPLETE")
	stack.shows(".stack-head .fault", "Bad NotFound: Topic does not exist")

	s.deploy(t)
	simulate.shows("#start h2", "Start a device") // it is there without being asked for
	check(t, os.Rename(s.certs, s.certs+"-away"))
	simulate.do(chromedp.Reload())
	simulate.shows("#missing", "no private key")
	simulate.sees(`document.querySelector('#start .main').disabled`)
	check(t, os.Rename(s.certs+"-away", s.certs))
	simulate.do(chromedp.Reload())
	simulate.shows("#link", "live")
	simulate.click("#start .main")
	simulate.shows(".device .status", "connected")

	timeline, client, rule := s.open(t, page.Root), s.open(t, page.Root+"client"), s.open(t, page.Root+"rule")
	timeline.sees(`document.querySelector('.silence-bar').getAnimations()[0].playState === 'running'`)
	rule.shows("#verdict h2", "The rule matches")
	s.stop(t)
	for _, b := range []*tab{timeline, stack, simulate} {
		b.shows("#link", "connection lost, trying again")
		b.shows("#stale:not([hidden])", "The connection was lost at")
	}
	// Nobody knows how long it is silent now.
	timeline.sees(`document.querySelector('.silence-bar').getAnimations()[0].playState === 'paused'`)
	client.click("#subscribe .main")
	client.shows("#subscribe-error", "is lwt still running")
	client.click("#publish .main")
	client.shows("#publish-error", "is lwt still running")
	client.shows("#link", "no answer")
	rule.types("#topic", "/elsewhere")
	rule.shows("#verdict", "is lwt still running")
	rule.sees(`!document.querySelector('#sql-marks mark')`)
	simulate.click("[data-way=drop]")
	simulate.shows(".device .fault", "is lwt still running")
	for name, b := range map[string]*tab{"timeline": timeline, "stack": stack, "simulate": simulate, "client": client, "rule": rule} {
		for _, scheme := range []string{"light", "dark"} {
			b.do(look(1280, 800, scheme)...)
			b.passes(axe, name+" "+scheme+" without an endpoint")
		}
	}
}

// Before the first batch of the stream the timeline says that it waits.
func TestTheTimelineWaitsForItsHistory(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	var shown *page.Page
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == page.Root+"events" {
			<-hold
		}
		shown.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	shown = page.New(page.Options{Place: "Rehearsal", Address: server.Listener.Addr().String(), History: page.NewHistory()})
	s := &stage{address: server.URL}
	b := s.open(t, page.Root+"client")
	b.do(chromedp.Navigate(s.address + page.Root))
	b.shows("#link", "connecting")
	b.shows("#waiting[data-loading]", "Listening")
	b.sees(`document.querySelector('[data-figure=will]').textContent === '–'`)
	close(hold)
	b.shows("#link", "live")
	b.shows("#waiting:not([data-loading])", "No device yet")
	b.sees(`document.querySelector('[data-figure=will]').textContent === '0'`)
	b.clean()
}

// play deploys the scenario and lets devices live and vanish.
func (s *stage) play(t *testing.T) {
	t.Helper()
	stack := s.deploy(t)
	mailbox := s.open(t, page.Root+"mailbox/00000001.eml")
	mailbox.click(".text a")
	mailbox.other("/_lwt/sns/confirm").shows("h1", "Subscription confirmed!")
	s.thing(t, stack, "pump-02")
	s.thing(t, stack, "valve-7")
	b := s.open(t, page.Root+"simulate")
	connect := func(name string, change ...string) {
		payload := strings.NewReplacer(change...).Replace(string(will.Payload(name)))
		b.post("devices", page.Order{Thing: name, KeepAlive: 30, WillPayload: payload})
	}
	end := func(name, way string) { b.post("devices/"+way, map[string]string{"client": name}) }
	connect("valve-7", `"on"`, `"off"`)
	connect("pump-02")
	connect(will.ThingName)
	end("valve-7", "drop")
	end("pump-02", "reset")
	end("pump-02", "reconnect")
	end("pump-02", "drop")
	end(will.ThingName, "drop")
	end(will.ThingName, "reconnect")
	b.sees(`[...document.querySelectorAll('.lane')].length === 3 && document.querySelectorAll('[data-kind=mail]').length >= 2`)
	b.close()
	mailbox.close()
}

// passes runs axe's rules over the page.
func (b *tab) passes(axe []byte, as string) {
	b.t.Helper()
	// The devtools' own world is not bound by the page's policy.
	if !value[bool](b, `!!window.axe`) {
		value[bool](b, string(axe)+"; true")
	}
	found := value[string](b, `axe.run(document, { resultTypes: ['violations'] }).then((r) => JSON.stringify(r.violations.filter((v) => v.impact === 'serious' || v.impact === 'critical').map((v) => [v.id, v.help, v.nodes.map((n) => n.html.slice(0, 200) + ' ' + n.failureSummary)]), null, 1))`)
	if found != "[]" {
		b.t.Errorf("%s: axe finds: %s", as, found)
	}
}

// shoot keeps a screenshot if they are asked for.
func (b *tab) shoot(name string, width int64) {
	b.t.Helper()
	if *screenshots == "" || strings.HasPrefix(name, "nothing") {
		return
	}
	height := min(value[float64](b, `document.documentElement.scrollHeight`), map[bool]float64{true: 1100, false: 1300}[width > 400])
	scale := map[bool]float64{true: 1.25, false: 1.5}[width > 400]
	b.do(chromedp.EmulateViewport(width, int64(height), chromedp.EmulateScale(scale)))
	value[bool](b, `new Promise((done) => (document.querySelector('.top [aria-current]').scrollIntoView({ inline: 'center' }), scrollTo(0, 0), requestAnimationFrame(() => requestAnimationFrame(() => done(true)))))`)
	image, err := chromedp.Run(b.ctx, func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		quality := int64(80)
		result, err := cdp.Call(ctx, t, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{Format: cdppage.CaptureScreenshotFormatWebp, Quality: &quality})
		return result.Data, err
	})
	check(b.t, err)
	check(b.t, os.WriteFile(filepath.Join(*screenshots, name+".webp"), image, 0o644))
}
