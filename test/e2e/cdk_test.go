package e2e

import (
	"bufio"
	"context"
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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"lastwill/internal/keypair"
)

const patience = 2 * time.Minute

// A cloud is a running `lwt local`, seen only from outside: by the CDK CLI, the
// SDK, MQTT clients and its mailbox's files.
type cloud struct {
	t      *testing.T
	data   string
	certs  string
	status struct{ Account, Region, Endpoint, MQTT, RootCA string }
	cmd    *exec.Cmd
	// connected is when MQTT.js connected last.
	connected time.Time
}

// startCloud runs `lwt local` over a data folder until the test ends.
func startCloud(t *testing.T, data string) *cloud {
	t.Helper()
	c := &cloud{t: t, data: data, certs: filepath.Join(data, "..", "certs")}
	c.cmd = exec.Command(program("lwt"), "local", "-addr", "127.0.0.1:0", "-mqtt", "127.0.0.1:0", "-open", "-data", data)
	out, err := c.cmd.StdoutPipe()
	check(t, err)
	c.cmd.Stderr = os.Stderr
	check(t, c.cmd.Start())
	t.Cleanup(c.kill)
	endpoint := ""
	lines := bufio.NewScanner(out)
	for endpoint == "" && lines.Scan() {
		endpoint = regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(lines.Text())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	response, err := http.Get(endpoint + "/_lwt/status")
	check(t, err)
	defer response.Body.Close()
	check(t, json.NewDecoder(response.Body).Decode(&c.status))
	check(t, os.WriteFile(c.file("ca.pem"), []byte(c.status.RootCA), 0o600))
	return c
}

// kill ends the endpoint as a crash would.
func (c *cloud) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// file names a file of the test's beside the data folder.
func (c *cloud) file(name string) string { return filepath.Join(c.data, "..", name) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cdkCommand prepares the pinned CDK CLI; its app makes keys, as on a workstation.
func (c *cloud) cdkCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join("node_modules", ".bin", "cdk"), append(args, "--no-notices")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(),
		"AWS_ENDPOINT_URL="+c.status.Endpoint, "AWS_ENDPOINT_URL_S3="+c.status.Endpoint,
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION="+c.status.Region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
		"CI=false", "CDK_VALIDATION=false", "CDK_DISABLE_CLI_TELEMETRY=1", "NO_COLOR=1", "NODE_NO_WARNINGS=1")
	return cmd
}

func (c *cloud) cdk(args ...string) string {
	c.t.Helper()
	out, err := c.cdkCommand(c.t.Context(), args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("cdk %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// synthesizing is held while the app is synthesized: each run builds the simulator
// into the project's dist folder anew.
var synthesizing sync.Mutex

// synth synthesizes the app into a folder of the test's.
func (c *cloud) synth(name string, context ...string) string {
	c.t.Helper()
	synthesizing.Lock()
	defer synthesizing.Unlock()
	assembly := c.file(name)
	args := []string{"synth", "--quiet", "--output", assembly, "-c", "certs=" + c.certs}
	for _, setting := range context {
		args = append(args, "-c", setting)
	}
	c.cdk(args...)
	return assembly
}

func (c *cloud) config() aws.Config {
	return aws.Config{
		Region: c.status.Region, BaseEndpoint: aws.String(c.status.Endpoint),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}
}

func (c *cloud) stack(name string) (status string, outputs map[string]string) {
	c.t.Helper()
	out, err := cloudformation.NewFromConfig(c.config()).DescribeStacks(c.t.Context(), &cloudformation.DescribeStacksInput{StackName: &name})
	check(c.t, err)
	outputs = map[string]string{}
	for _, o := range out.Stacks[0].Outputs {
		outputs[*o.OutputKey] = *o.OutputValue
	}
	return string(out.Stacks[0].StackStatus), outputs
}

// mails returns the mails of the mailbox's folder, first come first.
func (c *cloud) mails() []string {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.data, "mail", "*.eml"))
	check(c.t, err)
	var out []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		check(c.t, err)
		out = append(out, string(b))
	}
	return out
}

