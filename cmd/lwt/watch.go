package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"lastwill/internal/check"
	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/payload"
	"lastwill/internal/will"
)

const watchUsage = `lwt watch prints the messages of MQTT topics as they come, over WebSocket with your
AWS credentials: it needs no certificate, and leaves no will.

Usage: lwt watch [FLAGS] [TOPIC...]

TOPIC is a topic filter: + stands for one level, # for all that follow. Default:
Will Topic, connected topic and executed topic of the environment.

  -environment NAME   the environment; default: none, the scenario's topics
  -stack NAME         read the topics from the outputs of this stack
  -n N                end after N messages
  -for TIME           end after a time, such as 30s
  -json               print one JSON object a line: time, topic, qos, retain, and
                      payload (JSON), text or base64
  -e HOST[:PORT]      the message broker; default: the account's
  -r FILE             CA file that vouches for it; default: $LWT_ROOT_CA, else the
                      system's CAs

A lost connection is made again, and standard error says so: what was published
meanwhile is lost. Your IAM policy must allow iot:Connect on client/lwt-watch-*,
iot:Subscribe on the topic filters and iot:Receive on the topics.

Exit codes: 0 the messages of -n came, or the time of -for is over, or Ctrl-C;
1 no connection, or less than -n messages came; 2 wrong usage.
`

func runWatch(ctx context.Context, args []string, s cli.Streams) error {
	flags := flag.NewFlagSet("lwt watch", flag.ContinueOnError)
	var stack stackFlags
	var broker brokerFlags
	stack.add(flags)
	broker.add(flags)
	limit := flags.Int("n", 0, "")
	duration := flags.Duration("for", 0, "")
	asJSON := flags.Bool("json", false, "")
	if err := cli.Parse(flags, args, s.Out, watchUsage); err != nil {
		return err
	}
	if err := stack.validate(); err != nil {
		return err
	}
	if *limit < 0 || *duration < 0 {
		return cli.Usagef("-n and -for cannot be negative")
	}
	if stack != (stackFlags{}) && flags.NArg() > 0 {
		return cli.WithHint(cli.Usagef("topics are given, and -stack or -environment name others"), "give one of them")
	}
	for _, filter := range flags.Args() {
		if err := checkFilter(filter); err != nil {
			return cli.Usagef("%w", err)
		}
	}
	w, err := newWatch(ctx, broker, stack, flags.Args())
	if err != nil {
		return err
	}
	w.limit, w.out, w.log = *limit, s.Out, s.Err
	w.format = formatFor(s.Out, *asJSON)
	return w.run(ctx, *duration)
}

// formatFor chooses the form of messages: JSON lines for scripts, indented JSON
// for people at a terminal, one line a message for all others.
func formatFor(out io.Writer, asJSON bool) func(time.Time, payload.Message) string {
	switch {
	case asJSON:
		return payload.JSONLine
	case isTerminal(out):
		return payload.Paragraph
	}
	return payload.Line
}

// checkFilter says what keeps AWS IoT Core from taking a topic filter.
func checkFilter(filter string) error {
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if strings.Contains(level, "+") && level != "+" || strings.Contains(level, "#") && (level != "#" || i < len(levels)-1) {
			return fmt.Errorf("topic filter %q: + must be a whole level, # the whole last one", filter)
		}
	}
	switch {
	case filter == "":
		return errors.New("a topic filter is empty: give a topic such as /last/will/topic")
	case len(filter) > will.MaxTopicBytes || len(levels)-1 > will.MaxTopicSlashes:
		return fmt.Errorf("topic filter %q: AWS IoT Core takes at most %d bytes and %d slashes", filter, will.MaxTopicBytes, will.MaxTopicSlashes)
	}
	return nil
}

