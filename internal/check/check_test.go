package check_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"lastwill/internal/check"
	"lastwill/internal/deployed"
	"lastwill/internal/device"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/localtest"
	"lastwill/internal/will"
)

// patience is how long an event may take before a test gives up on it. It only
// matters to tests that fail.
const patience = 2 * time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A bench is a local endpoint with the scenario deployed.
type bench struct {
	*localaws.Server
	aws    aws.Config
	iot    *iot.Client
	target will.Target
	roots  *x509.CertPool
	// before is what was there before any check.
	before []string
}

func deploy(t testing.TB) *bench {
	t.Helper()
	server := localtest.Deploy(t, localaws.Options{})
	b := &bench{Server: server, roots: x509.NewCertPool()}
	b.roots.AppendCertsFromPEM(server.IoT.RootCA())
	b.aws = aws.Config{
		Region: localaws.Account.Region, BaseEndpoint: aws.String(server.URL()),
		Credentials: credentials.NewStaticCredentialsProvider(api.TestAccessKeyID, api.TestSecretAccessKey, ""),
	}
	b.iot = iot.NewFromConfig(b.aws)
	var err error
	b.target, err = deployed.Target(deadline(t), b.aws, localtest.Stack)
	must(t, err)
	b.before = server.Leftovers()
	return b
}

func (b *bench) options(changes ...func(*check.Options)) check.Options {
	o := check.Options{AWS: b.aws, Target: b.target, Roots: b.roots, Patience: patience, Quiet: 50 * time.Millisecond}
	for _, change := range changes {
		change(&o)
	}
	return o
}

// nothingLeft makes sure that all which a check made is gone.
func (b *bench) nothingLeft(t testing.TB, r *check.Report) {
	t.Helper()
	if now := b.Leftovers(); !slices.Equal(now, b.before) {
		t.Errorf("there was %q, and now is %q", b.before, now)
	}
	if len(r.Left) > 0 {
		t.Errorf("the report says that there is left: %v", r.Left)
	}
}

func names(r *check.Report) (list []string) {
	for _, s := range r.Steps {
		list = append(list, strings.TrimPrefix(string(s.Mode)+" "+s.Name, " "))
	}
	return list
}

func TestCheckPassesInEveryMode(t *testing.T) {
	t.Parallel()
	b := deploy(t)
	var observed []check.Step
	r, err := check.Run(context.Background(), b.options(func(o *check.Options) {
		o.Modes = check.Modes
		o.Observe = func(s check.Step) { observed = append(observed, s) }
	}))
	must(t, err)
	if !r.Passed || r.Broken != nil {
		t.Fatalf("the check failed: %v", r.Broken)
	}
	want := []string{"endpoint", "queue", "identity"}
	for i, mode := range append(slices.Clone(check.Modes), device.Disconnect) {
		want = append(want, string(mode)+" connect")
		if i == 0 {
			want = append(want, "watch")
		}
		want = append(want, string(mode)+" announce")
		if mode == device.Disconnect {
			want = append(want, "disconnect silence", "remove")
			break
		}
		for _, step := range []string{"vanish", "will", "republish", "sns"} {
			want = append(want, string(mode)+" "+step)
		}
	}
	if got := names(r); !slices.Equal(got, want) {
		t.Errorf("the steps are %q,\nnot %q", got, want)
	}
	if !slices.Equal(observed, r.Steps) {
		t.Errorf("observed was %v", observed)
	}
	if len(r.Removed) != 6 {
		t.Errorf("removed was %q, not thing, certificate, two attachments, queue and subscription", r.Removed)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "nobody gets an e-mail") {
		t.Errorf("the warnings are %q: nobody has confirmed the subscription", r.Warnings)
	}
	b.nothingLeft(t, r)
}