// awaitMail waits for a mail after the first seen ones that contains a text.
func (c *cloud) awaitMail(seen int, text string) string {
	c.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for _, mail := range c.mails()[seen:] {
			// Quoted-printable breaks lines with =.
			if plain := strings.ReplaceAll(strings.ReplaceAll(mail, "=\r\n", ""), "=3D", "="); strings.Contains(plain, text) {
				return plain
			}
		}
		c.turn()
	}
	c.t.Fatalf("no mail with %q came; there are %d", text, len(c.mails()))
	return ""
}

// turn lets another round of the endpoint's work pass: a request of its own.
func (c *cloud) turn() {
	response, err := http.Get(c.status.Endpoint + "/_lwt/status")
	check(c.t, err)
	_ = response.Body.Close()
}

var confirmLink = regexp.MustCompile(`http://127\.0\.0\.1:\d+/_lwt/sns/confirm\S+`)

// confirm follows the link of a confirmation mail for an address.
func (c *cloud) confirm(address string) {
	c.t.Helper()
	link := confirmLink.FindString(c.awaitMail(0, "To: <"+address+">"))
	_, path, _ := strings.Cut(link, "/_lwt/") // the port is another after a restart
	response, err := http.Get(c.status.Endpoint + "/_lwt/" + path)
	check(c.t, err)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		c.t.Fatalf("the link %s answers %s", link, response.Status)
	}
}

// mqttJS starts a device that is not ours, with the certificate of the stack.
func (c *cloud) mqttJS(outputs map[string]string) (tell func(string)) {
	c.t.Helper()
	return c.mqttJSWith(outputs, outputs["CertificateId"])
}

