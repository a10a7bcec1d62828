package page_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"lastwill/internal/device"
	"lastwill/internal/keypair"
	"lastwill/internal/page"
	"lastwill/internal/will"
)

// steps are the kinds of the steps of a device's life, newest life first.
func steps(client string, life int) string {
	return fmt.Sprintf(`[...[...document.querySelectorAll('.lane')].find((l) => l.dataset.client === %q)?.querySelectorAll('.life')[%d]?.querySelectorAll('.step') ?? []].map((s) => s.dataset.kind).join(' ')`, client, life)
}

// The whole story is seen on the page: a deployment, the confirmation by a click
// in the mailbox, a device that vanishes, its lane, the mail, and why a rule
// matched and another did not.
func TestTheStoryIsSeen(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	timeline := s.open(t, page.Root, look(1280, 900, "light")...)
	timeline.shows("#waiting", "No device yet")
	stack := s.open(t, page.Root+"stack")
	stack.shows("#stack", "Nothing is deployed")
	mailbox := s.open(t, page.Root+"mailbox")
	mailbox.shows(".empty", "No mail")

	deployed := s.deploy(t)
	stack.shows("#stack", "lastWillRule")
	stack.shows("#stack", "arn:aws:sns:us-east-1:123456789012:lwtSNSTopic")
	stack.sees(fmt.Sprintf(`document.querySelectorAll('#resources ~ table tbody tr').length === %d`, len(deployed.Resources)))
	stack.shows(".stack-head", "CREATE_COMPLETE")
	// Types break where their parts meet, and nowhere else.
	stack.do(look(900, 900, "light")...)
	if broken := value[string](stack, `[...document.querySelectorAll('td.type')].filter((cell) => {
		const range = document.createRange();
		return [...cell.childNodes].some((part) => (range.selectNodeContents(part), part.nodeType === Node.TEXT_NODE && range.getClientRects().length > 1)) || !cell.querySelector('wbr');
	}).map((cell) => cell.textContent).join()`); broken != "" {
		t.Errorf("within a part of the type's name break: %s", broken)
	}
	stack.clean()

	// The mailbox shows the mail without being asked.
	mailbox.shows(".letters", "AWS Notification - Subscription Confirmation")
	mailbox.click(".letters ol a")
	mailbox.shows(".letter h2", "Subscription Confirmation")
	mailbox.click(".text a")
	mailbox.other("/_lwt/sns/confirm").shows("h1", "Subscription confirmed!")

	simulate := s.open(t, page.Root+"simulate")
	simulate.click("#start .main")
	simulate.shows(".device .status", "connected")
	timeline.sees(steps(will.ThingName, 0) + ` === 'connected message'`)
	timeline.shows(".silence", "given up after 45 s")
	simulate.click("[data-way=drop]")
	simulate.shows(".device .status", "lost")
	// The mail and the copy hurry side by side.
	timeline.sees(steps(will.ThingName, 0) + `.replace('mail copy', 'copy mail') === 'connected message disconnected will matched done copy mail'`)
	timeline.sees(`document.querySelector('[data-figure=will]').textContent === '1' && document.querySelector('[data-figure=mail]').textContent === '2'`)

	// What an event was, by keyboard.
	timeline.do(chromedp.Focus(chromedp.CSS("[data-kind=matched] button")), chromedp.KeyEvent("\r"))
	timeline.shows("#detail .sql mark", "state.reported.trigger_action = 'on'")
	timeline.shows("#detail .because", `state.reported.last_will is "yes"`)
	timeline.sees(`document.activeElement === document.querySelector('#detail h2')`)
	timeline.do(chromedp.KeyEvent("\t"))
	timeline.sees(`document.activeElement === document.querySelector('#detail .close')`)
	timeline.do(chromedp.KeyEvent("\u001b"))
	timeline.sees(`document.querySelector('#detail').hidden && document.activeElement.closest('[data-kind=matched]')`)
	timeline.click("[data-kind=mail] button")
	timeline.shows("#detail", "Read the mail")
	timeline.click("#detail p a")
	timeline.shows(".letter h2", "AWS Notification Message")
	timeline.shows(".letter .text", string(will.Payload(will.ThingName)))

	// A will that the rule does not want.
	simulate.post("devices", page.Order{Thing: will.ThingName, KeepAlive: 30, WillPayload: strings.Replace(string(will.Payload(will.ThingName)), `"on"`, `"off"`, 1)})
	simulate.click("[data-way=takeover]")
	simulate.sees(steps(will.ThingName, 1) + ` === 'connected message disconnected will unmatched'`)
	simulate.sees(steps(will.ThingName, 0) + ` === 'connected message'`)
	if words := value[string](simulate, `[...document.querySelectorAll('.ways button')].map((b) => b.firstChild.textContent).join(' ')`); words != "drop reset freeze takeover kill disconnect" {
		t.Errorf("a device can be made to %s: want the words of the commands", words)
	}
	simulate.click("[data-way=disconnect]")
	simulate.shows(".lane-state", "left")
	simulate.shows("[data-kind=disconnected] .what", "disconnect")
	simulate.click("[data-way=reconnect]")
	simulate.click("[data-way=kill]")
	simulate.shows(".lane-state", "lost")
	simulate.sees(steps(will.ThingName, 0) + ` === 'connected message disconnected will unmatched'`)
	simulate.shows("[data-kind=disconnected] .what", "kill")
	simulate.click("[data-kind=unmatched] button")
	simulate.shows("#detail .sql mark", "state.reported.trigger_action = 'on'")
	simulate.shows("#detail .because", `is false: state.reported.trigger_action is "off"`)
	simulate.click("#detail p a")
	simulate.shows("#verdict h2", "The rule does not match")
	simulate.sees(`document.querySelector('#payload').value.includes('"off"')`)
	for _, b := range []*tab{timeline, simulate, mailbox, stack} {
		b.clean()
	}
}

