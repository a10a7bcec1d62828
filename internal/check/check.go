// Package check is the end-to-end check of a deployed stack. A device of the
// check's own connects and vanishes, and each link of the alert is watched: the
// Will Message, the rule's copy of it, the message to the SNS topic. Then the
// device disconnects properly, and nothing may follow. Whoever is subscribed to
// the SNS topic gets the alerts of the check, too: one for each way to vanish.
//
// The check needs AWS credentials that may
//   - cloudformation:DescribeStacks, to read the target from a stack;
//   - iot:DescribeEndpoint, CreateThing, DeleteThing, CreateCertificateFromCsr,
//     UpdateCertificate, DeleteCertificate, AttachPolicy, DetachPolicy,
//     AttachThingPrincipal, DetachThingPrincipal, GetTopicRule;
//   - iot:ListThingPrincipals and sqs:GetQueueUrl, to remove what a check left that was
//     killed long ago;
//   - iot:Connect, Subscribe and Receive, as the check watches the MQTT topics with
//     them, and DeleteConnection for the mode Kill;
//   - sqs:CreateQueue, GetQueueAttributes, ReceiveMessage, DeleteQueue and
//     sns:Subscribe, Unsubscribe, ListSubscriptionsByTopic;
//   - logs:FilterLogEvents on the log group of failed actions.
//
// Everything that it makes has a name that begins with will.NewCheckPrefix, but the
// certificate: it has no name, and is attached to the thing.
package check

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/will"
)

// MaxDuration bounds a check, so that another one knows what a killed check left
// from what a running one needs.
const MaxDuration = 30 * time.Minute

// Options of a check.
type Options struct {
	// AWS has credentials and region, and the endpoint where it is not AWS's own.
	// Required.
	AWS aws.Config
	// Target is what to check; deployed.Target reads it from a stack. Required.
	Target will.Target
	// Modes are the ways to vanish, in order, each once. Default: device.Drop.
	Modes []device.End
	// WillQoS is that of the Will Message, 0 or 1. Default: 0.
	WillQoS byte
	// Endpoint is the message broker. Default: the account's.
	Endpoint string
	// Roots are the authorities that may vouch for the broker. Default: the system's.
	Roots *x509.CertPool
	// Patience is how long each link may take. Default: 30 s.
	Patience time.Duration
	// Quiet is for how long nothing may follow a proper disconnect. Default: four
	// times what the slowest link took, but at least a second.
	Quiet time.Duration
	// Observe is told each step when it is done. Default: nobody is.
	Observe func(Step)
}

