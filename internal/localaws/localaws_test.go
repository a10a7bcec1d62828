package localaws_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lastwill/internal/await"
	"lastwill/internal/device"
	"lastwill/internal/device/brokertest"
	"lastwill/internal/keypair"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/localtest"
	"lastwill/internal/localaws/mail"
	"lastwill/internal/will"
)

// patience is how long an event may take before a test gives up on it. It only
// matters to tests that fail.
const patience = await.Patience

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	return await.Context(t)
}

// A cloud is a local endpoint and what was seen of it.
type cloud struct {
	*localaws.Server
	events recorder
	dir    string // of the test's files
	mails  int    // read so far
}

// start starts an endpoint that ends with the test. Devices may come back at once.
func start(t testing.TB, changes ...func(*localaws.Options)) *cloud {
	t.Helper()
	c := &cloud{events: newRecorder(), dir: t.TempDir()}
	options := localaws.Options{ObserveIoT: c.events.Record, ConnectInterval: -1}
	for _, change := range changes {
		change(&options)
	}
	server, err := localaws.Start(options)
	check(t, err)
	c.Server = server
	t.Cleanup(func() { check(t, server.Close(deadline(t))) })
	return c
}

// A template is a CloudFormation template that a test may change.
type template map[string]any

// object is a JSON object.
type object = map[string]any

// scenario returns the scenario's template as the CDK app synthesizes it, with a
// certificate signing request of which the test has the key.
func (c *cloud) scenario(t testing.TB) template {
	t.Helper()
	b, err := os.ReadFile("../../infra/monitoring/testdata/default.template.json")
	check(t, err)
	var parsed template
	check(t, json.Unmarshal(b, &parsed))
	csr, err := keypair.Ensure(c.dir, will.ThingName, true)
	check(t, err)
	parsed.properties(t, "AWS::IoT::Certificate")["CertificateSigningRequest"] = csr
	return parsed
}

// properties returns the properties of the only resource of a type.
func (tm template) properties(t testing.TB, kind string) object {
	t.Helper()
	_, resource := tm.resource(t, kind)
	return resource["Properties"].(object)
}

func (tm template) resource(t testing.TB, kind string) (id string, resource object) {
	t.Helper()
	for name, r := range tm["Resources"].(object) {
		if r.(object)["Type"] == kind {
			if resource != nil {
				t.Fatalf("the template has several resources of type %s", kind)
			}
			id, resource = name, r.(object)
		}
	}
	if resource == nil {
		t.Fatalf("the template has no resource of type %s", kind)
	}
	return id, resource
}

// rule returns the payload of the template's topic rule.
func (tm template) rule(t testing.TB) object {
	t.Helper()
	return tm.properties(t, "AWS::IoT::TopicRule")["TopicRulePayload"].(object)
}

// deploy deploys the scenario, changed as a test wants it.
func (c *cloud) deploy(t testing.TB, changes ...func(template)) *cloudformation.Stack {
	t.Helper()
	stack, err := c.tryDeploy(t, changes...)
	check(t, err)
	return stack
}

func (c *cloud) tryDeploy(t testing.TB, changes ...func(template)) (*cloudformation.Stack, error) {
	t.Helper()
	tm := c.scenario(t)
	for _, change := range changes {
		change(tm)
	}
	return localtest.Create(deadline(t), c.Server, "Lastwill", tm)
}

func (c *cloud) destroy(t testing.TB, stack *cloudformation.Stack) {
	t.Helper()
	check(t, c.CloudFormation.Delete(stack.ID))
	_, err := c.CloudFormation.Await(deadline(t), stack.ID)
	check(t, err)
}

// An identity is a certificate with its key, as TLS clients take it.
type identity struct {
	name              string
	pair              tls.Certificate
	roots             *x509.CertPool
	caFile            string
	certFile, keyFile string
}

// thing returns the identity of the deployed thing.
func (c *cloud) thing(t testing.TB, stack *cloudformation.Stack) identity {
	t.Helper()
	certificate, err := c.IoT.DescribeCertificate(stack.Output("CertificateId"))
	check(t, err)
	return c.holder(t, will.ThingName, certificate.PEM)
}

// holder is whoever has the private key of that name and a certificate.
func (c *cloud) holder(t testing.TB, name, certificatePEM string) identity {
	t.Helper()
	id := identity{
		name: name, roots: c.roots(), caFile: filepath.Join(c.dir, "ca.pem"),
		certFile: filepath.Join(c.dir, name+".crt"), keyFile: keypair.KeyFile(c.dir, name),
	}
	check(t, os.WriteFile(id.caFile, c.IoT.RootCA(), 0o600))
	check(t, os.WriteFile(id.certFile, []byte(certificatePEM), 0o600))
	var err error
	id.pair, err = tls.LoadX509KeyPair(id.certFile, id.keyFile)
	check(t, err)
	return id
}

// certify registers a new active certificate and returns its ARN too.
func (c *cloud) certify(t testing.TB, name string) (identity, string) {
	t.Helper()
	csr, err := keypair.Ensure(c.dir, name, true)
	check(t, err)
	certificate, err := c.IoT.CreateCertificateFromCSR(csr, true)
	check(t, err)
	return c.holder(t, name, certificate.PEM), certificate.ARN
}

// person certifies somebody who may do what statements allow, made by statement.
func (c *cloud) person(t testing.TB, name string, statements ...object) identity {
	t.Helper()
	id, arn := c.certify(t, name)
	document, err := json.Marshal(document(statements...))
	check(t, err)
	_, err = c.IoT.CreatePolicy(name, string(document), nil)
	check(t, err)
	check(t, c.IoT.AttachPolicy(name, arn))
	return id
}