func TestARuleIsTriedWhileTyping(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	b := s.open(t, page.Root+"rule")
	b.shows("#verdict h2", "The rule matches")
	b.shows("#sql-marks mark", "state.reported.last_will = 'yes'")
	b.types("#sql", "SELECT * FRM '/last/will/topic'")
	b.shows("#verdict h2", "The statement is not valid")
	b.sees(`document.querySelector('#sql-marks mark[data-tone=lost]')?.textContent === 'FRM'`)
	b.types("#sql", "SELECT client_id FROM '/last/will/topic' WHERE temp > 50")
	b.shows("#verdict .because", "temp is Undefined")
	b.types("#payload", `{"temp": 51, "client_id": "pump"}`)
	b.shows("#verdict pre", `"client_id": "pump"`)
	b.types("#topic", "/elsewhere")
	b.shows("#verdict", "the topic /elsewhere does not match")
	b.clean()
}

func TestMessagesComeAsSubscribed(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	b := s.open(t, page.Root+"client")
	b.do(chromedp.SetValue(chromedp.CSS("#filter"), "bad#"))
	b.click("#subscribe .main")
	b.shows("#subscribe-error", "# stands alone")
	b.do(chromedp.SetValue(chromedp.CSS("#filter"), "site/+/pump"))
	b.click("#subscribe .main")
	b.shows("#filters", "site/+/pump")
	check(t, s.IoT.Publish(t.Context(), "site/a/valve", []byte(`{"n":0}`), 0, false))
	b.do(chromedp.SetValue(chromedp.CSS("#topic"), "site/a/pump"), chromedp.SetValue(chromedp.CSS("#payload"), `{"n":1}`), chromedp.SetValue(chromedp.CSS("#qos"), "1"))
	b.click("#retain")
	b.click("#publish .main")
	b.shows(".message pre", "{\n  \"n\": 1\n}")
	b.shows(".message header", "QoS 1")
	if kept := s.IoT.ListRetainedMessages(); len(kept) != 1 || kept[0].Topic != "site/a/pump" || kept[0].QoS != 1 || string(kept[0].Payload) != `{"n":1}` {
		t.Errorf("the broker retains %+v", kept)
	}

	// What comes during a pause waits; hexadecimal is what is no text.
	b.click("#pause")
	check(t, s.IoT.Publish(t.Context(), "site/b/pump", []byte{0xff, 0, 1}, 0, false))
	long := strings.Repeat("0123456789", 300)
	check(t, s.IoT.Publish(t.Context(), "site/c/pump", []byte(long), 0, false))
	b.shows("#pause", "Resume (2 new)")
	const topics = `[...document.querySelectorAll('.message .mono')].map((e) => e.textContent).join(' ')`
	b.sees(topics + ` === 'site/a/pump' && document.querySelector('#count').textContent === '1'`)
	b.click("#pause")
	b.sees(topics + ` === 'site/c/pump site/b/pump site/a/pump' && document.querySelector('#count').textContent === '3'`)
	b.shows(".message pre", "hex ff 00 01")

	// A reload keeps the subscriptions and what came since.
	b.do(chromedp.Reload())
	b.sees(topics + ` === 'site/c/pump site/b/pump site/a/pump'`)
	type row struct {
		Topic, Kind, Client, Payload string
		Retain, Hex                  bool
		QoS, Bytes                   int
		Time                         time.Time
	}
	var exported []row
	check(t, json.Unmarshal(b.download("#export", "messages.json"), &exported))
	for i := range exported {
		if since := time.Since(exported[i].Time); since < 0 || since > patience {
			t.Errorf("exported message %d is from %v", i, exported[i].Time)
		}
		exported[i].Time = time.Time{}
	}
	if diff := cmp.Diff([]row{
		{Topic: "site/c/pump", Kind: "message", Payload: long},
		{Topic: "site/b/pump", Kind: "message", Payload: "ff0001", Hex: true},
		{Topic: "site/a/pump", Kind: "message", Payload: `{"n":1}`, QoS: 1, Retain: true},
	}, exported); diff != "" {
		t.Errorf("the exported file differs:\n%s", diff)
	}

	// Clear also counts from the beginning, in a pause too, and holds over a reload.
	b.click("#pause")
	b.click("#clear")
	b.sees(topics + ` === '' && document.querySelector('#count').textContent === '0'`)
	b.shows("#no-messages:not([hidden])", "No messages")
	b.do(chromedp.Reload())
	b.shows("#link", "live")
	b.shows("#no-messages:not([hidden])", "No messages")
	b.clean()

	// Whoever subscribes later gets the retained message.
	late := s.open(t, page.Root+"client")
	late.do(chromedp.SetValue(chromedp.CSS("#filter"), "site/#"))
	late.click("#subscribe .main")
	late.sees(topics + ` === 'site/a/pump'`)
	late.shows(".message header", "QoS 1retained")
	late.clean()
}