func (o Options) withDefaults() Options {
	if len(o.Modes) == 0 {
		o.Modes = []device.End{device.Drop}
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Observe == nil {
		o.Observe = func(Step) {}
	}
	return o
}

// Validate says what keeps Run from using the options.
func (o Options) Validate() error {
	for _, m := range o.Modes {
		if _, err := ParseMode(string(m)); err != nil {
			return err
		}
	}
	if err := UniqueModes(o.Modes); err != nil {
		return err
	}
	if o.WillQoS > 1 {
		return fmt.Errorf("QoS %d of the will: AWS IoT Core takes 0 or 1", o.WillQoS)
	}
	if o.Patience < 0 || o.Quiet < 0 {
		return errors.New("times to wait cannot be negative")
	}
	return o.Target.Check()
}

// A Link is a part of the way from the device to whoever is subscribed.
type Link string

// Links, in the order in which an alert passes them.
const (
	// Connect: the message broker lets the device in, with its will.
	Connect Link = "connect"
	// Announce: the device publishes its connected message.
	Announce Link = "announce"
	// Will: the broker publishes the will of a device that vanished.
	Will Link = "will"
	// Rule: the topic rule selects the will.
	Rule Link = "rule"
	// Republish: the rule copies the will to the executed topic.
	Republish Link = "republish"
	// SNS: the rule sends the will to the SNS topic.
	SNS Link = "sns"
	// Silence: nothing follows a proper disconnect.
	Silence Link = "silence"
)

// Broken is the first link that broke, and why.
type Broken struct {
	Link Link `json:"link"`
	// Mode in which it broke; device.Disconnect after a proper disconnect.
	Mode   device.End `json:"mode"`
	Reason string     `json:"reason"`
	// Hint is what to do about it; empty where the check does not know.
	Hint string `json:"hint,omitempty"`
}

func (b *Broken) Error() string { return fmt.Sprintf("%s is broken: %s", b.Link, b.Reason) }

// A Step is something that the check did or saw.
type Step struct {
	// Mode that the step belongs to; empty before the first and after the last.
	Mode device.End `json:"mode,omitempty"`
	// Name of the step: a Link that was seen to hold, or what was done.
	Name   string `json:"name"`
	Detail string `json:"detail"`
	// Milliseconds that the step took; for the links Will, Republish and SNS since
	// the device vanished.
	Milliseconds float64 `json:"ms"`
}

// A Report is what a check found.
type Report struct {
	Target will.Target `json:"target"`
	// Name of the check: that of its thing, its queue and its certificate.
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
	Passed   bool   `json:"passed"`
	// Broken is nil if no link broke.
	Broken   *Broken  `json:"broken,omitempty"`
	Steps    []Step   `json:"steps"`
	Warnings []string `json:"warnings,omitempty"`
	// Removed is what the check made and removed again.
	Removed []string `json:"removed"`
	// Left is what it could not remove.
	Left []Leftover `json:"left,omitempty"`
}

// A Leftover is something that the check could not remove.
type Leftover struct {
	What    string `json:"what"`
	Reason  string `json:"reason"`
	Command string `json:"command"` // that removes it
}

// Run checks a target and removes all that it made, also when ctx ends before.
// Its error says why the check could not be carried out, or that something is
// left. A broken link is in the report, and no error.
func Run(ctx context.Context, o Options) (*Report, error) {
	o = o.withDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, MaxDuration, fmt.Errorf("it took longer than %s", MaxDuration))
	defer cancel()
	c := newCheck(o)
	err := c.run(ctx)
	if broken, ok := errors.AsType[*Broken](err); ok {
		c.report.Broken, err = broken, nil
	} else if err != nil && ctx.Err() != nil {
		err = interrupted(ctx)
	}
	c.report.Passed = err == nil && c.report.Broken == nil
	return c.report, errors.Join(err, c.cleanUp(ctx))
}

// A check is one run.
type check struct {
	Options
	clients
	report  *Report
	name    string
	seen    *sightings
	watcher *device.Device
	undo    []undo
	// close ends what watches.
	close []func()
	// queued says that the SNS topic is watched through a queue.
	queued     bool
	identified device.Config
	// next is the first moment for another CONNECT with the same client ID.
	next time.Time
	// slowest link so far.
	slowest time.Duration
}

func newCheck(o Options) *check {
	name := will.NewCheckName(o.Target.Thing)
	return &check{
		Options: o, clients: newClients(o.AWS), name: name, seen: newSightings(name),
		report: &Report{Target: o.Target, Name: name},
	}
}

func (c *check) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{c.sweepAbandoned, c.findEndpoint, c.watchSNS, c.identify} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, mode := range c.Modes {
		if err := c.lose(ctx, mode); err != nil {
			return err
		}
	}
	return c.leave(ctx)
}

// lose lets the device vanish and follows the alert.
func (c *check) lose(ctx context.Context, mode device.End) error {
	d, err := c.connect(ctx, mode)
	if err != nil {
		return err
	}
	lost, err := c.vanish(ctx, d, mode)
	if err != nil {
		return err
	}
	if err := c.follow(ctx, lost); err != nil {
		return err
	}
	return lost.settle()
}

