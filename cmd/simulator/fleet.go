package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/cli"
	"lastwill/internal/device"
	"lastwill/internal/fleet"
	"lastwill/internal/will"
)

const fleetUsage = `simulator fleet is many devices in one process: they connect with a Will Message
each, stand for a time, and end in several ways.

Usage:
  simulator fleet -n 10000 -rate 500 -c CERT.pem.crt -k PRIVATE.pem.key -end drop=60%,freeze=10%
  simulator fleet -certs certs

Flags:
  -n N                  number of devices (default: as many as -certs has, else 10)
  -rate N               connections a second; an AWS account takes 500 (default: 100)
  -certs DIR            a certificate for each device, DIR/NAME.pem.crt with
                        DIR/NAME.key; NAME is the client ID
  -c, -k                one certificate and key for all; the IoT policy must allow it
                        the client IDs
  -w                    AWS credentials for all, over WebSocket
  -id PREFIX            without -certs: client IDs are PREFIX-00000 and so on
                        (default: device)
  -t TOPIC              each device publishes its connected message there
                        (default: none does)
  -end MODE=SHARE,...   how which share ends; the others disconnect. Modes are
                        disconnect, drop, reset, freeze, takeover and kill, as
                        simulator -h explains them (default: drop=100%)
  -after DURATION       how long all stand when the last has connected (default: 10s)
  -over DURATION        spread the ends at random over this time (default: 0s, all
                        at once)
  -seed N               of what is random: who ends how and when (default: 1)
  -json                 print the summary as one JSON object; one that failed has
                        error and hint

  -e, -r, -p, -M, -will-topic, -will-qos, -keep-alive, -mqtt, -user-property,
  -will-property and -alpn are those of a single device: simulator -h.

SIGINT (Ctrl-C) or SIGTERM makes all devices disconnect properly: no wills.
Exit codes: 0 all connected and ended as told, 1 some did not, 2 wrong usage.
`

// fleetOptions are the command line of a fleet.
type fleetOptions struct {
	options
	size        int
	rate        float64
	certs       string
	shares      string
	after, over time.Duration
	seed        uint64
}

func parseFleet(args []string, out io.Writer) (fleetOptions, error) {
	o := fleetOptions{options: options{mode: modePublish}}
	flags := flag.NewFlagSet("simulator fleet", flag.ContinueOnError)
	o.connectionFlags(flags)
	text(flags, &o.clientID, "device", "id", "clientId")
	text(flags, &o.topic, "", "t", "topic")
	flags.IntVar(&o.size, "n", 0, "")
	flags.Float64Var(&o.rate, "rate", 100, "")
	flags.StringVar(&o.certs, "certs", "", "")
	flags.StringVar(&o.shares, "end", "drop=100%", "")
	flags.DurationVar(&o.after, "after", 10*time.Second, "")
	flags.DurationVar(&o.over, "over", 0, "")
	flags.Uint64Var(&o.seed, "seed", 1, "")
	if err := cli.Parse(flags, args, out, fleetUsage); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, cli.WithHint(cli.Usagef("unexpected argument %q", flags.Arg(0)), "every value follows its flag; simulator fleet -h shows the flags")
	}
	return o, o.validate()
}

func (o fleetOptions) validate() error {
	ways := 0
	for _, given := range []bool{o.certs != "", o.cert != "" || o.key != "", o.websocket} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return cli.Usagef("-certs, -c with -k, and -w are mutually exclusive: give one of them")
	case ways == 0 || (o.cert == "") != (o.key == ""):
		return cli.WithHint(cli.Usagef("missing credentials for authentication"),
			"give a folder of certificates with -certs, one certificate for all with -c and -k, or -w to connect with AWS credentials")
	case o.size < 0:
		return cli.Usagef("-n %d: give the number of devices", o.size)
	case !(o.rate > 0): // NaN too
		return cli.Usagef("-rate %v: give how many devices connect in a second", o.rate)
	case o.after < 0 || o.over < 0:
		return cli.Usagef("-after %s -over %s: give times that are not negative", o.after, o.over)
	}
	_, err := parseShares(o.shares)
	connection := o.options
	connection.topic = cmp.Or(o.topic, will.NewNames("").ConnectedTopic)
	return errors.Join(err, connection.validateConnection())
}