// Each link, broken on purpose, is the one that is named.
func TestTheFirstBrokenLinkIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		claim string
		// breaks the link; it may change how the check is run.
		breaks func(*testing.T, *bench, *check.Options)
		link   check.Link
		says   string
	}{
		{"the policy has no will topic", func(t *testing.T, b *bench, _ *check.Options) {
			b.changePolicy(t, "topic/"+b.target.WillTopic, "topic/elsewhere")
		}, check.Connect, "not authorized"},
		{"the policy has no connected topic", func(t *testing.T, b *bench, _ *check.Options) {
			b.changePolicy(t, "topic/"+b.target.ConnectedTopic, "topic/elsewhere")
		}, check.Announce, "publish to /lwt/connected/topic"},
		{"the policy is gone", func(t *testing.T, b *bench, _ *check.Options) {
			certificates, err := b.iot.ListTargetsForPolicy(deadline(t), &iot.ListTargetsForPolicyInput{PolicyName: &b.target.Policy})
			must(t, err)
			_, err = b.iot.DetachPolicy(deadline(t), &iot.DetachPolicyInput{PolicyName: &b.target.Policy, Target: &certificates.Targets[0]})
			must(t, err)
			_, err = b.iot.DeletePolicy(deadline(t), &iot.DeletePolicyInput{PolicyName: &b.target.Policy})
			must(t, err)
		}, check.Connect, "IoT policy "},
		{"the certificate is deactivated", func(t *testing.T, b *bench, o *check.Options) {
			o.Observe = func(s check.Step) {
				if s.Name == "identity" {
					b.deactivateNewest(t)
				}
			}
		}, check.Connect, "refused the client certificate"},
		{"nothing listens at the broker's address", func(_ *testing.T, _ *bench, o *check.Options) {
			o.Endpoint = "127.0.0.1:1"
		}, check.Connect, "nothing listens there"},
		{"the broker's certificate is another's", func(_ *testing.T, _ *bench, o *check.Options) {
			o.Roots = x509.NewCertPool()
		}, check.Connect, "not to be trusted"},
		{"the network keeps the end from the broker", func(t *testing.T, b *bench, o *check.Options) {
			o.Endpoint = blackHole(t, b.IoT.Address())
		}, check.Will, "no Will Message came on /last/will/topic within 3s"},
		{"the rule is disabled", func(t *testing.T, b *bench, _ *check.Options) {
			_, err := b.iot.DisableTopicRule(deadline(t), &iot.DisableTopicRuleInput{RuleName: &b.target.Rule})
			must(t, err)
		}, check.Rule, "topic rule lastWillRule is disabled"},
		{"the rule is gone", func(t *testing.T, b *bench, _ *check.Options) {
			_, err := b.iot.DeleteTopicRule(deadline(t), &iot.DeleteTopicRuleInput{RuleName: &b.target.Rule})
			must(t, err)
		}, check.Rule, "topic rule lastWillRule does not exist"},
		{"WHERE says no", func(t *testing.T, b *bench, _ *check.Options) {
			b.changeRule(t, func(r *types.TopicRulePayload) { *r.Sql = strings.Replace(*r.Sql, "'on'", "'off'", 1) })
		}, check.Rule, `state.reported.trigger_action = 'off' is false: state.reported.trigger_action is "on"`},
		{"FROM is another topic", func(t *testing.T, b *bench, _ *check.Options) {
			b.changeRule(t, func(r *types.TopicRulePayload) { *r.Sql = "SELECT * FROM '/last/will'" })
		}, check.Rule, "the topic /last/will/topic does not match '/last/will'"},
		{"the rule republishes elsewhere", func(t *testing.T, b *bench, _ *check.Options) {
			b.changeRule(t, func(r *types.TopicRulePayload) { republish(r).Topic = aws.String("/lwt/elsewhere") })
		}, check.Republish, "topic rule lastWillRule republishes to /lwt/elsewhere, not to /lwt/executed"},
		{"the rule does not republish", func(t *testing.T, b *bench, _ *check.Options) {
			b.changeRule(t, func(r *types.TopicRulePayload) {
				r.Actions = slices.DeleteFunc(r.Actions, func(a types.Action) bool { return a.Republish != nil })
			})
		}, check.Republish, "topic rule lastWillRule has no republish action"},
		{"the role may not iot:Publish", func(t *testing.T, b *bench, _ *check.Options) {
			b.changeRole(t, "iot:Publish", "iot:Nothing")
		}, check.Republish, "RepublishAction on /lwt/executed failed: AccessDenied: "},
		{"the role may not sns:Publish", func(t *testing.T, b *bench, _ *check.Options) {
			b.changeRole(t, "sns:Publish", "sns:Nothing")
		}, check.SNS, "SnsAction on arn:aws:sns:us-east-1:123456789012:lwtSNSTopic failed: AuthorizationError: "},
		{"the message format is JSON", func(t *testing.T, b *bench, _ *check.Options) {
			b.changeRule(t, func(r *types.TopicRulePayload) { snsAction(r).MessageFormat = types.MessageFormatJson })
		}, check.SNS, "No default entry in JSON message body"},
		{"the SNS action has another target", func(t *testing.T, b *bench, _ *check.Options) {
			b.changeRule(t, func(r *types.TopicRulePayload) {
				snsAction(r).TargetArn = aws.String("arn:aws:sns:us-east-1:123456789012:elsewhere")
			})
		}, check.SNS, "sends to arn:aws:sns:us-east-1:123456789012:elsewhere, not to"},
		{"the SNS topic is gone", func(t *testing.T, b *bench, _ *check.Options) {
			_, err := sns.NewFromConfig(b.aws).DeleteTopic(deadline(t), &sns.DeleteTopicInput{TopicArn: &b.target.SNSTopic})
			must(t, err)
		}, check.SNS, "SnsAction on arn:aws:sns:us-east-1:123456789012:lwtSNSTopic failed: NotFound: "},
		{"the rule has no SNS action, and no queue can be made", func(t *testing.T, b *bench, o *check.Options) {
			b.changeRule(t, func(r *types.TopicRulePayload) {
				r.Actions = slices.DeleteFunc(r.Actions, func(a types.Action) bool { return a.Sns != nil })
			})
			o.AWS.HTTPClient = withoutQueues{}
		}, check.SNS, "topic rule lastWillRule has no SNS action"},
		{"the role may not sns:Publish, and no queue can be made", func(t *testing.T, b *bench, o *check.Options) {
			b.changeRole(t, "sns:Publish", "sns:Nothing")
			o.AWS.HTTPClient = withoutQueues{}
		}, check.SNS, "SnsAction on arn:aws:sns:us-east-1:123456789012:lwtSNSTopic failed: AuthorizationError: "},
		{"there is an alert after DISCONNECT", func(t *testing.T, b *bench, o *check.Options) {
			var once sync.Once
			o.Observe = func(s check.Step) {
				if s.Mode == device.Disconnect && s.Name == string(check.Announce) {
					once.Do(func() { b.forge(t) })
				}
			}
		}, check.Silence, "although the device sent DISCONNECT"},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			t.Parallel()
			b := deploy(t)
			o := b.options(func(o *check.Options) { o.Patience = 3 * time.Second })
			tt.breaks(t, b, &o)
			b.before = b.Leftovers()
			r, err := check.Run(context.Background(), o)
			must(t, err)
			if r.Passed || r.Broken == nil {
				t.Fatalf("the check passed: %q", names(r))
			}
			if r.Broken.Link != tt.link || !strings.Contains(r.Broken.Reason, tt.says) {
				t.Errorf("%s is broken: %s;\nit should be %s: %s", r.Broken.Link, r.Broken.Reason, tt.link, tt.says)
			}
			// What was deleted or changed behind CloudFormation's back, a deployment with
			// --revert-drift puts back, and it wants the stack's settings.
			drifted := slices.Contains([]check.Link{check.Rule, check.Republish, check.SNS}, tt.link) && !strings.Contains(tt.claim, "disabled")
			const revert = "npx cdk deploy --revert-drift -c email=ops@example.com -c certs=testdata/certs"
			if drifted && r.Broken.Hint != revert {
				t.Errorf("the hint is %q, want %q", r.Broken.Hint, revert)
			}
			b.nothingLeft(t, r)
		})
	}
}