// mqttJSWith does so with another certificate of the same thing.
func (c *cloud) mqttJSWith(outputs map[string]string, id string) (tell func(string)) {
	c.t.Helper()
	thing := outputs["ThingName"]
	described, err := iot.NewFromConfig(c.config()).DescribeCertificate(c.t.Context(), &iot.DescribeCertificateInput{CertificateId: &id})
	check(c.t, err)
	certificate := c.file("device.pem")
	check(c.t, os.WriteFile(certificate, []byte(*described.CertificateDescription.CertificatePem), 0o600))
	host, port, err := net.SplitHostPort(c.status.MQTT)
	check(c.t, err)
	cmd := exec.CommandContext(c.t.Context(), "node", "device.mjs", host, port, c.file("ca.pem"), certificate,
		keypair.KeyFile(c.certs, thing), thing, outputs["WillTopic"])
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(c.t, err)
	out, err := cmd.StdoutPipe()
	check(c.t, err)
	// AWS IoT Core takes one CONNECT a second of a client ID.
	time.Sleep(time.Until(c.connected.Add(time.Second)))
	check(c.t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "connected\n" {
		c.t.Fatalf("MQTT.js did not connect: %q, %v", line, err)
	}
	c.connected = time.Now()
	return func(what string) {
		c.t.Helper()
		_, err := fmt.Fprintln(in, what)
		check(c.t, err)
		check(c.t, cmd.Wait())
	}
}

const willOfThing = `"client_id":"lwtThing"`

// The commands of a deployment to AWS, in their order, each followed by a look at
// what is really there.
func TestTheCDKCLIDeploysChangesAndDestroys(t *testing.T) {
	t.Parallel()
	c := startCloud(t, filepath.Join(t.TempDir(), "data"))
	assembly := c.synth("first", "email=ops@example.com", "tags=team=fleet")
	c.cdk("bootstrap", "--app", assembly, "aws://"+c.status.Account+"/"+c.status.Region)
	c.cdk("deploy", "--app", assembly, "--require-approval", "never")

	status, outputs := c.stack("Lastwill")
	if status != "CREATE_COMPLETE" || outputs["RuleName"] != "lastWillRule" {
		t.Errorf("stack is %s with %v", status, outputs)
	}
	c.tagged(outputs, map[string]string{"app": "lastwill", "team": "fleet"})
	c.confirm("ops@example.com")
	c.alarmed()
	seen := len(c.mails())
	device := c.mqttJS(outputs)
	device("drop")
	c.awaitMail(seen, willOfThing)
	c.checked()

	if out := c.cdk("diff", "--app", assembly); !strings.Contains(out, "There were no differences") {
		t.Errorf("the diff of an unchanged stack says\n%s", out)
	}
	if out := c.cdk("deploy", "--app", assembly, "--require-approval", "never"); !strings.Contains(out, "no changes") {
		t.Errorf("deploying an unchanged stack says\n%s", out)
	}

	// Another address and another topic: subscription replaced, rule, role and policy changed in place.
	// Another key too, as docs/runbook.md has it: with a second certificate by hand the device stays.
	c.certs = c.file("certs-new")
	changed := c.synth("second", "email=night@example.com", "executedTopic=/lwt/other")
	extra := c.certifyByHand(outputs)
	rotated := c.mqttJSWith(outputs, extra)
	before := outputs["CertificateId"]
	c.cdk("deploy", "--app", changed, "--require-approval", "never", "--method", "direct")
	status, outputs = c.stack("Lastwill")
	if outputs["CertificateId"] == before {
		t.Error("the stack's certificate was not replaced")
	}
	c.confirm("night@example.com")
	seen = len(c.mails())
	rotated("drop")
	c.awaitMail(seen, willOfThing)
	if status != "UPDATE_COMPLETE" || outputs["ExecutedTopic"] != "/lwt/other" {
		t.Errorf("stack is %s with %v", status, outputs)
	}
	rule, err := iot.NewFromConfig(c.config()).GetTopicRule(t.Context(), &iot.GetTopicRuleInput{RuleName: aws.String("lastWillRule")})
	check(t, err)
	if got := *rule.Rule.Actions[1].Republish.Topic; got != "/lwt/other" {
		t.Errorf("the rule republishes to %s", got)
	}
	subscriptions, err := sns.NewFromConfig(c.config()).ListSubscriptionsByTopic(t.Context(), &sns.ListSubscriptionsByTopicInput{TopicArn: aws.String(outputs["SNSTopicArn"])})
	check(t, err)
	if len(subscriptions.Subscriptions) != 1 || *subscriptions.Subscriptions[0].Endpoint != "night@example.com" {
		t.Errorf("subscriptions are %+v", subscriptions.Subscriptions)
	}

	seen = len(c.mails())
	c.mqttJS(outputs)("disconnect")
	c.mqttJS(outputs)("drop")
	c.awaitMail(seen, willOfThing)
	if got := len(c.mails()) - seen; got != 1 {
		t.Errorf("%d mails came of one that vanished and one that disconnected", got)
	}

	// What was attached by hand stands in the way, and is named; a second version of the policy does not.
	things := iot.NewFromConfig(c.config())
	policy := aws.String(outputs["PolicyName"])
	_, err = things.CreatePolicyVersion(t.Context(), &iot.CreatePolicyVersionInput{PolicyName: policy, PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iot:Publish","Resource":"*"}]}`)})
	check(t, err)
	arn := "arn:aws:iot:" + c.status.Region + ":" + c.status.Account + ":cert/" + extra
	_, err = things.DetachThingPrincipal(t.Context(), &iot.DetachThingPrincipalInput{ThingName: aws.String(outputs["ThingName"]), Principal: &arn})
	check(t, err)
	out, err := c.cdkCommand(t.Context(), "destroy", "--app", changed, "--force").CombinedOutput()
	if command := "aws iot detach-policy --policy-name " + *policy + " --target " + arn; err == nil || !strings.Contains(string(out), command) {
		t.Errorf("with another certificate attached, cdk destroy ended with %v, want %q in\n%s", err, command, out)
	}
	if code, left := c.leftovers(); code != 1 || !strings.Contains(left, "policy's target "+arn) {
		t.Errorf("lwt leftovers ended with %d\n%s", code, left)
	}
	_, err = things.DetachPolicy(t.Context(), &iot.DetachPolicyInput{PolicyName: policy, Target: &arn})
	check(t, err)
	_, err = things.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: &extra, NewStatus: types.CertificateStatusInactive})
	check(t, err)
	_, err = things.DeleteCertificate(t.Context(), &iot.DeleteCertificateInput{CertificateId: &extra})
	check(t, err)
	c.cdk("destroy", "--app", changed, "--force")
	c.nothingLeft("Lastwill")
	if code, left := c.leftovers(); code != 0 {
		t.Errorf("lwt leftovers ended with %d\n%s", code, left)
	}
}

// leftovers runs lwt leftovers against the endpoint.
func (c *cloud) leftovers(args ...string) (code int, output string) {
	c.t.Helper()
	cmd, stdout, stderr := command(c.t, program("lwt"), append([]string{"leftovers"}, args...)...)
	cmd.Env = c.cdkCommand(c.t.Context()).Env
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String() + stderr.String()
}

// tagged asks the APIs for the tags of what can have some.
func (c *cloud) tagged(outputs map[string]string, want map[string]string) {
	c.t.Helper()
	ctx := c.t.Context()
	got := map[string]map[string]string{}
	things := iot.NewFromConfig(c.config())
	for _, resource := range []string{"policy/" + outputs["PolicyName"], "rule/" + outputs["RuleName"]} {
		out, err := things.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: aws.String("arn:aws:iot:" + c.status.Region + ":" + c.status.Account + ":" + resource)})
		check(c.t, err)
		got[resource] = map[string]string{}
		for _, tag := range out.Tags {
			got[resource][*tag.Key] = *tag.Value
		}
	}
	topic, err := sns.NewFromConfig(c.config()).ListTagsForResource(ctx, &sns.ListTagsForResourceInput{ResourceArn: aws.String(outputs["SNSTopicArn"])})
	check(c.t, err)
	got["topic"] = map[string]string{}
	for _, tag := range topic.Tags {
		got["topic"][*tag.Key] = *tag.Value
	}
	group := "arn:aws:logs:" + c.status.Region + ":" + c.status.Account + ":log-group:" + outputs["ErrorLogGroup"]
	log, err := cloudwatchlogs.NewFromConfig(c.config()).ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: &group})
	check(c.t, err)
	got["log group"] = log.Tags
	metrics := cloudwatch.NewFromConfig(c.config())
	alarms, err := metrics.DescribeAlarms(ctx, nil)
	check(c.t, err)
	for _, a := range alarms.MetricAlarms {
		out, err := metrics.ListTagsForResource(ctx, &cloudwatch.ListTagsForResourceInput{ResourceARN: a.AlarmArn})
		check(c.t, err)
		got[*a.AlarmName] = map[string]string{}
		for _, tag := range out.Tags {
			got[*a.AlarmName][*tag.Key] = *tag.Value
		}
	}
	if len(got) != 4+4 {
		c.t.Errorf("%d resources were asked for their tags", len(got))
	}
	for resource, tags := range got {
		for key, value := range want {
			if tags[key] != value {
				c.t.Errorf("%s has the tags %v", resource, tags)
			}
		}
	}
}