// parseShares reads MODE=SHARE,... where a share is a percentage or a fraction.
func parseShares(s string) ([]fleet.Share, error) {
	var shares []fleet.Share
	total := 0.0
	for part := range strings.SplitSeq(s, ",") {
		mode, amount, ok := strings.Cut(part, "=")
		if !ok || !slices.Contains(device.Ends, device.End(mode)) {
			return nil, cli.WithHint(cli.Usagef("-end %q: write MODE=SHARE", part), "modes are %s; shares such as 25%% or 0.25", endNames())
		}
		number, percent := strings.CutSuffix(amount, "%")
		fraction, err := strconv.ParseFloat(number, 64)
		if percent {
			fraction /= 100
		}
		if err != nil || !(fraction >= 0 && fraction <= 1) {
			return nil, cli.Usagef("-end %q: give a share such as 25%% or 0.25", part)
		}
		total += fraction
		shares = append(shares, fleet.Share{End: device.End(mode), Fraction: fraction})
	}
	if total > 1.000001 { // of rounding
		return nil, cli.Usagef("-end %q: the shares are more than all devices together", s)
	}
	return shares, nil
}

func runFleet(ctx context.Context, args []string, s cli.Streams) error {
	o, err := parseFleet(args, s.Out)
	if err != nil {
		return err
	}
	cfg, err := o.fleet(ctx)
	if err != nil {
		return err
	}
	if err := enoughFiles(cfg); err != nil {
		return err
	}
	p := &progress{out: s.Out, terminal: isTerminal(s.Out)}
	if !o.json {
		cfg.Progress = p.tell
	}
	report := fleet.Run(ctx, cfg)
	if !report.OK() {
		err = notAll(report)
	}
	if o.json {
		return cli.Told(errors.Join(err, cli.WriteJSON(s.Out, fleetResult{report, cli.FailureOf(err)})))
	}
	p.clear()
	summarize(s.Out, report, o.willTopic)
	return err
}

// A fleetResult is what -json prints.
type fleetResult struct {
	fleet.Report
	cli.Failure
}

// fleet reads the files that the command line names, and asks the AWS account
// for what it leaves open.
func (o fleetOptions) fleet(ctx context.Context) (fleet.Config, error) {
	shares, err := parseShares(o.shares)
	if err != nil {
		return fleet.Config{}, err
	}
	one := o.options
	one.topic = cmp.Or(o.topic, will.NewNames("").ConnectedTopic)
	if slices.ContainsFunc(shares, func(s fleet.Share) bool { return s.End == device.Kill }) {
		one.end = string(device.Kill)
	}
	common, err := one.config(ctx)
	if err != nil {
		return fleet.Config{}, err
	}
	size := cmp.Or(o.size, 10)
	identity := func(c *device.Config, i int) { c.ClientID = fmt.Sprintf("%s-%05d", o.clientID, i) }
	if o.certs != "" {
		members, err := readMembers(o.certs, o.size)
		if err != nil {
			return fleet.Config{}, err
		}
		size = len(members)
		identity = func(c *device.Config, i int) { c.ClientID, c.Certificate = members[i].ClientID, members[i].Certificate }
	}
	cfg := fleet.Config{
		Size: size, Rate: o.rate, Announce: o.topic != "", Shares: shares, After: o.after, Over: o.over, Seed: o.seed,
		Device: func(i int) device.Config {
			c := common
			identity(&c, i)
			c.Will.Payload = will.Payload(c.ClientID)
			return c
		},
	}
	return cfg, cfg.Device(size - 1).Validate()
}

// readMembers reads a folder of certificates; most is how many are wanted, 0 for
// all.
func readMembers(dir string, most int) ([]device.Config, error) {
	const suffix = ".pem.crt"
	certs, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return nil, err
	}
	if len(certs) == 0 {
		return nil, cli.WithHint(fmt.Errorf("no certificate in %s", dir), "they are named NAME%s, beside their keys NAME.key", suffix)
	}
	if most > len(certs) {
		return nil, cli.WithHint(fmt.Errorf("%d devices of %d certificates in %s", most, len(certs), dir),
			"each device needs its own: give a smaller -n, or one certificate for all with -c and -k")
	}
	if most > 0 {
		certs = certs[:most]
	}
	members := make([]device.Config, len(certs))
	for i, file := range certs {
		name := strings.TrimSuffix(filepath.Base(file), suffix)
		members[i].ClientID = name
		if members[i].Certificate, err = device.LoadCertificate(file, filepath.Join(dir, name+".key")); err != nil {
			return nil, err
		}
	}
	return members, nil
}

