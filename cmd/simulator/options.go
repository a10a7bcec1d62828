package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/will"
)

// Modes, as in the sample.
const (
	modeBoth      = "both"
	modePublish   = "publish"
	modeSubscribe = "subscribe"
)

// Versions of MQTT, as -mqtt names them.
const (
	mqtt311 = "3.1.1"
	mqtt5   = "5"
)

const usage = `simulator is a device that vanishes: it connects with a Will Message, sleeps,
then ends in a way of your choice, by default without an MQTT DISCONNECT, so
that the broker publishes the will.

Usage:
  simulator -e ENDPOINT -r AmazonRootCA1.pem -c CERT.pem.crt -k PRIVATE.pem.key \
            -id lwtThing -t /lwt/connected/topic -m publish

  simulator fleet ...       many devices: simulator fleet -h
  simulator version         print module version, commit and Go release of this program

Flags:
  -e,  --endpoint HOST    AWS IoT endpoint, HOST or HOST:PORT (default: asked for
                          with the AWS credentials, iot:DescribeEndpoint)
  -r,  --rootCA FILE      CA that vouches for the endpoint (default: $LWT_ROOT_CA, else
                          the system's CAs)
  -c,  --cert FILE        device certificate; required without -w
  -k,  --key FILE         private key of the certificate; required without -w
  -p,  --port PORT        port (default: 8883; with -w 443). Port 443 without -w is
                          mutual TLS with ALPN
  -w,  --websocket        MQTT over WebSocket, with the AWS credentials of the
                          environment, a profile, SSO, a container or an instance
  -id, --clientId ID      client ID; on AWS the thing's name (default: basicPubSub)
  -t,  --topic TOPIC      topic of the connected message (default: sdk/test/Python)
  -m,  --mode MODE        publish: send the connected message; subscribe: print what
                          arrives on the topic; both: first subscribe, then publish
                          (default: both)
  -M,  --message TEXT     text of the connected message
                          (default: AWS IoT Thing connected message to IoT Core)
  -will-topic TOPIC       topic of the Will Message (default: /last/will/topic)
  -will-qos QOS           QoS of the Will Message, 0 or 1 (default: 0)
  -keep-alive SECONDS     keep alive, 30 to 1200; the broker notices silence after
                          1.5 times that, a closed socket at once (default: 30)
  -sleep DURATION         time between the connected message and the end, such as
                          10s or 5m (default: 60s)
  -end MODE               how the device ends:
                            disconnect  MQTT DISCONNECT: no will
                            drop        closes the socket without: the will at once
                                        (default)
                            reset       the same with a TCP reset
                            freeze      falls silent with the socket open: the will
                                        after 1.5 times the keep alive
                            takeover    a second connection with the same client ID:
                                        the will of the first, the second lives
                            kill        DeleteConnection, with the AWS credentials
  -on-interrupt MODE      how SIGINT (Ctrl-C) or SIGTERM ends the device meanwhile:
                          disconnect, drop or reset (default: disconnect, no will)
  -prevent-will           with -end kill: tell the broker to publish no will
  -flap N                 before that, drop and come back N times
  -within DURATION        the time for -flap; AWS IoT Core takes one connection a
                          second for a client ID (default: 60s)
  -mqtt VERSION           3.1.1 or 5 (default: 3.1.1)
  -user-property N=V      with -mqtt 5, repeatable: user property of CONNECT, the
                          connected message and the Will Message
  -will-property N=V      with -mqtt 5, repeatable: payload-format-indicator,
                          content-type, response-topic, correlation-data or
                          message-expiry-interval of the Will Message
  -alpn                   mutual TLS with ALPN on another port than 443
  -json                   print one JSON object a line instead of text; the object
                          with the event "dropped" has the moment when the socket
                          closed; the last one of a failure has error and hint

HTTPS_PROXY and NO_PROXY are heeded: http, https and socks5 proxies.
Exit codes: 0 ended as told, 1 failed or lost the connection, 2 wrong usage.
`

// options are the command line.
type options struct {
	endpoint, rootCA, cert, key string
	port                        int
	websocket                   bool
	clientID                    string
	topic, mode, message        string
	willTopic                   string
	willQoS                     int
	keepAlive                   int // seconds
	sleep                       time.Duration
	end, onInterrupt            string
	preventWill                 bool
	flap                        int
	within                      time.Duration
	mqtt                        string
	userProperties              properties
	willProperties              properties
	alpn                        bool
	json                        bool
}

// properties are the values of a flag NAME=VALUE that may come more than once.
type properties []device.UserProperty

func (p *properties) String() string { return "" }