// changePolicy puts another version of the IoT policy in force.
func (b *bench) changePolicy(t *testing.T, from, to string) {
	t.Helper()
	p, err := b.iot.GetPolicy(deadline(t), &iot.GetPolicyInput{PolicyName: &b.target.Policy})
	must(t, err)
	document := strings.Replace(*p.PolicyDocument, from, to, 1)
	if document == *p.PolicyDocument {
		t.Fatalf("the policy has no %s: %s", from, document)
	}
	_, err = b.iot.CreatePolicyVersion(deadline(t), &iot.CreatePolicyVersionInput{PolicyName: &b.target.Policy, PolicyDocument: &document, SetAsDefault: true})
	must(t, err)
}

func (b *bench) deactivateNewest(t *testing.T) {
	t.Helper()
	list, err := b.iot.ListCertificates(deadline(t), &iot.ListCertificatesInput{PageSize: aws.Int32(1)})
	must(t, err)
	_, err = b.iot.UpdateCertificate(deadline(t), &iot.UpdateCertificateInput{
		CertificateId: list.Certificates[0].CertificateId, NewStatus: types.CertificateStatusInactive,
	})
	must(t, err)
}

func (b *bench) changeRule(t *testing.T, change func(*types.TopicRulePayload)) {
	t.Helper()
	got, err := b.iot.GetTopicRule(deadline(t), &iot.GetTopicRuleInput{RuleName: &b.target.Rule})
	must(t, err)
	payload := &types.TopicRulePayload{
		Sql: got.Rule.Sql, AwsIotSqlVersion: got.Rule.AwsIotSqlVersion, Description: got.Rule.Description,
		Actions: got.Rule.Actions, ErrorAction: got.Rule.ErrorAction, RuleDisabled: got.Rule.RuleDisabled,
	}
	change(payload)
	_, err = b.iot.ReplaceTopicRule(deadline(t), &iot.ReplaceTopicRuleInput{RuleName: &b.target.Rule, TopicRulePayload: payload})
	must(t, err)
}

