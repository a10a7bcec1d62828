// Package page_test watches the page in a real browser: Debian's Chromium, driven
// by chromedp.
package page_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"lastwill/internal/keypair"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/page/local"
	"lastwill/internal/will"
)

// patience is how long something may take to be seen. It only matters to tests
// that fail.
const patience = 2 * time.Minute

var names = will.NewNames("")

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A stage is a local endpoint with its page.
type stage struct {
	*localaws.Server
	address string // of the page
	certs   string
}

func setUp(t testing.TB) *stage {
	t.Helper()
	s := &stage{certs: t.TempDir()}
	s.start(t, localaws.Options{})
	t.Cleanup(func() { s.stop(t) })
	return s
}

func (s *stage) start(t testing.TB, o localaws.Options) {
	t.Helper()
	shown := local.New(s.certs)
	o.ObserveIoT, o.ObserveStacks, o.Page = shown.ObserveIoT, shown.ObserveStacks, shown.Serve
	server, err := localaws.Start(o)
	check(t, err)
	s.Server, s.address = server, server.URL()
}

// stop stops the endpoint, if it still runs.
func (s *stage) stop(t testing.TB) {
	t.Helper()
	if s.Server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	check(t, s.Close(ctx))
	s.Server = nil
}

// deploy deploys the scenario's template, with a certificate whose key is here and
// what a test changes.
func (s *stage) deploy(t testing.TB, changes ...*strings.Replacer) *cloudformation.Stack {
	t.Helper()
	b, err := os.ReadFile("../../infra/monitoring/testdata/default.template.json")
	check(t, err)
	csr, err := keypair.Ensure(s.certs, will.ThingName, true)
	check(t, err)
	escaped, err := json.Marshal(csr)
	check(t, err)
	const field = `"CertificateSigningRequest": "`
	before, rest, found := bytes.Cut(b, []byte(field))
	_, after, ended := bytes.Cut(rest, []byte("\\n\""))
	if !found || !ended {
		t.Fatal("the template has no CertificateSigningRequest")
	}
	body := fmt.Sprintf("%s%s%s%s", before, strings.TrimSuffix(field, `"`), escaped, after)
	for _, change := range changes {
		body = change.Replace(body)
	}
	s.SSM.Put("/cdk-bootstrap/hnb659fds/version", "21")
	id, err := s.CloudFormation.Create(cloudformation.Input{Name: names.Stack, TemplateBody: []byte(body)})
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stack, err := s.CloudFormation.Await(ctx, id)
	check(t, err)
	return stack
}

// thing adds a thing beside the stack's, with a certificate and the stack's policy.
func (s *stage) thing(t testing.TB, stack *cloudformation.Stack, name string) {
	t.Helper()
	csr, err := keypair.Ensure(s.certs, name, true)
	check(t, err)
	_, err = s.IoT.CreateThing(name, nil)
	check(t, err)
	certificate, err := s.IoT.CreateCertificateFromCSR(csr, true)
	check(t, err)
	check(t, s.IoT.AttachPolicy(stack.Output("PolicyName"), certificate.ARN))
	check(t, s.IoT.AttachThingPrincipal(name, certificate.ARN))
}

// chromium is one browser for all tests, started when the first needs it.
var chromium = sync.OnceValues(func() (context.Context, context.CancelFunc) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("hide-scrollbars", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	browser, quit := chromedp.NewContext(allocator)
	return browser, func() { quit(); stop() }
})

var opened sync.Once

func TestMain(m *testing.M) {
	code := m.Run()
	_, quit := chromium()
	quit()
	os.Exit(code)
}

// A tab shows the page and remembers what the browser complained of.
type tab struct {
	ctx   context.Context
	close context.CancelFunc
	t     testing.TB

	mu         sync.Mutex
	complaints []string
}

// A step is one of chromedp's that returns nothing.
type step = chromedp.Action[chromedp.Void]

// open opens a path of the page in a tab of its own.
func (s *stage) open(t testing.TB, path string, before ...step) *tab {
	t.Helper()
	one, _ := chromium()
	opened.Do(func() { check(t, chromedp.Do(one)) })
	b := &tab{t: t}
	ctx, cancel := chromedp.NewContext(one, chromedp.WithListener(b.listen))
	t.Cleanup(cancel)
	b.ctx, b.close = ctx, cancel
	check(t, chromedp.Do(ctx)) // the tab lives as long as this context, not as long as a deadline
	_, err := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{})
	check(t, err)
	if len(before) == 0 {
		before = look(1280, 900, "light")
	}
	b.do(append(before, chromedp.Navigate(s.address+path))...)
	b.sees(`document.querySelector('#link')?.dataset.link !== 'opening'`) // its script has begun
	return b
}

