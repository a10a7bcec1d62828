package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/deployed"
	"lastwill/internal/device"
	"lastwill/internal/payload"
	"lastwill/internal/watch"
	"lastwill/internal/will"
)

const watchUsage = `lwt watch prints the messages of MQTT topics as they come, over WebSocket with your
AWS credentials: it needs no certificate, and leaves no will.

Usage: lwt watch [FLAGS] [TOPIC...]
       lwt watch -web [FLAGS]        serve a page of a stack on this machine instead:
                                     what happens to its devices, live, an MQTT
                                     client, the stack, and a place to try its rule

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
  -addr HOST:PORT     where -web serves the page; default 127.0.0.1:4567, port 0
                      takes a free one. The loopback interface only

A lost connection is made again, and standard error says so: what was published
meanwhile is lost. Your IAM policy must allow iot:Connect on client/lwt-watch-*,
iot:Subscribe on the topic filters, iot:Receive on the topics, and without -e
iot:DescribeEndpoint.

For -web it must also allow cloudformation:DescribeStacks. What else the page shows
it asks for with cloudformation:ListStackResources and DescribeStackEvents,
iot:GetTopicRule, GetPolicy, GetConnection (on client/*), Publish and RetainPublish,
iot:Subscribe and Receive on $aws/events/presence/*, iam:GetRole, ListRolePolicies
and GetRolePolicy, sns:GetTopicAttributes and ListSubscriptionsByTopic,
logs:FilterLogEvents, and cloudwatch:GetMetricData. Without one of these the page
lacks that part, and says so.

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
	web := flags.Bool("web", false, "")
	address := flags.String("addr", "", "")
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
	switch {
	case *web && (*limit > 0 || *asJSON || flags.NArg() > 0):
		return cli.WithHint(cli.Usagef("-web serves a page, and topics, -n and -json are for lines of text"), "lwt watch -web -stack NAME")
	case !*web && *address != "":
		return cli.Usagef("-addr is where -web serves the page")
	case *web:
		return watchWeb(ctx, cmp.Or(*address, defaultWeb), *duration, stack, broker, s)
	}
	for _, filter := range flags.Args() {
		if err := will.CheckTopicFilter(filter); err != nil {
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

// A watching prints the messages of topic filters.
type watching struct {
	watcher *watch.Watcher
	filters []string
	// limit is how many messages are wanted; 0 is any number.
	limit  int
	out    io.Writer
	log    io.Writer
	format func(time.Time, payload.Message) string

	came int
	full chan struct{} // closed at the limit
}

func newWatch(ctx context.Context, broker brokerFlags, stack stackFlags, filters []string) (*watching, error) {
	roots, err := broker.roots()
	if err != nil {
		return nil, err
	}
	aws, err := awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	if len(filters) == 0 {
		names := will.NewNames(stack.environment)
		filters = []string{names.WillTopic, names.ConnectedTopic, names.ExecutedTopic}
	}
	if stack.stack != "" {
		target, err := deployed.Target(ctx, aws, stack.stack)
		if err != nil {
			return nil, err
		}
		filters = []string{target.WillTopic, target.ConnectedTopic, target.ExecutedTopic}
	}
	endpoint, err := broker.find(ctx, aws)
	if err != nil {
		return nil, err
	}
	w := &watching{filters: filters, full: make(chan struct{})}
	w.watcher = watch.New(aws, endpoint, roots, filters, w.receive)
	return w, nil
}

// receive gets one message after the other; those beyond the limit are not wanted.
func (w *watching) receive(m device.Message) {
	if w.limit > 0 && w.came == w.limit {
		return
	}
	fmt.Fprint(w.out, w.format(time.Now(), payload.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain}))
	if w.came++; w.came == w.limit {
		close(w.full)
	}
}

func (w *watching) run(ctx context.Context, duration time.Duration) error {
	d, err := w.watcher.Connect(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.log, "watching %s at %s; Ctrl-C ends\n", strings.Join(w.filters, ", "), d.Addr())
	limited, cancel := limited(ctx, duration)
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
		if d = w.watcher.Again(limited, d, func(err error) { fmt.Fprintln(w.log, err) }); d != nil {
			fmt.Fprintln(w.log, "connected again; what was published meanwhile is lost")
			continue
		}
		return w.verdict(ctx, duration)
	}
}

// limited is a context that ends after a time, if that is more than 0.
func limited(ctx context.Context, duration time.Duration) (context.Context, context.CancelFunc) {
	if duration > 0 {
		return context.WithTimeout(ctx, duration)
	}
	return ctx, func() {}
}

// verdict is how a watch ends that nothing but its time or its user has ended. The
// connection has ended, so that nothing is received any more.
func (w *watching) verdict(ctx context.Context, duration time.Duration) error {
	if w.came >= w.limit {
		return nil
	}
	until := "before it was interrupted"
	if ctx.Err() == nil {
		until = "within " + duration.String()
	}
	return fmt.Errorf("%d of %d messages came %s", w.came, w.limit, until)
}