// An action that fails is seen with its reason, and the error action after it; no
// mail comes.
func TestAFailedActionIsSeen(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	stack := s.deploy(t)
	b := s.open(t, page.Root+"mailbox/00000001.eml")
	b.click(".text a")
	b.other("/_lwt/sns/confirm").shows("h1", "Subscription confirmed!")
	check(t, s.SNS.DeleteTopic(stack.Output("SNSTopicArn")))
	b.post("devices", page.Order{Thing: will.ThingName, KeepAlive: 30, WillPayload: string(will.Payload(will.ThingName))})
	b.post("devices/drop", map[string]string{"client": will.ThingName})

	b = s.open(t, page.Root)
	b.sees(steps(will.ThingName, 0) + ` === 'connected message disconnected will matched failed copy erroraction'`)
	b.sees(`document.querySelector('[data-figure=failed]').textContent === '1' && document.querySelector('[data-figure=mail]').textContent === '1'`)
	b.shows("[data-kind=failed] .what", "action failed")
	b.shows("[data-kind=failed] .about", "SnsAction: NotFound: Topic does not exist")
	b.click("[data-kind=failed] button")
	b.shows("#detail h2", "action failed")
	b.shows("#detail .facts", "Topic does not exist")
	b.shows("#detail", `"last_will": "yes"`)
	b.click("[data-kind=erroraction] button")
	b.shows("#detail h2", "error action")
	b.shows("#detail .facts", "CloudwatchLogsAction")
	b.clean()
}

