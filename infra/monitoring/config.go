package monitoring

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"lastwill/constructs/alert"
	"lastwill/constructs/check"
	"lastwill/constructs/device"
	"lastwill/constructs/health"
	"lastwill/constructs/outage"
	"lastwill/constructs/simulator"
	"lastwill/internal/keypair"
	"lastwill/internal/will"
)

// Config is what a user may choose about one environment. The keys that set it,
// in the CDK context and in the environments file, are the fields' names in lower
// camel case.
type Config struct {
	// Environment is part of every physical name, so that several environments
	// share an account and region. Default: none, the scenario's exact names.
	Environment string
	// Email is who gets the alerts. In the context: one address, several with
	// commas between, or a JSON list. Required.
	Email []string
	// Things are the devices, before the environment is added to their names. In
	// the context: as Email. Default: lwtThing.
	Things []string
	// WillTopic, ConnectedTopic and ExecutedTopic are MQTT topics, before the
	// environment is put in front of them. Default: the scenario's topics.
	WillTopic, ConnectedTopic, ExecutedTopic string
	// KeepAlive is the devices' keep alive. In the context: whole seconds.
	// Default: 30 seconds.
	KeepAlive time.Duration
	// Certs is the folder of the devices' CSRs and, on a workstation, of their
	// private keys. Default: certs, relative to the working directory.
	Certs string
	// Account and Region are where the environment is deployed.
	// Default: those of whoever deploys.
	Account, Region string
	// Tags of all resources that can have some, besides app and environment.
	// In the settings: KEY=VALUE, several with commas between, or a JSON object.
	// Default: none.
	Tags map[string]string
	// RemoveLogs has the log of failed actions deleted with the stack. Default: true.
	RemoveLogs bool
	// Approval has a pipeline ask a person before it deploys. Default: false.
	Approval bool
	// Grace turns on confirmed alerts: it is how long a device must be offline before
	// people are told. In the settings: a duration with its unit, 60s to 15m. Default: every will is
	// mailed as it came.
	Grace time.Duration
	// Check has every deployment proved by an end-to-end check, and rolled back if
	// the check fails. Default: false.
	Check bool
	// CheckLimit is for how long the check is tried. In the settings: whole seconds.
	// Default: two minutes.
	CheckLimit time.Duration
	// Architecture of the functions. Default: x86_64.
	Architecture simulator.Architecture
	// Alarms tell the same addresses when an alert may not have been sent. Default: true.
	Alarms bool
	// Dashboard shows connects, wills, the rule and e-mails. Default: true.
	Dashboard bool
}

// DefaultConfig is the scenario, but for the e-mail address.
func DefaultConfig() Config {
	names := will.NewNames("")
	return Config{
		Things:         []string{will.ThingName},
		WillTopic:      names.WillTopic,
		ConnectedTopic: names.ConnectedTopic,
		ExecutedTopic:  names.ExecutedTopic,
		KeepAlive:      will.KeepAlive,
		Certs:          "certs",
		RemoveLogs:     true,
		CheckLimit:     check.DefaultLimit,
		Alarms:         true,
		Dashboard:      true,
	}
}

// ConfigFrom reads the configuration from the CDK context and, if that names an
// environment, from the environments file; what both set, the context decides.
// Its error names all problems at once.
func ConfigFrom(context map[string]any) (Config, error) {
	file, list, problems := readEnvironments(context)
	name, _ := context["environment"].(string)
	settings, err := settingsOf(list, name, file)
	problems.addOf(ContextFile("environment", name), "environment", err)
	c, more := configFrom(context, origin(file, name), settings)
	if c.Environment == "" && len(c.Email) == 0 && len(list) > 0 {
		more.add("environment", fmt.Errorf("none is named: add -c environment=NAME for one in %s", file))
	}
	problems.join(more)
	return c, problems.Err()
}