func republish(r *types.TopicRulePayload) *types.RepublishAction {
	i := slices.IndexFunc(r.Actions, func(a types.Action) bool { return a.Republish != nil })
	return r.Actions[i].Republish
}

func snsAction(r *types.TopicRulePayload) *types.SnsAction {
	i := slices.IndexFunc(r.Actions, func(a types.Action) bool { return a.Sns != nil })
	return r.Actions[i].Sns
}

// changeRole changes the policy of the rule's action role; the local endpoint has
// no API of IAM for it.
func (b *bench) changeRole(t *testing.T, from, to string) {
	t.Helper()
	for _, role := range b.IAM.ListRoles() {
		for name, document := range role.Policies {
			must(t, b.IAM.PutRolePolicy(role.Name, name, strings.Replace(document, from, to, 1)))
		}
	}
}

// forge publishes what looks like the will of the device that is about to
// disconnect.
func (b *bench) forge(t *testing.T) {
	t.Helper()
	things, err := b.iot.ListThings(deadline(t), &iot.ListThingsInput{})
	must(t, err)
	for _, thing := range things.Things {
		if strings.HasPrefix(*thing.ThingName, will.NewCheckPrefix(will.ThingName)) {
			_, err := iotdataplane.NewFromConfig(b.aws).Publish(deadline(t), &iotdataplane.PublishInput{
				Topic: &b.target.WillTopic, Payload: will.Payload(*thing.ThingName + "-disconnect"),
			})
			must(t, err)
		}
	}
}

// withoutQueues is the way of somebody whose permissions end before SQS.
type withoutQueues struct{}