func (p *properties) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return errors.New("write NAME=VALUE")
	}
	*p = append(*p, device.UserProperty{Name: name, Value: value})
	return nil
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	o.connectionFlags(flags)
	text(flags, &o.clientID, "basicPubSub", "id", "clientId")
	text(flags, &o.topic, "sdk/test/Python", "t", "topic")
	text(flags, &o.mode, modeBoth, "m", "mode")
	flags.DurationVar(&o.sleep, "sleep", time.Minute, "")
	text(flags, &o.end, string(device.Drop), "end")
	text(flags, &o.onInterrupt, string(device.Disconnect), "on-interrupt")
	flags.BoolVar(&o.preventWill, "prevent-will", false, "")
	flags.IntVar(&o.flap, "flap", 0, "")
	flags.DurationVar(&o.within, "within", time.Minute, "")
	if err := cli.Parse(flags, args, out, usage); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, cli.WithHint(cli.Usagef("unexpected argument %q%s", flags.Arg(0), cli.Meant(flags.Arg(0), []string{"fleet", "version"})), "every value follows its flag; simulator -h shows the flags")
	}
	return o, o.validate()
}

func text(flags *flag.FlagSet, p *string, value string, names ...string) {
	for _, name := range names {
		flags.StringVar(p, name, value, "")
	}
}

// connectionFlags are those that a device and a fleet share.
func (o *options) connectionFlags(flags *flag.FlagSet) {
	text(flags, &o.endpoint, "", "e", "endpoint")
	text(flags, &o.rootCA, os.Getenv("LWT_ROOT_CA"), "r", "rootCA")
	text(flags, &o.cert, "", "c", "cert")
	text(flags, &o.key, "", "k", "key")
	text(flags, &o.message, will.ConnectedMessage, "M", "message")
	text(flags, &o.willTopic, will.NewNames("").WillTopic, "will-topic")
	for _, name := range []string{"p", "port"} {
		flags.IntVar(&o.port, name, 0, "")
	}
	for _, name := range []string{"w", "websocket"} {
		flags.BoolVar(&o.websocket, name, false, "")
	}
	flags.IntVar(&o.willQoS, "will-qos", will.QoS, "")
	flags.IntVar(&o.keepAlive, "keep-alive", int(will.KeepAlive/time.Second), "")
	text(flags, &o.mqtt, mqtt311, "mqtt")
	flags.Var(&o.userProperties, "user-property", "")
	flags.Var(&o.willProperties, "will-property", "")
	flags.BoolVar(&o.alpn, "alpn", false, "")
	flags.BoolVar(&o.json, "json", false, "")
}

// validate applies the sample's rules, in its order, and then ours.
func (o options) validate() error {
	switch {
	case o.mode != modeBoth && o.mode != modePublish && o.mode != modeSubscribe:
		return cli.WithHint(cli.Usagef("unknown mode %q", o.mode), "-m takes one of %s, %s, %s", modeBoth, modePublish, modeSubscribe)
	case o.websocket && (o.cert != "" || o.key != ""):
		return cli.WithHint(cli.Usagef("X.509 cert authentication and WebSocket are mutually exclusive"), "give either -w or -c and -k")
	case !o.websocket && (o.cert == "" || o.key == ""):
		return cli.WithHint(cli.Usagef("missing credentials for authentication"),
			"give the certificate with -c and its private key with -k, or -w to connect with AWS credentials")
	case o.sleep < 0:
		return cli.Usagef("sleep of %s: give a time that is not negative, such as 60s", o.sleep)
	}
	return errors.Join(o.validateConnection(), o.validateEnd())
}

// validateConnection judges what a device and a fleet share.
func (o options) validateConnection() error {
	const minKeepAlive, maxKeepAlive = int(will.MinKeepAlive / time.Second), int(will.MaxKeepAlive / time.Second)
	switch {
	case o.websocket && o.alpn:
		return cli.Usagef("-alpn is for mutual TLS: leave it or -w out")
	case o.keepAlive < minKeepAlive || o.keepAlive > maxKeepAlive:
		return cli.WithHint(cli.Usagef("keep alive of %d seconds: give %d to %d", o.keepAlive, minKeepAlive, maxKeepAlive),
			"AWS IoT Core takes 1 to %d for %d, and 0 or more than %d for %d", minKeepAlive-1, minKeepAlive, maxKeepAlive, maxKeepAlive)
	case o.willQoS != 0 && o.willQoS != 1:
		return cli.WithHint(cli.Usagef("-will-qos %d: give 0 or 1", o.willQoS), "AWS IoT Core has no QoS 2")
	case len(o.clientID) > will.MaxClientIDBytes:
		return cli.Usagef("client ID %q has %d bytes: AWS IoT Core takes at most %d", o.clientID, len(o.clientID), will.MaxClientIDBytes)
	}
	return errors.Join(o.validateTopics(), o.validateMQTT5())
}

// onInterrupt are the ends that take no time.
var onInterrupt = []device.End{device.Disconnect, device.Drop, device.Reset}

func (o options) validateEnd() error {
	least := time.Duration(o.flap) * device.ConnectInterval
	switch _, known := ends[device.End(o.end)]; {
	case !known:
		return cli.WithHint(cli.Usagef("unknown end %q", o.end), "-end takes one of %s", endNames())
	case !slices.Contains(onInterrupt, device.End(o.onInterrupt)):
		return cli.WithHint(cli.Usagef("unknown end %q for an interruption", o.onInterrupt), "-on-interrupt takes one of %s, %s, %s", onInterrupt[0], onInterrupt[1], onInterrupt[2])
	case o.preventWill && o.end != string(device.Kill):
		return cli.Usagef("-prevent-will is for -end %s: every other end leaves the will to the broker", device.Kill)
	case o.flap < 0:
		return cli.Usagef("-flap %d: give how often to drop and come back", o.flap)
	case o.within < least:
		return cli.WithHint(cli.Usagef("-flap %d within %s is too fast: AWS IoT Core takes one connection a second for a client ID", o.flap, o.within), "give -within %s or more", least)
	}
	return nil
}