// connect connects the device, and before anything can happen the watcher.
func (c *check) connect(ctx context.Context, mode device.End) (*device.Device, error) {
	d, err := c.dial(ctx, mode)
	if err != nil {
		return nil, err
	}
	if err := c.watchMQTT(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := d.Announce(ctx); err != nil {
		return nil, c.broken(ctx, Announce, mode, err)
	}
	c.step(mode, string(Announce), c.Target.ConnectedTopic, time.Since(began))
	return d, nil
}

// dial connects, again and again while the refusal may be that of an identity
// that has not spread yet.
func (c *check) dial(ctx context.Context, mode device.End) (*device.Device, error) {
	config := c.identified
	config.Will.Payload = will.Payload(c.token(mode))
	end := time.Now().Add(c.Patience)
	for {
		if err := wait(ctx, time.Until(c.next)); err != nil {
			return nil, err
		}
		began := time.Now()
		d, err := device.Connect(ctx, config)
		c.next = time.Now().Add(device.ConnectInterval) // the broker counts from the CONNECT, which came later than began
		if err == nil {
			c.step(mode, string(Connect), c.name+" over mutual TLS, its will left with the broker", time.Since(began))
			c.close = append(c.close, func() { _ = d.Disconnect() }) // unless it has ended
			return d, nil
		}
		if !mayBeNew(err) || c.next.After(end) {
			return nil, c.broken(ctx, Connect, mode, err)
		}
	}
}

// mayBeNew reports whether a refusal may be that of an identity which not all of
// AWS IoT Core knows yet.
func mayBeNew(err error) bool {
	refused, ok := errors.AsType[*device.Error](err)
	return ok && slices.Contains([]device.Reason{device.ConnectRefused, device.ConnectClosed, device.CertificateRefused}, refused.Reason)
}

// follow waits for each link.
func (c *check) follow(ctx context.Context, lost *loss) error {
	seen, err := c.await(ctx, Will, lost.token, lost.due.Add(c.Patience))
	if err != nil {
		return err
	}
	if seen == nil {
		return c.noWill(ctx, lost)
	}
	c.linked(lost, Will, c.Target.WillTopic, seen.at)
	end := seen.at.Add(c.Patience)
	copied, err := c.await(ctx, Republish, lost.token, end)
	if err != nil {
		return err
	}
	var sent *sighting
	if c.queued {
		if sent, err = c.await(ctx, SNS, lost.token, end); err != nil {
			return err
		}
	}
	if copied != nil {
		c.linked(lost, Republish, c.Target.ExecutedTopic, copied.at)
	}
	if sent != nil {
		c.linked(lost, SNS, "the queue got it from "+c.Target.SNSTopic, sent.at)
	}
	if copied == nil || sent == nil {
		return c.diagnose(ctx, lost, seen, copied != nil, sent != nil)
	}
	return nil
}

// linked is the step of a link that was seen to hold.
func (c *check) linked(lost *loss, link Link, detail string, at time.Time) {
	c.slowest = max(c.slowest, at.Sub(lost.due))
	c.step(lost.mode, string(link), detail, at.Sub(lost.at))
}

// leave is the counter-proof: after a proper disconnect nothing follows.
func (c *check) leave(ctx context.Context) error {
	d, err := c.connect(ctx, device.Disconnect)
	if err != nil {
		return err
	}
	if err := d.Disconnect(); err != nil {
		return c.broken(ctx, Connect, device.Disconnect, err)
	}
	quiet := c.Quiet
	if quiet == 0 {
		quiet = max(4*c.slowest, time.Second)
	}
	came, err := c.await(ctx, "", c.token(device.Disconnect), time.Now().Add(quiet))
	if err != nil {
		return err
	}
	if came == nil { // nor may that of who took over have come meanwhile
		came = c.seen.find("", c.token(successor))
	}
	if came != nil {
		return &Broken{Link: Silence, Mode: device.Disconnect, Reason: fmt.Sprintf("there was an alert (%s) although the device sent DISCONNECT", came.link)}
	}
	c.step(device.Disconnect, string(Silence), "DISCONNECT was sent; no will, no copy, no message to the SNS topic within "+quiet.Round(time.Millisecond).String(), quiet)
	return nil
}

// token is what a will's payload has in place of the device's name, so that each
// loss is known by it.
func (c *check) token(mode device.End) string { return c.name + "-" + string(mode) }

// broken is the error of a link, unless the check was interrupted.
func (c *check) broken(ctx context.Context, link Link, mode device.End, err error) error {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	return &Broken{Link: link, Mode: mode, Reason: err.Error(), Hint: cli.Hint(err)}
}

func interrupted(ctx context.Context) error {
	return fmt.Errorf("the check was interrupted: %w", context.Cause(ctx))
}

func (c *check) step(mode device.End, name, detail string, took time.Duration) {
	s := Step{Mode: mode, Name: name, Detail: detail, Milliseconds: float64(took.Microseconds()) / 1000}
	c.report.Steps = append(c.report.Steps, s)
	c.Observe(s)
}

func (c *check) warn(format string, args ...any) {
	c.report.Warnings = append(c.report.Warnings, fmt.Sprintf(format, args...))
}

// wait waits for a time, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return interrupted(ctx)
	}
}