func (withoutQueues) Do(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.Header.Get("Authorization"), "/sqs/") {
		return http.DefaultClient.Do(r)
	}
	return &http.Response{
		StatusCode: http.StatusForbidden, Request: r, Header: http.Header{"X-Amzn-Errortype": {"AccessDenied"}},
		Body: io.NopCloser(strings.NewReader(`{"__type":"AccessDenied","message":"not authorized to perform: sqs:createqueue"}`)),
	}, nil
}

// blackHole is a way to an address on which the end of a connection gets lost.
func blackHole(t *testing.T, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var running sync.WaitGroup
	done := make(chan struct{})
	t.Cleanup(func() { close(done); l.Close(); running.Wait() })
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			must(t, err)
			running.Go(func() { _, _ = io.Copy(far, near) }) // and leaves far open
			running.Go(func() { _, _ = io.Copy(near, far) })
			running.Go(func() { <-done; near.Close(); far.Close() })
		}
	})
	return l.Addr().String()
}

func TestWithoutAQueueTheLogOfFailedActionsJudges(t *testing.T) {
	t.Parallel()
	b := deploy(t)
	r, err := check.Run(context.Background(), b.options(func(o *check.Options) { o.AWS.HTTPClient = withoutQueues{} }))
	must(t, err)
	if !r.Passed {
		t.Fatalf("the check failed: %v", r.Broken)
	}
	if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "judged by the rule's definition") }) {
		t.Errorf("the report does not say how the SNS topic was judged: %q", r.Warnings)
	}
	b.nothingLeft(t, r)
}

// Wills of real devices and of other checks are not taken for the check's own.
func TestChecksDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	b := deploy(t)
	ctx, stop := context.WithCancel(context.Background())
	var others sync.WaitGroup
	others.Go(func() {
		for ctx.Err() == nil { // a storm of real wills
			_, _ = iotdataplane.NewFromConfig(b.aws).Publish(ctx, &iotdataplane.PublishInput{Topic: &b.target.WillTopic, Payload: will.Payload(will.ThingName)})
		}
	})
	var checks sync.WaitGroup
	for range 2 {
		checks.Go(func() {
			r, err := check.Run(context.Background(), b.options(func(o *check.Options) { o.Modes = []device.End{device.Drop, device.Reset} }))
			if err != nil || !r.Passed {
				t.Errorf("the check failed: %v, %v", err, r.Broken)
			}
		})
	}
	checks.Wait()
	stop()
	others.Wait()
	b.nothingLeft(t, &check.Report{})
}

// At whatever step a check is interrupted, it removes all that it made.
func TestAnInterruptedCheckLeavesNothing(t *testing.T) {
	t.Parallel()
	b := deploy(t)
	for _, at := range []string{"endpoint", "queue", "identity", "connect", "watch", "announce", "vanish", "will", "sns"} {
		ctx, cancel := context.WithCancel(context.Background())
		r, err := check.Run(ctx, b.options(func(o *check.Options) {
			o.Observe = func(s check.Step) {
				if s.Name == at {
					cancel()
				}
			}
		}))
		cancel()
		if !errors.Is(err, context.Canceled) || r.Passed || r.Broken != nil {
			t.Errorf("interrupted at %s: %v, %+v", at, err, r.Broken)
		}
		b.nothingLeft(t, r)
	}
}

// What cannot be removed is named, with the command that removes it.
func TestWhatCannotBeRemovedIsNamed(t *testing.T) {
	t.Parallel()
	b := deploy(t)
	r, err := check.Run(context.Background(), b.options(func(o *check.Options) {
		o.AWS.HTTPClient = refusing{"DELETE", "/things/lwtThing-check-"}
	}))
	if err == nil || !strings.Contains(err.Error(), "could not remove") {
		t.Fatalf("the error is %v", err)
	}
	if len(r.Left) == 0 || !slices.ContainsFunc(r.Left, func(l check.Leftover) bool {
		return l.What == "thing "+r.Name && l.Command == "aws iot delete-thing --thing-name "+r.Name && strings.Contains(l.Reason, "AccessDenied")
	}) {
		t.Errorf("the report says that there is left: %v", r.Left)
	}
	if !slices.ContainsFunc(b.Leftovers(), func(l string) bool { return l == "thing "+r.Name }) {
		t.Error("the thing is gone")
	}
}