// A watch is a connection to the message broker, made again when it is lost.
type watch struct {
	device  device.Config
	filters []string
	// limit is how many messages are wanted; 0 is any number.
	limit  int
	out    io.Writer
	log    io.Writer
	format func(time.Time, payload.Message) string

	came int
	full chan struct{} // closed at the limit
}

func newWatch(ctx context.Context, broker brokerFlags, stack stackFlags, filters []string) (*watch, error) {
	roots, err := broker.roots()
	if err != nil {
		return nil, err
	}
	aws, err := awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	if len(filters) == 0 {
		names := will.NamesFor(stack.environment)
		filters = []string{names.WillTopic, names.ConnectedTopic, names.ExecutedTopic}
	}
	if stack.stack != "" {
		target, err := check.TargetOf(ctx, aws, stack.stack)
		if err != nil {
			return nil, err
		}
		filters = []string{target.WillTopic, target.ConnectedTopic, target.ExecutedTopic}
	}
	endpoint, err := broker.find(ctx, aws)
	if err != nil {
		return nil, err
	}
	w := &watch{filters: filters, full: make(chan struct{})}
	w.device = device.Config{
		Endpoint: endpoint, Roots: roots, Credentials: aws.Credentials, Region: aws.Region, NoWill: true,
		ClientID: "lwt-watch-" + strings.ToLower(rand.Text()[:10]), Receive: w.receive,
	}
	return w, nil
}

// receive gets one message after the other; those beyond the limit are not wanted.
func (w *watch) receive(m device.Message) {
	if w.limit > 0 && w.came == w.limit {
		return
	}
	fmt.Fprint(w.out, w.format(time.Now(), payload.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain}))
	if w.came++; w.came == w.limit {
		close(w.full)
	}
}

func (w *watch) run(ctx context.Context, duration time.Duration) error {
	d, err := w.connect(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.log, "watching %s at %s; Ctrl-C ends\n", strings.Join(w.filters, ", "), d.Addr())
	limited, cancel := ctx, context.CancelFunc(func() {})
	if duration > 0 {
		limited, cancel = context.WithTimeout(ctx, duration)
	}
	defer cancel()
	for {
		select {
		case <-w.full:
			_ = d.Disconnect() // what was asked for is there
			return nil
		case <-limited.Done():
			_ = d.Disconnect() // it may have been lost just now
			return w.verdict(ctx, duration)
		case <-d.Done():
		}
		fmt.Fprintf(w.log, "%v\nconnecting again\n", d.Err())
		if d = w.again(limited, d.NextConnect()); d != nil {
			fmt.Fprintln(w.log, "connected again; what was published meanwhile is lost")
			continue
		}
		return w.verdict(ctx, duration)
	}
}

// verdict is how a watch ends that nothing but its time or its user has ended. The
// connection has ended, so that nothing is received any more.
func (w *watch) verdict(ctx context.Context, duration time.Duration) error {
	if w.came >= w.limit {
		return nil
	}
	until := "before it was interrupted"
	if ctx.Err() == nil {
		until = "within " + duration.String()
	}
	return fmt.Errorf("%d of %d messages came %s", w.came, w.limit, until)
}

func (w *watch) connect(ctx context.Context) (*device.Device, error) {
	d, err := device.Connect(ctx, w.device)
	if err != nil {
		return nil, err
	}
	for _, filter := range w.filters {
		if err := d.Subscribe(ctx, filter); err != nil {
			_ = d.Disconnect() // it may have been the broker's answer
			return nil, err
		}
	}
	return d, nil
}

// longestPause is between two attempts to connect again.
const longestPause = 30 * time.Second

// again connects again, from a moment on and until ctx ends; then it returns nil.
func (w *watch) again(ctx context.Context, from time.Time) *device.Device {
	for pause := time.Until(from); ; pause = min(max(2*pause, time.Second), longestPause) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		d, err := w.connect(ctx)
		if err == nil {
			return d
		}
		if ctx.Err() == nil {
			fmt.Fprintln(w.log, err)
		}
	}
}