// A device that falls silent: the bar grows, a sign of life begins it anew, and at
// 1.5 times the keep alive its will goes out, the rule matches, the mail comes.
func TestAFreezeIsWaitedOut(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	s.deploy(t)
	b := s.open(t, page.Root+"mailbox/00000001.eml")
	b.click(".text a")
	b.other("/_lwt/sns/confirm").shows("h1", "Subscription confirmed!")

	timeline := s.open(t, page.Root)
	simulate := s.open(t, page.Root+"simulate")
	simulate.do(chromedp.SetValue(chromedp.CSS("#keep-alive"), strconv.Itoa(int(will.MinKeepAlive.Seconds()))))
	simulate.click("#start .main")
	simulate.click("[data-way=freeze]")
	simulate.shows(".device .status", "silent")

	// Another one sends PINGREQ before it falls silent as well.
	conn, err := tls.Dial("tcp", s.IoT.Address(), &tls.Config{Certificates: []tls.Certificate{s.identity(t, "pinger")}, RootCAs: s.roots(), ServerName: "localhost"})
	check(t, err)
	defer conn.Close()
	send := func(p packets.ControlPacket) {
		t.Helper()
		check(t, p.Write(conn))
		_, err := packets.ReadPacket(conn)
		check(t, err)
	}
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.CleanSession = "MQTT", 4, true
	connect.ClientIdentifier, connect.Keepalive = "pinger", uint16(will.MinKeepAlive.Seconds())
	send(connect)
	const silent = `[...document.querySelectorAll('.lane')].find((l) => l.dataset.client === %q)?.querySelector('[role=meter]')?.ariaValueNow`
	const grown = `[...document.querySelectorAll('.lane')].find((l) => l.dataset.client === %q)?.querySelector('.silence-bar').getAnimations()[0].effect.getComputedTiming().progress`
	timeline.sees(fmt.Sprintf(silent+` >= 3 && `+grown+` > 3 / 45`, "pinger", "pinger"))
	send(packets.NewControlPacket(packets.Pingreq))
	timeline.sees(fmt.Sprintf(silent+` < 3 && `+grown+` < 3 / 45`, "pinger", "pinger"))

	timeline.sees(fmt.Sprintf(silent+` >= 22 && `+grown+` > 22 / 45 && `+grown+` < 1`, will.ThingName, will.ThingName, will.ThingName))
	timeline.sees(steps(will.ThingName, 0) + `.replace('mail copy', 'copy mail') === 'connected message disconnected will matched done copy mail'`)
	timeline.shows("[data-kind=disconnected]", "keep alive timeout")
	timeline.sees(fmt.Sprintf(silent+` >= 45 && `+grown+` === 1`, will.ThingName, will.ThingName))
	timeline.shows(".silence p", " of 45 s")
	timeline.sees(fmt.Sprintf(silent+` >= 45`, "pinger"))
	simulate.shows(".device .status", "lost")
	timeline.clean()
	simulate.clean()
}

const evil = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'"><svg onload=window.pwned=1>`