// observer watches topic filters with mosquitto_sub, which owes nothing to our code.
func (c *cloud) observer(t testing.TB, filters ...string) *brokertest.Observer {
	t.Helper()
	id := c.person(t, "observer", allow("iot:*", "*"))
	return id.mosquitto(t, c).Observe(t, filters...)
}

// mosquitto returns mosquitto's clients with an identity.
func (id identity) mosquitto(t testing.TB, c *cloud) *brokertest.Peer {
	t.Helper()
	return brokertest.PeerWith(t, c.IoT.Address(), id.caFile, id.certFile, id.keyFile)
}

// command is one of mosquitto's clients, not yet started. It does not outlive
// the test.
func (id identity) command(t testing.TB, c *cloud, name string, args ...string) *exec.Cmd {
	t.Helper()
	host, port, err := net.SplitHostPort(c.IoT.Address())
	check(t, err)
	// Into a pipe they would keep their lines back until a page is full.
	return exec.CommandContext(deadline(t), "stdbuf",
		append([]string{"-oL", name, "-h", host, "-p", port, "--cafile", id.caFile, "--cert", id.certFile, "--key", id.keyFile}, args...)...)
}

func document(statements ...object) object {
	return object{"Version": "2012-10-17", "Statement": statements}
}

func allow(action string, resources ...string) object {
	for i, r := range resources {
		if r != "*" {
			resources[i] = localaws.Account.ARN("iot", r)
		}
	}
	return object{"Effect": "Allow", "Action": action, "Resource": resources}
}

// device is the configuration of our own device for an identity.
func (c *cloud) device(id identity) device.Config {
	return device.Config{Endpoint: c.IoT.Address(), Roots: id.roots, Certificate: id.pair, ClientID: id.name}
}

func connect(t testing.TB, cfg device.Config) *device.Device {
	t.Helper()
	d, err := device.Connect(deadline(t), cfg)
	check(t, err)
	t.Cleanup(func() { _, _ = d.Drop() }) // it may have ended before
	return d
}

var confirmLink = regexp.MustCompile(`https?://\S+/_lwt/sns/confirm\S+`)

// confirm follows the link in the confirmation mail.
func (c *cloud) confirm(t testing.TB) {
	t.Helper()
	link := confirmLink.FindString(c.nextMail(t).Body)
	response, err := http.Get(link)
	check(t, err)
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	if err = errors.Join(err); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("the confirmation link %q answered %s, %v", link, response.Status, err)
	}
}

func (c *cloud) nextMail(t testing.TB) mail.Message {
	t.Helper()
	mails, err := c.Mailbox.Wait(deadline(t), c.mails)
	check(t, err)
	c.mails++
	m, err := mail.Parse(mails[0].Raw)
	check(t, err)
	return m
}

// noMoreMails makes sure that every mail sent so far has been read.
func (c *cloud) noMoreMails(t testing.TB) {
	t.Helper()
	check(t, c.Flush(deadline(t)))
	for _, m := range c.Mailbox.List()[c.mails:] {
		t.Errorf("there was one more mail:\n%s", m.Raw)
	}
}

// disconnected waits until the broker has done all that the end of a
// connection makes it do, and returns the disconnect reason.
func (c *cloud) disconnected(t testing.TB, clientID string) string {
	t.Helper()
	return c.events.await(t, 1, func(e iot.Event) bool { return e.Kind == iot.Disconnected && e.ClientID == clientID }).Detail
}

func (c *cloud) refusal(t testing.TB) string {
	t.Helper()
	return c.events.await(t, 1, func(e iot.Event) bool { return e.Kind == iot.Refused }).Detail
}

func isWill(e iot.Event) bool { return e.Kind == iot.Published && e.Message.Will }

func publishedOn(topic string) func(iot.Event) bool {
	return func(e iot.Event) bool { return e.Kind == iot.Published && e.Message.Topic == topic }
}

// A recorder keeps the events of the broker and the rules engine.
type recorder struct{ *iot.Recorder }

func newRecorder() recorder { return recorder{iot.NewRecorder()} }

// await returns the nth matching event, which may have happened already.
func (r recorder) await(t testing.TB, n int, match func(iot.Event) bool) (e iot.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	next := 0
	for ; n > 0; n-- {
		var err error
		if e, next, err = r.Await(ctx, next, match); err != nil {
			t.Fatalf("%d more events of a kind did not come; there were:\n%s", n, r)
		}
	}
	return e
}

func (r recorder) String() string {
	var b strings.Builder
	for _, e := range r.Events() {
		fmt.Fprintln(&b, e.Kind, e.ClientID, e.Rule, e.Detail)
	}
	return b.String()
}

// addStatement adds a statement to the IoT policy.
func addStatement(t testing.TB, statement object) func(template) {
	return func(tm template) {
		t.Helper()
		policy := tm.properties(t, "AWS::IoT::Policy")["PolicyDocument"].(object)
		policy["Statement"] = append(policy["Statement"].([]any), statement)
	}
}

func topics(seen []brokertest.Seen) string {
	var names []string
	for _, s := range seen {
		names = append(names, s.Topic)
	}
	return strings.Join(names, " ")
}

// wait returns what a channel brings.
func wait[T any](t testing.TB, c <-chan T, otherwise string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal(otherwise)
		panic("not reached")
	}
}