func (o options) validateMQTT5() error {
	switch {
	case o.mqtt != mqtt311 && o.mqtt != mqtt5:
		return cli.WithHint(cli.Usagef("unknown MQTT version %q", o.mqtt), "-mqtt takes %s or %s", mqtt311, mqtt5)
	case o.mqtt != mqtt5 && len(o.userProperties)+len(o.willProperties) > 0:
		return cli.WithHint(cli.Usagef("MQTT %s has no properties", o.mqtt), "add -mqtt %s", mqtt5)
	}
	_, err := o.will()
	return err
}

func (o options) validateTopics() error {
	if err := will.CheckTopicName(o.willTopic); err != nil {
		return cli.Usagef("-will-topic: %w", err)
	}
	if o.mode == modeSubscribe && strings.ContainsAny(o.topic, "+#") {
		return nil // a topic filter, which is the broker's to judge
	}
	if err := will.CheckTopicName(o.topic); err != nil {
		return cli.Usagef("-t: %w", err)
	}
	return nil
}

// will is the Will Message with its properties, under the names that MQTT 5.0
// gives them in 3.1.3.2.
func (o options) will() (device.Message, error) {
	m := device.Message{
		Topic: o.willTopic, Payload: will.Payload(o.clientID), QoS: byte(o.willQoS), Properties: device.Properties{User: o.userProperties},
	}
	p := &m.Properties
	for _, property := range o.willProperties {
		value := property.Value
		switch property.Name {
		case "payload-format-indicator":
			if value != "0" && value != "1" {
				return m, cli.Usagef("payload-format-indicator %q: give 0 for bytes or 1 for UTF-8", value)
			}
			p.Text = value == "1"
		case "content-type":
			p.ContentType = value
		case "response-topic":
			p.ResponseTopic = value
		case "correlation-data":
			p.CorrelationData = []byte(value)
		case "message-expiry-interval":
			seconds, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return m, cli.Usagef("message-expiry-interval %q: give seconds", value)
			}
			p.Expiry = time.Duration(seconds) * time.Second
		case "will-delay-interval":
			return m, cli.WithHint(cli.Usagef("AWS IoT Core has no Will Delay Interval: the will goes at once"),
				"leave it out; what shall wait for the device to come back must wait behind the rule")
		default:
			return m, cli.WithHint(cli.Usagef("unknown will property %q", property.Name),
				"-will-property takes payload-format-indicator, content-type, response-topic, correlation-data and message-expiry-interval; -user-property takes any name")
		}
	}
	return m, nil
}

// config reads the files that the command line names, and asks the AWS account
// for what it leaves open.
func (o options) config(ctx context.Context) (device.Config, error) {
	message, err := o.will()
	if err != nil {
		return device.Config{}, err
	}
	cfg := device.Config{
		Endpoint:         o.endpoint,
		Port:             o.port,
		ALPN:             o.alpn,
		MQTT5:            o.mqtt == mqtt5,
		ClientID:         o.clientID,
		Will:             message,
		KeepAlive:        time.Duration(o.keepAlive) * time.Second,
		ConnectedTopic:   o.topic,
		ConnectedMessage: o.message,
		UserProperties:   o.userProperties,
	}
	if o.endpoint != "" { // else there is nothing to judge yet
		if err := cfg.Validate(); err != nil {
			return cfg, cli.Usagef("%w", err)
		}
	}
	if err := o.readFiles(&cfg); err != nil {
		return cfg, err
	}
	var aws *account
	if o.websocket || o.endpoint == "" || o.end == string(device.Kill) {
		if aws, err = openAccount(ctx); err != nil {
			return cfg, err
		}
	}
	if o.endpoint == "" {
		if cfg.Endpoint, err = aws.endpoint(ctx); err != nil {
			return cfg, cli.WithHint(fmt.Errorf("missing endpoint, and the AWS account does not tell it: %w", err), "give it with -e; %s", cli.Hint(err))
		}
	}
	if o.websocket {
		cfg.Credentials, cfg.Region = aws.config.Credentials, aws.config.Region
	}
	if err := cfg.Validate(); err != nil {
		return cfg, cli.Usagef("%w", err)
	}
	if o.end == string(device.Kill) {
		cfg.Kill = func(ctx context.Context, clientID string) error {
			return aws.deleteConnection(ctx, clientID, o.preventWill)
		}
		err = aws.check(ctx)
	}
	return cfg, err
}

func (o options) readFiles(cfg *device.Config) (err error) {
	if o.cert != "" {
		if cfg.Certificate, err = device.LoadCertificate(o.cert, o.key); err != nil {
			return err
		}
	}
	if o.rootCA != "" {
		cfg.Roots, err = device.LoadRoots(o.rootCA)
	}
	return err
}
