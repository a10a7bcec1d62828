package main

import (
	"flag"
	"io"
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

// maxClientIDBytes is AWS IoT Core's limit (general reference, "AWS IoT Core
// endpoints and quotas").
const maxClientIDBytes = 128

const usage = `simulator is a device that vanishes: it connects with a Will Message, sleeps,
then closes its socket without an MQTT DISCONNECT, and the broker publishes
the will.

Usage:
  simulator -e ENDPOINT -r AmazonRootCA1.pem -c CERT.pem.crt -k PRIVATE.pem.key \
            -id lwtThing -t /lwt/connected/topic -m publish

Flags:
  -e,  --endpoint HOST    AWS IoT endpoint, HOST or HOST:PORT; required.
                          aws iot describe-endpoint --endpoint-type iot:Data-ATS
  -r,  --rootCA FILE      CA that vouches for the endpoint (default: the system's CAs)
  -c,  --cert FILE        device certificate; required
  -k,  --key FILE         private key of the certificate; required
  -p,  --port PORT        port (default: 8883)
  -w,  --websocket        MQTT over WebSocket with AWS credentials: not available yet
  -id, --clientId ID      client ID; on AWS the thing's name (default: basicPubSub)
  -t,  --topic TOPIC      topic of the connected message (default: sdk/test/Python)
  -m,  --mode MODE        publish: send the connected message; subscribe: print what
                          arrives on the topic; both: first subscribe, then publish
                          (default: both)
  -M,  --message TEXT     text of the connected message
                          (default: AWS IoT Thing connected message to IoT Core)
  -will-topic TOPIC       topic of the Will Message (default: /last/will/topic)
  -keep-alive SECONDS     keep alive, 30 to 1200; the broker notices silence after
                          1.5 times that, a closed socket at once (default: 30)
  -sleep DURATION         time between the connected message and vanishing, such as
                          10s or 5m (default: 60s)
  -json                   print one JSON object a line instead of text; the object
                          with the event "dropped" has the moment when the socket
                          closed

SIGINT (Ctrl-C) or SIGTERM makes the device disconnect properly: no will.
Exit codes: 0 vanished or disconnected, 1 failed or lost the connection, 2 wrong usage.
`

// options are the command line.
type options struct {
	endpoint, rootCA, cert, key string
	port                        int
	websocket                   bool
	clientID                    string
	topic, mode, message        string
	willTopic                   string
	keepAlive                   int // seconds
	sleep                       time.Duration
	json                        bool
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	text := func(p *string, value string, names ...string) {
		for _, name := range names {
			flags.StringVar(p, name, value, "")
		}
	}
	text(&o.endpoint, "", "e", "endpoint")
	text(&o.rootCA, "", "r", "rootCA")
	text(&o.cert, "", "c", "cert")
	text(&o.key, "", "k", "key")
	text(&o.clientID, "basicPubSub", "id", "clientId")
	text(&o.topic, "sdk/test/Python", "t", "topic")
	text(&o.mode, modeBoth, "m", "mode")
	text(&o.message, will.ConnectedMessage, "M", "message")
	text(&o.willTopic, will.NamesFor("").WillTopic, "will-topic")
	flags.IntVar(&o.port, "p", 0, "")
	flags.IntVar(&o.port, "port", 0, "")
	flags.BoolVar(&o.websocket, "w", false, "")
	flags.BoolVar(&o.websocket, "websocket", false, "")
	flags.IntVar(&o.keepAlive, "keep-alive", int(will.KeepAlive/time.Second), "")
	flags.DurationVar(&o.sleep, "sleep", time.Minute, "")
	flags.BoolVar(&o.json, "json", false, "")
	if err := cli.Parse(flags, args, out, usage); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, cli.WithHint(cli.Usagef("unexpected argument %q", flags.Arg(0)), "every value follows its flag: simulator -h shows them")
	}
	return o, o.validate()
}

// validate applies the sample's rules, in its order, and then ours.
func (o options) validate() error {
	const minKeepAlive, maxKeepAlive = int(will.MinKeepAlive / time.Second), int(will.MaxKeepAlive / time.Second)
	switch {
	case o.endpoint == "":
		return cli.WithHint(cli.Usagef("missing endpoint: give it with -e"),
			"\"aws iot describe-endpoint --endpoint-type iot:Data-ATS\" prints it; for the local endpoint it is 127.0.0.1")
	case o.mode != modeBoth && o.mode != modePublish && o.mode != modeSubscribe:
		return cli.WithHint(cli.Usagef("unknown mode %q", o.mode), "-m takes one of %s, %s, %s", modeBoth, modePublish, modeSubscribe)
	case o.websocket && (o.cert != "" || o.key != ""):
		return cli.WithHint(cli.Usagef("X.509 cert authentication and WebSocket are mutually exclusive"), "give either -w or -c and -k")
	case !o.websocket && (o.cert == "" || o.key == ""):
		return cli.WithHint(cli.Usagef("missing credentials for authentication"), "give the certificate with -c and its private key with -k")
	case o.websocket:
		return cli.WithHint(cli.Usagef("-w: MQTT over WebSocket is not available yet"), "connect with a certificate: -c and -k")
	case o.keepAlive < minKeepAlive || o.keepAlive > maxKeepAlive:
		return cli.WithHint(cli.Usagef("keep alive of %d seconds: give %d to %d", o.keepAlive, minKeepAlive, maxKeepAlive),
			"AWS IoT Core takes 1 to %d for %d, and 0 or more than %d for %d", minKeepAlive-1, minKeepAlive, maxKeepAlive, maxKeepAlive)
	case o.sleep < 0:
		return cli.Usagef("sleep of %s: give a time that is not negative, such as 60s", o.sleep)
	case len(o.clientID) > maxClientIDBytes:
		return cli.Usagef("client ID %q has %d bytes: AWS IoT Core takes at most %d", o.clientID, len(o.clientID), maxClientIDBytes)
	}
	return o.validateTopics()
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

// config reads the files that the command line names.
func (o options) config() (device.Config, error) {
	cfg := device.Config{
		Endpoint:         o.endpoint,
		Port:             o.port,
		ClientID:         o.clientID,
		Will:             device.Message{Topic: o.willTopic, Payload: will.Payload(o.clientID), QoS: will.QoS},
		KeepAlive:        time.Duration(o.keepAlive) * time.Second,
		ConnectedTopic:   o.topic,
		ConnectedMessage: o.message,
	}
	if err := cfg.Validate(); err != nil {
		return cfg, cli.Usagef("%w", err)
	}
	var err error
	if cfg.Certificate, err = device.LoadCertificate(o.cert, o.key); err != nil {
		return cfg, err
	}
	if o.rootCA != "" {
		cfg.Roots, err = device.LoadRoots(o.rootCA)
	}
	return cfg, err
}