// alarmed publishes a will that is no JSON, and waits for what the alarm on that
// tells, in the mail and through GetMetricData.
func (c *cloud) alarmed() {
	c.t.Helper()
	seen := len(c.mails())
	_, err := iotdataplane.NewFromConfig(c.config()).Publish(c.t.Context(), &iotdataplane.PublishInput{Topic: aws.String("/last/will/topic"), Payload: []byte("gone")})
	check(c.t, err)
	mail := c.awaitMail(seen, `ALARM: "lastWillRule-ParseError" in US East (N. Virginia)`)
	if !strings.Contains(mail, "docs/runbook.md, ParseError") {
		c.t.Errorf("the alarm's mail is\n%s", mail)
	}
	now := time.Now()
	data, err := cloudwatch.NewFromConfig(c.config()).GetMetricData(c.t.Context(), &cloudwatch.GetMetricDataInput{
		StartTime: aws.Time(now.Add(-time.Hour)), EndTime: &now,
		MetricDataQueries: []cwtypes.MetricDataQuery{{Id: aws.String("errors"), MetricStat: &cwtypes.MetricStat{
			Period: aws.Int32(3600), Stat: aws.String("Sum"), Metric: &cwtypes.Metric{
				Namespace: aws.String("AWS/IoT"), MetricName: aws.String("ParseError"),
				Dimensions: []cwtypes.Dimension{{Name: aws.String("RuleName"), Value: aws.String("lastWillRule")}},
			},
		}}},
	})
	check(c.t, err)
	sum := 0.0
	for _, v := range data.MetricDataResults[0].Values {
		sum += v
	}
	if sum != 1 {
		c.t.Errorf("ParseError is %v", data.MetricDataResults[0].Values)
	}
}