// spareFiles is what the process has open beside its devices.
const spareFiles = 32

// enoughFiles is an error if the system allows fewer sockets than the fleet needs.
func enoughFiles(cfg fleet.Config) error {
	needed := cfg.Size + spareFiles
	for _, s := range cfg.Shares {
		if s.End == device.Takeover {
			needed += int(s.Fraction*float64(cfg.Size)) + 1
		}
	}
	if most, known := mayOpen(); known && most < uint64(needed) {
		return cli.WithHint(fmt.Errorf("%d devices need %d open files, and this process may have %d", cfg.Size, needed, most),
			"raise the hard limit (ulimit -Hn, LimitNOFILE of systemd, --ulimit nofile of docker), or run several fleets with other -id")
	}
	return nil
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// progress tells how things stand: in one line on a terminal, else in lines of
// their own.
type progress struct {
	out      io.Writer
	terminal bool
	said     time.Time // the last line, where there are lines
}

// sayInterval is between two lines where there is no terminal.
const sayInterval = 10 * time.Second

func (p *progress) tell(r fleet.Report) {
	line := fmt.Sprintf("connected %d of %d", r.Connected, r.Devices)
	if n := count(r.Refused); n > 0 {
		line += fmt.Sprintf(", refused %d", n)
	}
	if n := ended(r); n > 0 {
		line += fmt.Sprintf(", ended %d", n)
	}
	if n := count(r.Lost); n > 0 {
		line += fmt.Sprintf(", lost %d", n)
	}
	switch {
	case p.terminal:
		fmt.Fprintf(p.out, "\r%s\033[K", line)
	case time.Since(p.said) > sayInterval:
		p.said = time.Now()
		fmt.Fprintln(p.out, line)
	}
}

func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\033[K")
	}
}

func count(by map[device.Reason]fleet.Failures) (n int) {
	for _, f := range by {
		n += f.Count
	}
	return n
}

func ended(r fleet.Report) (n int) {
	for _, m := range r.Ended {
		n += m
	}
	return n
}

func summarize(out io.Writer, r fleet.Report, willTopic string) {
	fmt.Fprintf(out, "connected  %d of %d in %.1fs, %.0f a second\n", r.Connected, r.Devices, r.ConnectSeconds, float64(r.Connected)/r.ConnectSeconds)
	for _, c := range []struct {
		what string
		by   map[device.Reason]fleet.Failures
	}{{"refused", r.Refused}, {"lost", r.Lost}} {
		fmt.Fprintf(out, "%-9s  %d\n", c.what, count(c.by))
		for _, reason := range slices.Sorted(maps.Keys(c.by)) {
			fmt.Fprintf(out, "           %d %s, such as: %s\n", c.by[reason].Count, reason, c.by[reason].Example)
		}
	}
	var parts []string
	for _, end := range device.Ends {
		if n := r.Ended[end]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", end, n))
		}
	}
	within := ""
	if r.LastEnd.After(r.FirstEnd) {
		within = fmt.Sprintf(", within %s", r.LastEnd.Sub(r.FirstEnd).Round(time.Millisecond))
	}
	fmt.Fprintf(out, "ended      %s%s\n", cmp.Or(strings.Join(parts, ", "), "none"), within)
	fmt.Fprintf(out, "wills      %d expected on %s\n", r.WillsExpected, willTopic)
}

// notAll is the error of a fleet that did not do as told, with the hint of the
// most frequent failure.
func notAll(r fleet.Report) error {
	var most fleet.Failures
	for _, by := range []map[device.Reason]fleet.Failures{r.Refused, r.Lost} {
		for _, f := range by {
			if f.Count > most.Count {
				most = f
			}
		}
	}
	err := fmt.Errorf("%d of %d devices did not connect, %d were lost", count(r.Refused), r.Devices, count(r.Lost))
	if hint := cli.Hint(most.Hint()); hint != "" {
		return cli.WithHint(err, "%s", hint)
	}
	return err
}