func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		complaint := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			complaint += " " + x.Description
		}
		b.complaints = append(b.complaints, complaint)
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError && !strings.Contains(e.Entry.Text, "status of 4") { // what a test does wrong on purpose
			b.complaints = append(b.complaints, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// clean fails the test if the browser complained of anything: an exception, a
// file that did not come, something that the Content-Security-Policy forbids.
func (b *tab) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		b.t.Errorf("the browser complains: %s", c)
	}
}

func (b *tab) do(steps ...step) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%v; the page shows:\n%s", err, b.text())
	}
}

// text is what the page shows.
func (b *tab) text() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// other is the tab that a link opened, found by a part of its address.
func (b *tab) other(address string) *tab {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		targets, err := chromedp.Targets(ctx)
		check(b.t, err)
		for _, found := range targets {
			if strings.Contains(found.URL, address) {
				ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(found.TargetID))
				b.t.Cleanup(cancel)
				check(b.t, chromedp.Do(ctx))
				return &tab{ctx: ctx, close: cancel, t: b.t}
			}
		}
	}
	b.t.Fatalf("no tab has %s", address)
	return nil
}

// post sends a request as the page does.
func (b *tab) post(path string, body any) {
	b.t.Helper()
	encoded, err := json.Marshal(body)
	check(b.t, err)
	quoted, err := json.Marshal([]string{"/_lwt/" + path, string(encoded)})
	check(b.t, err)
	if answer := value[string](b, fmt.Sprintf(`(async ([path, body]) => {
		const r = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
		return r.ok ? '' : r.status + await r.text();
	})(%s)`, quoted)); answer != "" {
		b.t.Fatalf("%s: %s", path, answer)
	}
}

// value evaluates JavaScript, and waits for a promise.
func value[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v; the page shows:\n%s", expression, err, b.text())
	}
	return v
}

// sees waits until a JavaScript expression is true. chromedp.Poll makes a
// function of text, which the page's policy forbids.
func (b *tab) sees(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		seen, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!!(`+expression+`)`))
		if err == nil && seen { // a page that is just loading has no answer
			return
		}
	}
	b.t.Fatalf("never true: %s; the page shows:\n%s", expression, b.text())
}

// shows waits until an element has a text.
func (b *tab) shows(selector, text string) {
	b.t.Helper()
	quoted, err := json.Marshal([]string{selector, text})
	check(b.t, err)
	b.sees(fmt.Sprintf(`(([s, t]) => [...document.querySelectorAll(s)].some((e) => e.textContent.includes(t)))(%s)`, quoted))
}

// click clicks on an element; on what took its place, if the page drew it anew
// just then.
func (b *tab) click(selector string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector)))
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "Could not find node") {
			b.t.Fatalf("%s: %v; the page shows:\n%s", selector, err, b.text())
		}
	}
}

// download clicks on something and returns the file that the browser then saves.
func (b *tab) download(selector, name string) []byte {
	b.t.Helper()
	folder, events := b.t.TempDir(), true
	_, err := chromedp.Call(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: folder, EventsEnabled: &events,
	})
	check(b.t, err)
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	progress := chromedp.Events(ctx, browser.DownloadProgress)
	b.click(selector)
	for e, err := range progress {
		check(b.t, err)
		if e.State == browser.DownloadProgressStateCompleted {
			break
		}
	}
	file, err := os.ReadFile(filepath.Join(folder, name))
	check(b.t, err)
	return file
}

// types replaces what is in a field, key by key.
func (b *tab) types(selector, text string) {
	b.t.Helper()
	quoted, err := json.Marshal(selector)
	check(b.t, err)
	value[bool](b, fmt.Sprintf(`(document.querySelector(%s).focus(), document.querySelector(%[1]s).select(), true)`, quoted))
	b.do(chromedp.KeyEvent(text))
}

// look makes a tab of a size and a colour scheme.
func look(width, height int64, scheme string) []step {
	return []step{
		chromedp.EmulateViewport(width, height),
		func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
			})
			return chromedp.Void{}, err
		},
	}
}
