package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/keypair"
	"lastwill/internal/leftovers"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/mail"
	"lastwill/internal/page"
	localpage "lastwill/internal/page/local"
	"lastwill/internal/will"
)

const demoUsage = `lwt demo deploys the stack on this machine, loses a device and shows the e-mail.

Usage: lwt demo [-json | -keep]

Run it in the project's folder, after npm ci. It needs no AWS account and touches
none: everything happens on the loopback interface and is gone afterwards.

  -json    print one JSON object instead of the story
  -keep    leave the stack up, with the page that shows it, until Ctrl-C

Exit codes: 0 everything was observed, 1 something was not, 2 wrong usage.
`

const (
	demoEmail = "operator@example.com"
	// patience is how long one thing may take to happen before it counts as missing.
	patience = 15 * time.Second
)

func runDemo(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt demo", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "")
	keep := flags.Bool("keep", false, "")
	if err := cli.Parse(flags, args, s.Out, demoUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return cli.WithHint(cli.Usagef("unexpected argument %q", flags.Arg(0)), "lwt demo -h shows the flags")
	}
	if *keep && *asJSON {
		return cli.WithHint(cli.Usagef("-keep waits for you, -json is for scripts"), "give one of them")
	}
	work, err := os.MkdirTemp("", "lastwill-demo-")
	if err != nil {
		return err
	}
	d := &demo{work: work, user: api.NewUser(), keep: *keep, events: iot.NewRecorder(), story: newStory(s.Out, *asJSON)}
	err = d.run(ctx)
	err = errors.Join(err, d.close(), os.RemoveAll(work))
	return d.story.end(err)
}

// A demo is one run of the scenario, from the CDK app to the empty account.
type demo struct {
	work   string // a folder of its own, removed at the end
	keep   bool
	events *iot.Recorder
	seen   int // events that await has passed
	story  *story

	user   api.User // nobody else's on this machine
	server *localaws.Server
	before []string // what bootstrapping made
	stack  *cloudformation.Stack
	config device.Config
	device *device.Device
	mails  int // seen so far
}

// A step is something that must happen; look says where to look if it does not.
type step struct {
	name string
	run  func(context.Context) (detail string, err error)
	look string
}

// steps are those of the story, in its order.
func (d *demo) steps() []step {
	return []step{
		{"synthesize", d.synthesize, "npx cdk synth -c email=" + demoEmail + " shows the whole output"},
		{"start", d.start, "the local endpoint opens free ports on 127.0.0.1: is something refusing that?"},
		{"bootstrap", d.bootstrap, "internal/localaws/resources has the resource types that cdk bootstrap deploys"},
		{"deploy", d.deploy, "the output names the resource; infra/monitoring and constructs define it, internal/localaws/resources creates it"},
		{"confirm", d.confirm, "internal/localaws/sns sends the confirmation mail and serves its link"},
		{"connect", d.connect, "the error has the broker's answer; the stack's IoT policy is in constructs/device"},
		{"vanish", d.vanish, "the timeline shows how far it came: constructs/alert has the rule, its actions and their role, internal/localaws/iot runs them"},
		{"disconnect", d.disconnect, "internal/localaws/iot/connection.go discards the will after a client-initiated disconnect"},
		{"destroy", d.destroy, "the reason names what is left; internal/localaws/resources deletes it"},
	}
}

func (d *demo) run(ctx context.Context) error {
	for _, step := range d.steps() {
		if step.name == "destroy" && d.keep {
			d.story.kept(d.server.URL() + page.Root)
			<-ctx.Done()
			// It is over, and what was made is still to be removed.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			ctx = last
		}
		started := time.Now()
		d.story.begin(step.name)
		detail, err := step.run(ctx)
		d.story.done(step.name, detail, time.Since(started), err)
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("interrupted in step %q", step.name)
		}
		if err != nil {
			return cli.WithHint(fmt.Errorf("step %q did not happen: %w", step.name, err), "%s", step.look)
		}
	}
	return nil
}

func (d *demo) close() error {
	if d.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return d.server.Close(ctx)
}

func (d *demo) certs() string    { return filepath.Join(d.work, "certs") }
func (d *demo) assembly() string { return filepath.Join(d.work, "cdk.out") }

// synthesize runs the real app, with a key pair of its own.
func (d *demo) synthesize(ctx context.Context) (string, error) {
	if _, err := keypair.Ensure(d.certs(), will.ThingName, true); err != nil {
		return "", err
	}
	return "the CDK app, with the pinned CDK CLI", d.cdk(ctx, "synth", "--quiet", "--output", d.assembly(),
		"--context", "email="+demoEmail, "--context", "certs="+d.certs())
}