// configFrom reads the context and, for what that does not say, the settings of
// the environment that it names. Others are keys of the context that somebody else
// reads.
func configFrom(context map[string]any, origin string, settings map[string]any, others ...string) (Config, Problems) {
	c := DefaultConfig()
	r := reader{layers: []layer{newLayer(context, "")}}
	for _, key := range others {
		r.layers[0].known[key] = true
	}
	r.text("environment", &c.Environment)
	r.text("environments", new(string)) // readEnvironments has used it
	r.layers = append(r.layers, newLayer(settings, origin))
	r.list("email", &c.Email)
	r.list("things", &c.Things)
	r.text("willTopic", &c.WillTopic)
	r.text("connectedTopic", &c.ConnectedTopic)
	r.text("executedTopic", &c.ExecutedTopic)
	r.seconds("keepAlive", &c.KeepAlive)
	r.text("certs", &c.Certs)
	r.text("account", &c.Account)
	r.text("region", &c.Region)
	r.pairs("tags", &c.Tags)
	r.flag("removeLogs", &c.RemoveLogs)
	r.flag("approval", &c.Approval)
	r.duration("grace", &c.Grace)
	r.flag("check", &c.Check)
	r.seconds("checkLimit", &c.CheckLimit)
	r.text("architecture", (*string)(&c.Architecture))
	r.flag("alarms", &c.Alarms)
	r.flag("dashboard", &c.Dashboard)
	r.refuseUnknown()
	problems := r.problems
	for _, p := range c.problems() {
		// A value that could not be read has its problem already.
		if !r.problems.about(p.Key) {
			p.Origin = r.origin(p.Key)
			problems = append(problems, p)
		}
	}
	return c, problems
}

// Names are the environment's physical names.
func (c Config) Names() will.Names {
	n := will.NewNames(c.Environment)
	n.WillTopic = n.Topic(c.WillTopic)
	n.ConnectedTopic = n.Topic(c.ConnectedTopic)
	n.ExecutedTopic = n.Topic(c.ExecutedTopic)
	return n
}

// Devices reads each thing's own certificate or, for things that have none, their
// CSRs. With create it first makes the key pairs and CSRs that are missing. Its
// error names all problems at once.
func (c Config) Devices(create bool) ([]device.Thing, error) {
	var things []device.Thing
	var p Problems
	for _, name := range c.thingNames() {
		thing, err := c.device(name, create)
		p.addOf(c.origin(), "certs", err)
		if file, taken := sameCertificate(things, thing); taken {
			p.addOf(c.origin(), "certs", fmt.Errorf("%s and %s are the same certificate: give each thing its own",
				keypair.CertificateFile(c.Certs, file), keypair.CertificateFile(c.Certs, name)))
		}
		things = append(things, thing)
	}
	return things, p.Err()
}

// origin is of problems with the files of one environment among several.
func (c Config) origin() string {
	if c.Environment == "" {
		return ""
	}
	return "environment " + c.Environment
}

func (c Config) device(name string, create bool) (device.Thing, error) {
	thing := device.Thing{Name: name}
	var err error
	if thing.Certificate, err = keypair.OwnCertificate(c.Certs, name); thing.Certificate == "" && err == nil {
		thing.CSR, err = keypair.Ensure(c.Certs, name, create)
	}
	var missing *keypair.MissingError
	if errors.As(err, &missing) && c.Environment != "" {
		missing.Command += " -c environment=" + c.Environment
	}
	return thing, err
}

func sameCertificate(things []device.Thing, thing device.Thing) (name string, taken bool) {
	for _, other := range things {
		if thing.Certificate != "" && other.Certificate == thing.Certificate {
			return other.Name, true
		}
	}
	return "", false
}

func (c Config) thingNames() []string {
	names := c.Names()
	var things []string
	for _, t := range c.Things {
		things = append(things, names.Thing(t))
	}
	return things
}

// Validate returns all that is wrong with the configuration, as Problems.
func (c Config) Validate() error { return c.problems().Err() }