// What a check left that was killed long ago is removed by the next one; what may
// be of one that still runs is not touched.
func TestWhatAKilledCheckLeftIsRemovedByALaterOne(t *testing.T) {
	t.Parallel()
	b := deploy(t)
	old, young := b.killed(t), b.killed(t)
	r, err := check.Run(context.Background(), b.options(func(o *check.Options) {
		o.AWS.HTTPClient = aging{old: 41 * time.Minute, young: 39 * time.Minute}
	}))
	must(t, err)
	if !r.Passed || len(r.Warnings) != 1 { // which is about e-mails
		t.Errorf("the check passed: %t, %v, warnings %q", r.Passed, r.Broken, r.Warnings)
	}
	if got := r.Steps[0]; got.Name != "sweep" || !strings.HasSuffix(got.Detail, ": "+old) {
		t.Errorf("the first step is %+v", got)
	}
	if now := strings.Join(b.Leftovers(), "\n"); strings.Contains(now, old) || strings.Count(now, young) != 3 { // thing, queue, subscription
		t.Errorf("there is still\n%s", now)
	}
	if n := len(b.Leftovers()) - len(b.before); n != 4 { // and the certificate
		t.Errorf("%d things are left", n)
	}
	removed, err := check.Sweep(deadline(t), b.aws, b.target)
	must(t, err)
	if !slices.Equal(removed, []string{young}) {
		t.Errorf("removed was %q, not %s", removed, young)
	}
	b.nothingLeft(t, &check.Report{})
}

func TestWhoMayNotSweepMayCheck(t *testing.T) {
	t.Parallel()
	b := deploy(t)
	r, err := check.Run(context.Background(), b.options(func(o *check.Options) { o.AWS.HTTPClient = withoutSubscriptions{} }))
	must(t, err)
	told := slices.ContainsFunc(r.Warnings, func(w string) bool {
		return strings.HasPrefix(w, "what checks that were killed left is not all removed: ")
	})
	if !r.Passed || !told {
		t.Errorf("the check passed: %t, %v, warnings %q", r.Passed, r.Broken, r.Warnings)
	}
	b.nothingLeft(t, r)
}

// killed runs a check that cannot remove anything: it leaves what one leaves that
// is killed. Its name is returned.
func (b *bench) killed(t *testing.T) string {
	t.Helper()
	r, err := check.Run(context.Background(), b.options(func(o *check.Options) { o.AWS.HTTPClient = withoutRemovals{} }))
	if err == nil || len(r.Left) != 6 {
		t.Fatalf("the check left %v, error %v", r.Left, err)
	}
	return r.Name
}

// withoutRemovals is the way of somebody whose process is killed before.
type withoutRemovals struct{}

func (withoutRemovals) Do(r *http.Request) (*http.Response, error) {
	body, err := reread(r)
	if err != nil {
		return nil, err
	}
	removes := r.Method == http.MethodDelete || strings.HasPrefix(r.URL.Path, "/target-policies/") && r.Method == http.MethodPost ||
		r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, "/certificates/") ||
		strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".DeleteQueue") || bytes.Contains(body, []byte("Action=Unsubscribe"))
	if !removes {
		return http.DefaultClient.Do(r)
	}
	return denied(r), nil
}

// aging makes queues older, by name.
type aging map[string]time.Duration

var created = regexp.MustCompile(`"CreatedTimestamp":"[0-9]+"`)

func (a aging) Do(r *http.Request) (*http.Response, error) {
	asked, err := reread(r)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetQueueAttributes") {
		return answer, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	for name, age := range a {
		if bytes.Contains(asked, []byte(name)) {
			content = created.ReplaceAll(content, fmt.Appendf(nil, `"CreatedTimestamp":"%d"`, time.Now().Add(-age).Unix()))
		}
	}
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	return answer, nil
}