// certifyByHand makes a second certificate for the thing, of the new key, with the
// rights of the first.
func (c *cloud) certifyByHand(outputs map[string]string) (id string) {
	c.t.Helper()
	ctx, things := c.t.Context(), iot.NewFromConfig(c.config())
	csr, err := os.ReadFile(keypair.CSRFile(c.certs, outputs["ThingName"]))
	check(c.t, err)
	made, err := things.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: aws.String(string(csr)), SetAsActive: true})
	check(c.t, err)
	_, err = things.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String(outputs["PolicyName"]), Target: made.CertificateArn})
	check(c.t, err)
	_, err = things.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String(outputs["ThingName"]), Principal: made.CertificateArn})
	check(c.t, err)
	return *made.CertificateId
}

// checked checks the stack as the README says, and looks at the mails that this brings.
func (c *cloud) checked() {
	c.t.Helper()
	seen := len(c.mails())
	cmd := exec.CommandContext(c.t.Context(), "sh", "-c",
		`eval "$(lwt local env -addr `+strings.TrimPrefix(c.status.Endpoint, "http://")+`)" && exec lwt check -json -modes drop,reset,takeover,kill`)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "XDG_CACHE_HOME="+c.file("cache"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("the check: %v\n%s", err, out)
	}
	var report struct {
		Name     string
		Passed   bool
		Warnings []string
		Removed  []string
	}
	check(c.t, json.Unmarshal(out, &report))
	if !report.Passed || len(report.Warnings) > 0 || len(report.Removed) != 6 {
		c.t.Errorf("the check reports\n%s", out)
	}
	for i, mode := range []string{"drop", "reset", "takeover", "kill"} {
		c.awaitMail(seen+i, `"client_id":"`+report.Name+"-"+mode+`"`)
	}
	if got := len(c.mails()) - seen; got != 4 {
		c.t.Errorf("%d mails came of four devices that vanished", got)
	}
}

// nothingLeft asks the APIs whether a destroyed stack left something behind.
func (c *cloud) nothingLeft(name string) {
	c.t.Helper()
	ctx := c.t.Context()
	_, err := cloudformation.NewFromConfig(c.config()).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		c.t.Errorf("the stack is still there: %v", err)
	}
	things := iot.NewFromConfig(c.config())
	topics := sns.NewFromConfig(c.config())
	for what, count := range map[string]func() int{
		"things": func() int {
			out, err := things.ListThings(ctx, nil)
			check(c.t, err)
			return len(out.Things)
		},
		"certificates": func() int {
			out, err := things.ListCertificates(ctx, nil)
			check(c.t, err)
			return len(out.Certificates)
		},
		"policies": func() int {
			out, err := things.ListPolicies(ctx, nil)
			check(c.t, err)
			return len(out.Policies)
		},
		"rules": func() int {
			out, err := things.ListTopicRules(ctx, nil)
			check(c.t, err)
			return len(out.Rules)
		},
		"topics": func() int {
			out, err := topics.ListTopics(ctx, nil)
			check(c.t, err)
			return len(out.Topics)
		},
		"subscriptions": func() int {
			out, err := topics.ListSubscriptions(ctx, nil)
			check(c.t, err)
			return len(out.Subscriptions)
		},
		"log groups": func() int {
			out, err := cloudwatchlogs.NewFromConfig(c.config()).DescribeLogGroups(ctx, nil)
			check(c.t, err)
			return len(out.LogGroups)
		},
		"roles beside those of cdk bootstrap": func() int {
			out, err := iam.NewFromConfig(c.config()).ListRoles(ctx, nil)
			check(c.t, err)
			own := slices.DeleteFunc(out.Roles, func(r iamtypes.Role) bool { return strings.HasPrefix(*r.RoleName, "cdk-") })
			return len(own)
		},
	} {
		if n := count(); n != 0 {
			c.t.Errorf("%d %s are left", n, what)
		}
	}
}