func (c Config) problems() Problems {
	var p Problems
	if err := will.CheckEnvironment(c.Environment); err != nil {
		p.add("environment", err)
		c.Environment = "" // so that it is not told again of every name made with it
	}
	p.add("email", checkEmails(c.Email))
	p.add("things", device.CheckNames(c.thingNames()))
	p.add("things", c.checkCount())
	names := c.Names()
	topics := []struct{ key, name string }{
		{"willTopic", names.WillTopic}, {"connectedTopic", names.ConnectedTopic}, {"executedTopic", names.ExecutedTopic},
	}
	unnamed := will.NewNames("")
	for i, t := range topics {
		p.add(t.key, will.CheckTopicName(t.name))
		if c.Environment != "" && slices.Contains([]string{unnamed.WillTopic, unnamed.ConnectedTopic, unnamed.ExecutedTopic}, t.name) {
			p.add(t.key, fmt.Errorf("topic %q belongs to the environment without a name: choose another", t.name))
		}
		// One topic for two ends would have the rule select its own copies, or
		// connected messages.
		for _, other := range topics[:i] {
			if t.name == other.name {
				p.add(t.key, fmt.Errorf("topic %q is the %s already: choose another", t.name, other.key))
			}
		}
	}
	p.add("keepAlive", checkKeepAlive(c.KeepAlive))
	if c.Certs == "" {
		p.add("certs", errors.New("no folder for keys and CSRs: name one, such as certs"))
	}
	if c.CheckLimit < check.MinLimit || c.CheckLimit > check.MaxLimit {
		p.add("checkLimit", fmt.Errorf("%d seconds: give %d to %d", c.CheckLimit/time.Second, check.MinLimit/time.Second, check.MaxLimit/time.Second))
	}
	if c.Grace != 0 {
		p.add("grace", outage.CheckGrace(c.Grace))
		if c.Check {
			p.add("grace", errors.New("the check waits for the mail of every will, and with a grace time there is none: leave out grace or check"))
		}
	}
	p.add("architecture", c.Architecture.Validate())
	p.add("tags", checkTags(c.Tags))
	if c.Account != "" && !account.MatchString(c.Account) {
		p.add("account", fmt.Errorf("%q is no AWS account: give its 12 digits, as text", c.Account))
	}
	if c.Region != "" && !region.MatchString(c.Region) {
		p.add("region", fmt.Errorf("%q is no AWS region: give one such as eu-central-1", c.Region))
	}
	return p
}

var (
	account = regexp.MustCompile(`^[0-9]{12}$`)
	region  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
)

func checkEmails(addresses []string) error {
	if len(addresses) == 0 {
		return errors.New("no address, and an alarm that tells nobody is a mistake: add -c email=YOU@EXAMPLE.COM")
	}
	return alert.CheckEmails(addresses)
}

// maxResources is what CloudFormation lets one stack hold (user guide, "Quotas").
const maxResources = 500

func (c Config) checkCount() error {
	room := maxResources - device.SharedResources - alert.SharedResources - len(c.Email)
	if c.Check {
		room -= check.Resources
	}
	if c.Alarms {
		room -= health.AlarmResources
	}
	if c.Dashboard {
		room -= health.DashboardResources
	}
	if c.Grace != 0 {
		room -= outage.Resources
		if c.Alarms {
			room -= outage.AlarmResources + len(c.Email)
		}
	}
	if fit := max(0, room/device.ResourcesPerThing); len(c.Things) > fit {
		return fmt.Errorf("%d things: a stack of %d resources has room for %d: spread them over several environments, or use fleet provisioning (AWS::IoT::ProvisioningTemplate)",
			len(c.Things), maxResources, fit)
	}
	return nil
}

// tagText is what tags of all services may have (IAM's are the strictest).
var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// maxTags leaves room for app, environment and the three of CloudFormation.
const maxTags = 45

func checkTags(tags map[string]string) error {
	var problems []error
	if len(tags) > maxTags {
		problems = append(problems, fmt.Errorf("%d tags: at most %d are possible", len(tags), maxTags))
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		value := tags[key]
		switch {
		case key == will.TagApp || key == will.TagEnvironment:
			problems = append(problems, fmt.Errorf("%q is a tag of the stack's own: choose another key", key))
		case key == "" || len([]rune(key)) > 128 || !tagText.MatchString(key) || strings.HasPrefix(strings.ToLower(key), "aws:"):
			problems = append(problems, fmt.Errorf("key %q: use 1 to 128 letters, digits, spaces and _ . : / = + - @, and not aws: at the beginning", key))
		case len([]rune(value)) > 256 || !tagText.MatchString(value):
			problems = append(problems, fmt.Errorf("value %q of %s: use at most 256 letters, digits, spaces and _ . : / = + - @", value, key))
		}
	}
	return errors.Join(problems...)
}

func checkKeepAlive(d time.Duration) error {
	if d < will.MinKeepAlive || d > will.MaxKeepAlive {
		return fmt.Errorf("%d seconds: AWS IoT Core honours %d to %d, use one of these",
			d/time.Second, will.MinKeepAlive/time.Second, will.MaxKeepAlive/time.Second)
	}
	return nil
}