// reread returns a request's body, which can be read again.
func reread(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}

// withoutSubscriptions is the way of somebody who may not list them.
type withoutSubscriptions struct{}

func (withoutSubscriptions) Do(r *http.Request) (*http.Response, error) {
	body, err := reread(r)
	if err != nil || !bytes.Contains(body, []byte("Action=ListSubscriptionsByTopic")) {
		return http.DefaultClient.Do(r)
	}
	return denied(r), nil
}

// refusing is the way of somebody who may not do everything.
type refusing struct{ method, path string }

func (f refusing) Do(r *http.Request) (*http.Response, error) {
	if r.Method != f.method || !strings.HasPrefix(r.URL.Path, f.path) {
		return http.DefaultClient.Do(r)
	}
	return denied(r), nil
}

func denied(r *http.Request) *http.Response {
	body := `{"message":"AccessDenied"}`
	if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
		body = `<ErrorResponse><Error><Code>AuthorizationError</Code></Error></ErrorResponse>`
	}
	return &http.Response{
		StatusCode: http.StatusForbidden, Request: r, Header: http.Header{"X-Amzn-Errortype": {"AccessDeniedException"}},
		Body: io.NopCloser(strings.NewReader(body)),
	}
}

// No goroutine and no socket outlives a check that passes, fails or is interrupted.
func TestNothingOfACheckIsLeftRunning(t *testing.T) {
	b := deploy(t)
	client := &http.Client{Transport: &http.Transport{}}
	o := b.options(func(o *check.Options) { o.AWS.HTTPClient, o.Patience = client, time.Second })
	run := func(change func(*check.Options)) {
		o := o
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		o.Observe = func(s check.Step) {
			if o.Modes[0] == device.Freeze && s.Name == "vanish" {
				cancel() // its device hangs
			}
		}
		change(&o)
		_, err := check.Run(ctx, o)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		client.CloseIdleConnections() // they are the SDK's, for the next call
	}
	run(func(o *check.Options) { o.Modes = []device.End{device.Drop} })
	before := running()
	for _, mode := range check.Modes {
		run(func(o *check.Options) { o.Modes = []device.End{mode} })
	}
	run(func(o *check.Options) { o.Modes, o.Roots = []device.End{device.Drop}, x509.NewCertPool() })
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		left := slices.DeleteFunc(running(), func(g string) bool { return slices.Contains(before, g) })
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still running:\n%s", strings.Join(left, "\n\n"))
		}
	}
}

// running are the stacks of all goroutines of the check, the device and the SDK's
// connections.
func running() (list []string) {
	buf := make([]byte, 4<<20)
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "lastwill/internal/device.") || strings.Contains(g, "lastwill/internal/check.") || strings.Contains(g, "net/http.(*persistConn)") {
			_, stack, _ := strings.Cut(g, "\n") // without its number and state
			list = append(list, stack)
		}
	}
	return list
}

func TestTargetErrors(t *testing.T) {
	t.Parallel()
	b := deploy(t)
	_, err := deployed.Target(deadline(t), b.aws, "Lastwil")
	if err == nil || err.Error() != "there is no stack Lastwil in region us-east-1" {
		t.Errorf("the error is %v", err)
	}
	o := b.options(func(o *check.Options) { o.Target.Policy = "" })
	if _, err := check.Run(deadline(t), o); err == nil || err.Error() != "the target of the check has no PolicyName" {
		t.Errorf("the error is %v", err)
	}
	o = b.options(func(o *check.Options) { o.Modes = []device.End{device.Drop, device.Drop} })
	if _, err := check.Run(deadline(t), o); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("the error is %v", err)
	}
	o = b.options(func(o *check.Options) { o.Modes = []device.End{device.Disconnect} })
	if _, err := check.Run(deadline(t), o); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("mode %q", device.Disconnect)) {
		t.Errorf("the error is %v", err)
	}
}