// cdk runs the real CDK CLI, which sees the local endpoint and no other account.
func (d *demo) cdk(ctx context.Context, args ...string) error {
	program := filepath.Join("node_modules", ".bin", "cdk")
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return errors.New("the CDK CLI is not installed here: run npm ci in the project's folder (make demo does)")
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append(args, "--no-notices")...)
	cmd.Env = append(withoutAWS(os.Environ()), "CDK_VALIDATION=false", "CDK_DISABLE_CLI_TELEMETRY=1")
	if d.server != nil {
		for _, v := range endpointVariables(d.server.Status(), d.user) {
			cmd.Env = append(cmd.Env, v.name+"="+v.value)
		}
	}
	cmd.Stdout, cmd.Stderr = &output, &output
	// The CLI gets SIGINT of the terminal itself; after it, it may clean up.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = patience
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cdk %s: %w\n%s", args[0], err, strings.TrimSpace(output.String()))
	}
	return nil
}

// withoutAWS keeps the user's own account out of it: the CLI would look it up.
func withoutAWS(environ []string) []string {
	kept := []string{
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "AWS_") && !strings.HasPrefix(variable, "CDK_DEFAULT_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

func (d *demo) start(context.Context) (string, error) {
	shown := localpage.New(d.certs())
	server, err := localaws.Start(localaws.Options{
		User:          d.user,
		ObserveIoT:    func(e iot.Event) { d.events.Record(e); shown.ObserveIoT(e) },
		ObserveStacks: shown.ObserveStacks,
		Page:          shown.Serve,
		Log:           slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return "", err
	}
	d.server = server
	return fmt.Sprintf("MQTT broker %s with mutual TLS, mailbox %s", server.IoT.Address(), server.Mailbox.Addr()), nil
}

func (d *demo) bootstrap(ctx context.Context) (string, error) {
	status := d.server.Status()
	if err := d.cdk(ctx, "bootstrap", "--app", d.assembly(), "aws://"+status.Account+"/"+status.Region); err != nil {
		return "", err
	}
	d.before = d.server.Leftovers()
	return "npx cdk bootstrap, on " + status.Endpoint, nil
}

// deploy believes the API, not the CLI's check mark.
func (d *demo) deploy(ctx context.Context) (string, error) {
	if err := d.cdk(ctx, "deploy", "--app", d.assembly(), "--require-approval", "never"); err != nil {
		return "", err
	}
	stack, err := d.server.CloudFormation.Describe(will.NewNames("").Stack)
	if err != nil {
		return "", err
	}
	if stack.Status != "CREATE_COMPLETE" {
		return "", fmt.Errorf("stack %s is %s: %s", stack.Name, stack.Status, stack.StatusReason)
	}
	d.stack = stack
	return fmt.Sprintf("npx cdk deploy: stack %s, %d resources", stack.Name, len(stack.Resources)), nil
}

// confirmLink is in the mail that SNS sends to a new subscriber.
var confirmLink = regexp.MustCompile(`https?://[^\s<>"]+/_lwt/sns/confirm[^\s<>"]*`)

// confirm does what the owner of the address does: open the link in the mail.
func (d *demo) confirm(ctx context.Context) (string, error) {
	message, err := d.nextMail(ctx, "confirmation mail")
	if err != nil {
		return "", err
	}
	url := confirmLink.FindString(message.Body)
	if url == "" {
		return "", fmt.Errorf("the confirmation mail has no link:\n%s", message.Body)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the confirmation link answered %s", response.Status)
	}
	return message.To.Address + " followed the link in the mail", nil
}

func (d *demo) nextMail(ctx context.Context, what string) (mail.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	mails, err := d.server.Mailbox.Wait(ctx, d.mails)
	if err != nil {
		return mail.Message{}, d.missing(what)
	}
	d.mails++
	d.story.mailArrived = mails[0].Arrived
	return mail.Parse(mails[0].Raw)
}

// connect plays the device: the stack's certificate, the workstation's key.
func (d *demo) connect(ctx context.Context) (string, error) {
	thing := d.stack.Output(will.OutputThingName)
	certificate, err := d.server.IoT.DescribeCertificate(d.stack.Output(will.OutputCertificateID))
	if err != nil {
		return "", err
	}
	key, err := os.ReadFile(keypair.KeyFile(d.certs(), thing))
	if err != nil {
		return "", err
	}
	pair, err := tls.X509KeyPair([]byte(certificate.PEM), key)
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(d.server.IoT.RootCA())
	d.config = device.Config{
		Endpoint: d.server.IoT.Address(), Roots: roots, Certificate: pair, ClientID: thing,
		ConnectedTopic: d.stack.Output(will.OutputConnectedTopic),
		Will:           device.Message{Topic: d.stack.Output(will.OutputWillTopic), Payload: will.Payload(thing), QoS: will.QoS},
	}
	if d.device, err = device.Connect(ctx, d.config); err != nil {
		return "", err
	}
	if err := d.device.Announce(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s over mutual TLS, its will left with the broker, keep alive %s", thing, will.KeepAlive), nil
}

// vanish drops the device's socket, and tells what follows.
func (d *demo) vanish(ctx context.Context) (string, error) {
	announced, err := d.await(ctx, "connected message", onTopic(d.config.ConnectedTopic))
	if err != nil {
		return "", err
	}
	closed, err := d.device.Drop()
	if err != nil {
		return "", err
	}
	d.story.closedAt(closed)
	d.story.happened("connected message", announced.Time, announced.Message.Topic, announced.Message.Payload)
	d.story.happened("socket closed", closed, "no DISCONNECT was sent", nil)

	lost, err := d.await(ctx, "Will Message", onTopic(d.config.Will.Topic))
	if err != nil {
		return "", err
	}
	d.story.happened("Will Message", lost.Time, lost.Message.Topic, lost.Message.Payload)
	matched, err := d.await(ctx, "rule matched", func(e iot.Event) bool { return e.Kind == iot.Matched })
	if err != nil {
		return "", err
	}
	d.story.happened("rule matched", matched.Time, matched.Rule, nil)
	executed, err := d.await(ctx, "copy", onTopic(d.stack.Output(will.OutputExecutedTopic)))
	if err != nil {
		return "", err
	}
	d.story.happened("copy", executed.Time, executed.Message.Topic, executed.Message.Payload)
	message, err := d.nextMail(ctx, "e-mail")
	if err != nil {
		return "", err
	}
	d.story.happened("e-mail delivered", d.story.mailArrived, message.To.Address, nil)
	d.story.showMail(message)
	return "exactly one will, one copy, one e-mail", d.exactlyOne(ctx)
}

// exactlyOne makes sure that nothing came twice.
func (d *demo) exactlyOne(ctx context.Context) error {
	if err := d.server.Flush(ctx); err != nil {
		return err
	}
	counts := map[string]int{
		"Will Messages": d.events.Count(func(e iot.Event) bool { return e.Message != nil && e.Kind == iot.Published && e.Message.Will }),
		"copies":        d.events.Count(onTopic(d.stack.Output(will.OutputExecutedTopic))),
		"e-mails":       len(d.server.Mailbox.List()) - 1, // the first was the confirmation
	}
	for what, n := range counts {
		if n != 1 {
			return fmt.Errorf("there were %d %s, not one", n, what)
		}
	}
	return nil
}

// disconnect is the counter-proof: a device that says goodbye raises no alarm.
func (d *demo) disconnect(ctx context.Context) (_ string, err error) {
	if d.device, err = d.device.Reconnect(ctx); err != nil {
		return "", err
	}
	if err := d.device.Announce(ctx); err != nil {
		return "", err
	}
	if err := d.device.Disconnect(); err != nil {
		return "", err
	}
	// When the broker reports the end of a connection, its will is sent or discarded.
	_, err = d.await(ctx, "client-initiated disconnect", func(e iot.Event) bool {
		return e.Kind == iot.Disconnected && e.Detail == "CLIENT_INITIATED_DISCONNECT"
	})
	if err != nil {
		return "", err
	}
	return "the device came back and sent DISCONNECT: no will, no copy, no e-mail", d.exactlyOne(ctx)
}

func (d *demo) destroy(ctx context.Context) (string, error) {
	if err := d.cdk(ctx, "destroy", "--app", d.assembly(), "--force"); err != nil {
		return "", err
	}
	left := slices.DeleteFunc(d.server.Leftovers(), func(name string) bool { return slices.Contains(d.before, name) })
	if len(left) > 0 {
		d.story.facts.Leftovers = left
		return "", fmt.Errorf("left behind: %s", strings.Join(left, ", "))
	}
	// The endpoint has nothing more; what lwt leftovers finds by names must agree.
	endpoint := aws.Config{
		Region: localaws.Account.Region, BaseEndpoint: aws.String(d.server.URL()),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: d.user.AccessKeyID, SecretAccessKey: d.user.SecretAccessKey}, nil
		}),
	}
	items, err := leftovers.Find(ctx, leftovers.Options{AWS: endpoint})
	if err == nil && len(items) > 0 {
		err = fmt.Errorf("lwt leftovers finds %v", items)
	}
	if err != nil {
		return "", err
	}
	return "npx cdk destroy: no thing, certificate, policy, rule, role, topic, subscription, log group, alarm or dashboard is left", nil
}

func (d *demo) await(ctx context.Context, what string, match func(iot.Event) bool) (iot.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e, next, err := d.events.Await(ctx, d.seen, match)
	d.seen = next
	if err != nil {
		return e, d.missing(what)
	}
	return e, nil
}

// missing is the error for what did not come, with what broker and rules engine
// refused meanwhile.
func (d *demo) missing(what string) error {
	return fmt.Errorf("%s did not come within %s%s", what, patience, complaints(d.events.Events()))
}

func onTopic(topic string) func(iot.Event) bool {
	return func(e iot.Event) bool { return e.Kind == iot.Published && e.Message.Topic == topic }
}

// printJSON is how commands print a result for scripts.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // commands have && and >
	return encoder.Encode(v)
}