// identity is a certificate that may do all.
func (s *stage) identity(t testing.TB, name string) tls.Certificate {
	t.Helper()
	csr, err := keypair.Ensure(s.certs, name, true)
	check(t, err)
	certificate, err := s.IoT.CreateCertificateFromCSR(csr, true)
	check(t, err)
	_, err = s.IoT.CreatePolicy(name, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`, nil)
	check(t, err)
	check(t, s.IoT.AttachPolicy(name, certificate.ARN))
	key, err := os.ReadFile(keypair.KeyFile(s.certs, name))
	check(t, err)
	pair, err := tls.X509KeyPair([]byte(certificate.PEM), key)
	check(t, err)
	return pair
}

// send puts a mail into the mailbox, as anybody on this machine can.
func (s *stage) send(t testing.TB, mail string) {
	t.Helper()
	client, err := smtp.Dial(s.Mailbox.Addr())
	check(t, err)
	defer client.Close()
	check(t, client.SendMail("a@example.com", []string{"b@example.com"}, strings.NewReader(mail)))
}

// Whatever devices, mails and stacks say is text.
func TestHostileTextIsText(t *testing.T) {
	t.Parallel()
	s := setUp(t)
	s.deploy(t, strings.NewReplacer("My first LWT rule", strings.ReplaceAll(evil, `"`, `\"`), "Things; each one's client ID is its name", strings.ReplaceAll(evil, `"`, `\"`)))
	topic := strings.ReplaceAll(evil, "/", "|")
	d, err := device.Connect(t.Context(), device.Config{
		Endpoint: s.IoT.Address(), Roots: s.roots(), Certificate: s.identity(t, "evil"), ClientID: evil, ConnectedTopic: topic, ConnectedMessage: evil,
		Will: device.Message{Topic: names.WillTopic, Payload: []byte(`{"state":{"reported":{"last_will":"` + strings.ReplaceAll(evil, `"`, `\"`) + `"}}}`)},
	})
	check(t, err)
	check(t, d.Announce(t.Context()))
	_, err = d.Drop()
	check(t, err)
	s.send(t, ("From: \"" + strings.ReplaceAll(evil, `"`, `\"`) + "\" <a@example.com>\r\nTo: b@example.com\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nSubject: " + evil + "\r\n\r\n" + evil + " http://127.0.0.1/\"onmouseover=window.pwned=1 javascript:window.pwned=1\r\n"))
	s.send(t, ("From: a@example.com\r\nTo: b@example.com\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\nMessage-ID: <2@example.com>\r\nSubject: HTML\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<h1>Hello</h1>" +
		evil + "<script>parent.pwned=1;top.location='http://127.0.0.1:1/'</script><form action=/_lwt/publish><button>x</button></form><meta http-equiv=refresh content='0;url=javascript:parent.pwned=1'>\r\n"))

	inert := func(b *tab) {
		t.Helper()
		if !value[bool](b, `window.pwned === undefined && !document.querySelector('img[src=x], svg, [onload], [onerror], [onmouseover], script:not([src])')`) {
			t.Errorf("a text became HTML:\n%s", value[string](b, `document.documentElement.outerHTML`))
		}
	}
	b := s.open(t, page.Root)
	b.sees(steps(evil, 0) + ` === 'connected message disconnected will unmatched'`)
	for _, kind := range []string{"connected", "message", "will", "unmatched"} {
		b.click(`.lane[data-client^="<img"] [data-kind=` + kind + `] button`)
		b.shows("#detail .facts", evil)
		inert(b)
	}
	b.click("#detail p a") // to the rule, with this message
	b.shows("#verdict .because", "onerror")
	b.types("#sql", evil)
	b.shows("#verdict h2", "not valid")
	inert(b)
	b.clean()

	b = s.open(t, page.Root+"client")
	b.do(chromedp.SetValue(chromedp.CSS("#filter"), topic))
	b.click("#subscribe .main")
	b.shows("#filters", topic)
	check(t, s.IoT.Publish(t.Context(), topic, []byte(`{"`+strings.ReplaceAll(evil, `"`, `\"`)+`":1}`), 0, false))
	b.shows(".message .mono", topic)
	inert(b)
	b.clean()

	b = s.open(t, page.Root+"stack")
	b.shows(".rule-card", evil)
	b.shows(".outputs", evil)
	inert(b)
	b.clean()

	for name, wants := range map[string]string{"00000002.eml": evil, "00000003.eml": "HTML"} {
		b = s.open(t, page.Root+"mailbox/"+name)
		b.shows(".letter", wants)
		inert(b)
		if links := value[string](b, `[...document.querySelectorAll('.letter .text a')].map((a) => a.protocol + a.rel).join()`); name == "00000002.eml" && links != "http:noopener noreferrer" {
			t.Errorf("the mail's links are %s", links)
		}
	}
	// The browser says that it blocked the mail's script, and the page is where it was.
	b.sees(`document.querySelector('iframe').contentDocument === null && location.pathname.endsWith('00000003.eml')`)
	inert(b)
}