// A template with a resource that this endpoint does not have is refused before anything is
// made; one that fails leaves nothing, and can be looked at. Mended, the same command
// deploys, and makes once more what somebody deleted.
func TestATemplateThatFailsIsMended(t *testing.T) {
	t.Parallel()
	c := startCloud(t, filepath.Join(t.TempDir(), "data"))
	assembly := c.file("odd")
	check(t, os.Mkdir(assembly, 0o700))
	write := func(file, content string) {
		check(t, os.WriteFile(filepath.Join(assembly, file), []byte(content), 0o600))
	}
	write("manifest.json", `{"version":"38.0.0","artifacts":{"Odd":{"type":"aws:cloudformation:stack","environment":"aws://`+
		c.status.Account+`/`+c.status.Region+`","properties":{"templateFile":"odd.json"}}}}`)
	for _, fault := range []struct{ template, says string }{
		{`{"Resources":{"Log":{"Type":"AWS::Logs::LogGroup"},"Net":{"Type":"AWS::EC2::VPC","DependsOn":"Log"}}}`, "Unrecognized resource types: [AWS::EC2::VPC]"},
		{`{"Resources":{"Log":{"Type":"AWS::Logs::LogGroup"},"Other":{"Type":"AWS::Logs::LogGroup","DependsOn":"Log","Properties":{"RetentionInDays":"seven"}}}}`, "RetentionInDays"},
	} {
		write("odd.json", fault.template)
		out, err := c.cdkCommand(t.Context(), "deploy", "--app", assembly).CombinedOutput()
		if err == nil || !strings.Contains(string(out), fault.says) {
			t.Errorf("the CLI ends with %v and says\n%s", err, out)
		}
	}
	if status, _ := c.stack("Odd"); status != "ROLLBACK_COMPLETE" {
		t.Errorf("stack is %s", status)
	}
	client := cloudformation.NewFromConfig(c.config())
	resources, err := client.ListStackResources(t.Context(), &cloudformation.ListStackResourcesInput{StackName: aws.String("Odd")})
	check(t, err)
	if len(resources.StackResourceSummaries) != 0 {
		t.Errorf("left: %+v", resources.StackResourceSummaries)
	}
	write("odd.json", `{"Resources":{"Log":{"Type":"AWS::Logs::LogGroup","Properties":{"LogGroupName":"odd"}}}}`)
	c.cdk("deploy", "--app", assembly)
	if status, _ := c.stack("Odd"); status != "CREATE_COMPLETE" {
		t.Errorf("mended, the stack is %s", status)
	}
	groups := cloudwatchlogs.NewFromConfig(c.config())
	_, err = groups.DeleteLogGroup(t.Context(), &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String("odd")})
	check(t, err)
	c.cdk("deploy", "--app", assembly, "--revert-drift")
	found, err := groups.DescribeLogGroups(t.Context(), nil)
	check(t, err)
	if status, _ := c.stack("Odd"); status != "UPDATE_COMPLETE" || len(found.LogGroups) != 1 {
		t.Errorf("after --revert-drift the stack is %s and there are %d log groups", status, len(found.LogGroups))
	}
	c.cdk("destroy", "--app", assembly, "--force")
	c.nothingLeft("Odd")
}

// Whoever kills the endpoint or the CLI in the middle repeats the command, and
// all is well.
func TestAnInterruptedDeploymentIsRepeated(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	c := startCloud(t, data)
	assembly := c.synth("app", "email=ops@example.com")
	c.cdk("bootstrap", "--app", assembly, "aws://"+c.status.Account+"/"+c.status.Region)

	// The CLI dies as soon as the stack exists.
	ctx, cancel := context.WithCancel(t.Context())
	cmd := c.cdkCommand(ctx, "deploy", "--app", assembly, "--require-approval", "never")
	check(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	client := cloudformation.NewFromConfig(c.config())
	for begun := false; !begun; {
		select {
		case err := <-ended:
			t.Fatalf("the CLI ended before there was a stack: %v", err)
		default:
			_, err := client.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("Lastwill")})
			begun = err == nil
		}
	}
	cancel()
	<-ended
	// So does the endpoint.
	c.kill()

	c = startCloud(t, data)
	c.cdk("deploy", "--app", assembly, "--require-approval", "never")
	if status, _ := c.stack("Lastwill"); status != "CREATE_COMPLETE" && status != "UPDATE_COMPLETE" {
		t.Errorf("stack is %s", status)
	}
	c.cdk("destroy", "--app", assembly, "--force")
	c.kill()
	c = startCloud(t, data)
	_, err := cloudformation.NewFromConfig(c.config()).DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("Lastwill")})
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a destroyed stack is back after a crash: %v", err)
	}
}

// Three environments with settings of their own are deployed by three CLIs at the
// same time, share the account and touch each other in nothing.
func TestThreeEnvironmentsAtOnce(t *testing.T) {
	t.Parallel()
	c := startCloud(t, filepath.Join(t.TempDir(), "data"))
	file := c.file("environments.json")
	check(t, os.WriteFile(file, []byte(`{
		"blue":  {"email": "blue@example.com", "account": "`+c.status.Account+`", "region": "`+c.status.Region+`"},
		"green": {"email": "green@example.com", "things": ["pump", "valve"], "keepAlive": 60},
		"pr-*":  {"email": "dev@example.com"}
	}`), 0o600))
	environments := map[string]string{"blue": "blue@example.com", "green": "green@example.com", "pr-7": "dev@example.com"}
	assemblies := map[string]string{}
	for name := range environments {
		assemblies[name] = c.synth(name, "environments="+file, "environment="+name)
	}
	c.cdk("bootstrap", "--app", assemblies["blue"], "aws://"+c.status.Account+"/"+c.status.Region)
	failed := make(chan error, len(environments))
	for name := range environments {
		go func() {
			out, err := c.cdkCommand(t.Context(), "deploy", "--app", assemblies[name], "--require-approval", "never").CombinedOutput()
			if err != nil {
				err = fmt.Errorf("deploy %s: %w\n%s", name, err, out)
			}
			failed <- err
		}()
	}
	for range environments {
		check(t, <-failed)
	}
	for name, address := range environments {
		status, outputs := c.stack("Lastwill-" + name)
		if status != "CREATE_COMPLETE" || outputs["RuleName"] != "lastWillRule_"+strings.ReplaceAll(name, "-", "_") {
			t.Errorf("stack %s is %s with %v", name, status, outputs)
		}
		c.confirm(address)
	}
	// Each mail goes to the environment of its device, and to no other.
	for _, name := range []string{"blue", "pr-7"} {
		seen := len(c.mails())
		_, outputs := c.stack("Lastwill-" + name)
		c.mqttJS(outputs)("drop")
		mail := c.awaitMail(seen, `"client_id":"lwtThing-`+name+`"`)
		if !strings.Contains(mail, "To: <"+environments[name]+">") || len(c.mails()) != seen+1 {
			t.Errorf("%d mails came of a device of %s, the last is\n%s", len(c.mails())-seen, name, mail)
		}
	}
	c.cdk("destroy", "--app", assemblies["blue"], "--force")
	for _, name := range []string{"green", "pr-7"} {
		if status, _ := c.stack("Lastwill-" + name); status != "CREATE_COMPLETE" {
			t.Errorf("with blue destroyed, %s is %s", name, status)
		}
	}
}
