package cloud

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"

	"lastwill/internal/deployed"
	"lastwill/internal/iotsql"
	"lastwill/internal/page"
	"lastwill/internal/will"
)

type clients struct {
	cloudformation *cloudformation.Client
	iot            *iot.Client
	iam            *iam.Client
	sns            *sns.Client
	logs           *cloudwatchlogs.Client
	cloudwatch     *cloudwatch.Client
	// data speaks with the message broker's own API.
	data *iotdataplane.Client
}

func clientsOf(config aws.Config, endpoint string) clients {
	return clients{
		cloudformation.NewFromConfig(config), iot.NewFromConfig(config), iam.NewFromConfig(config), sns.NewFromConfig(config),
		cloudwatchlogs.NewFromConfig(config), cloudwatch.NewFromConfig(config),
		deployed.DataPlane(config, endpoint),
	}
}

// A rule is a topic rule of the stack, to be evaluated here.
type rule struct {
	name, account string
	disabled      bool
	query         *iotsql.Rule
	// unknowable says why that cannot be done; empty if it can.
	unknowable string
}

// stackSource is the source of a trouble with all of the stack.
const stackSource = "stack"

// poll reads what AWS tells only those who ask.
func (p *Page) poll(ctx context.Context) {
	ticker := time.NewTicker(cmp.Or(p.Every, every))
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		p.round(ctx, n%countEvery == 0)
	}
}

func (p *Page) round(ctx context.Context, count bool) {
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	if !p.refresh(ctx) {
		return
	}
	p.failures(ctx)
	if count {
		p.deliveries(ctx)
	}
}

// refresh reads the stack, and reports whether there is one. Pages that show it are
// told if something has changed.
func (p *Page) refresh(ctx context.Context) bool {
	p.mu.Lock()
	before, rules := p.state, p.rules
	_, troubled := p.troubles[stackSource]
	all := time.Since(p.readAt) > readEvery || troubled
	p.mu.Unlock()
	state, rules, err := p.read(ctx, before, rules, all)
	p.trouble(stackSource, "read stack "+p.Stack, err)
	if err != nil && !errors.Is(err, errGone) || reflect.DeepEqual(state, before) {
		return err == nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.rules = state, rules
	// A stack that was destroyed and deployed anew may have others.
	for output, into := range map[string]*string{will.OutputErrorLogGroup: &p.target.ErrorLog, will.OutputSNSTopicARN: &p.target.SNSTopic} {
		if value := state.Output(output); value != "" {
			*into = value
		}
	}
	for _, r := range state.Resources {
		if r.Type == "AWS::IoT::Thing" {
			p.things[r.PhysicalID] = true
		}
	}
	for _, topic := range []string{will.OutputWillTopic, will.OutputConnectedTopic, will.OutputExecutedTopic} {
		if is := state.Output(topic); is != before.Output(topic) && is != "" && !slices.Contains(p.filters, is) {
			p.history.Record(page.Event{Kind: page.Note, Time: time.Now(), Detail: fmt.Sprintf("the stack's %s is now %s: start lwt watch -web anew to see it", topic, is)})
		}
	}
	p.changed()
	return err == nil
}

var errGone = errors.New("it does not exist: it was destroyed")

func accountOf(id string) string {
	parsed, err := arn.Parse(id)
	if err != nil {
		return ""
	}
	return parsed.AccountID
}

// read returns the stack: all of it, or what may have changed since it was read. A
// part that cannot be read is as it was before, beside the problem.
func (p *Page) read(ctx context.Context, before page.StackState, rulesBefore []rule, all bool) (page.StackState, []rule, error) {
	stack, err := deployed.Stack(ctx, p.AWS, p.Stack)
	if err == nil && stack == nil {
		err = errGone
	}
	if err != nil {
		return page.StackState{}, nil, err
	}
	out := page.StackState{
		Name: p.Stack, ID: aws.ToString(stack.StackId), Description: aws.ToString(stack.Description),
		Status: string(stack.StackStatus), Reason: aws.ToString(stack.StackStatusReason),
		Created: aws.ToTime(stack.CreationTime), Updated: aws.ToTime(stack.LastUpdatedTime),
	}
	for _, o := range stack.Outputs {
		out.Outputs = append(out.Outputs, page.Output{Key: aws.ToString(o.OutputKey), Value: aws.ToString(o.OutputValue), Description: aws.ToString(o.Description)})
	}
	if out.ID != before.ID {
		before, rulesBefore = page.StackState{}, nil
	}
	if out.Status == before.Status && out.Updated.Equal(before.Updated) && !all && !strings.HasSuffix(out.Status, "_IN_PROGRESS") {
		out.Resources, out.Events, out.Policies, out.Problems = before.Resources, before.Events, before.Policies, slices.Clone(p.unread)
	} else {
		p.readParts(ctx, &out, before)
		p.unread, p.readAt = slices.Clone(out.Problems), time.Now()
	}
	var rules []rule
	for _, r := range out.Resources {
		switch r.Type {
		case "AWS::IoT::TopicRule":
			rules = append(rules, p.readRule(ctx, &out, r.PhysicalID, before, rulesBefore)...)
		case "AWS::SNS::Topic":
			p.readAddresses(ctx, &out, r.PhysicalID, before)
		}
	}
	return out, rules, nil
}

// problem notes what keeps a part from being read.
func problem(out *page.StackState, what string, err error) {
	if err != nil {
		out.Problems = append(out.Problems, fmt.Sprintf("%s cannot be read: %v", what, plain(err)))
	}
}

// maxEventPages bounds how far back a deployment is looked for.
const maxEventPages = 5

// readParts reads resources, the events of the last deployment, and policies.
func (p *Page) readParts(ctx context.Context, out *page.StackState, before page.StackState) {
	resources, err := deployed.All(ctx, cloudformation.NewListStackResourcesPaginator(p.cloudformation, &cloudformation.ListStackResourcesInput{StackName: &out.ID}),
		func(page *cloudformation.ListStackResourcesOutput) []cfntypes.StackResourceSummary {
			return page.StackResourceSummaries
		})
	problem(out, "resources", err)
	for _, r := range resources {
		out.Resources = append(out.Resources, page.Resource{
			LogicalID: aws.ToString(r.LogicalResourceId), Type: aws.ToString(r.ResourceType), PhysicalID: aws.ToString(r.PhysicalResourceId),
			Status: string(r.ResourceStatus), Reason: aws.ToString(r.ResourceStatusReason),
		})
	}
	if err != nil {
		out.Resources = before.Resources
	}
	out.Resources = slices.SortedFunc(slices.Values(out.Resources), func(a, b page.Resource) int { return strings.Compare(a.Type+" "+a.LogicalID, b.Type+" "+b.LogicalID) })
	events := cloudformation.NewDescribeStackEventsPaginator(p.cloudformation, &cloudformation.DescribeStackEventsInput{StackName: &out.ID})
	for page := 0; page < maxEventPages && events.HasMorePages(); page++ {
		found, err := events.NextPage(ctx)
		if err != nil {
			problem(out, "events", err)
			break
		}
		if addEvents(out, found.StackEvents) {
			break
		}
	}
	slices.Reverse(out.Events)
	for _, r := range out.Resources {
		p.readPolicies(ctx, out, r)
	}
}

// addEvents adds events, newest first, and reports whether the last deployment
// began with one of them.
func addEvents(out *page.StackState, events []cfntypes.StackEvent) bool {
	for _, e := range events {
		out.Events = append(out.Events, page.StackEvent{
			Time: aws.ToTime(e.Timestamp), LogicalID: aws.ToString(e.LogicalResourceId), Type: aws.ToString(e.ResourceType),
			Status: string(e.ResourceStatus), Reason: aws.ToString(e.ResourceStatusReason),
		})
		if aws.ToString(e.PhysicalResourceId) == out.ID && strings.HasSuffix(string(e.ResourceStatus), "_IN_PROGRESS") && aws.ToString(e.ResourceStatusReason) == "User Initiated" {
			return true
		}
	}
	return false
}

// readPolicies reads the policies of a resource.
func (p *Page) readPolicies(ctx context.Context, out *page.StackState, r page.Resource) {
	add := func(name, kind, document string) {
		out.Policies = append(out.Policies, page.Policy{Name: name, Kind: kind, Document: document})
	}
	switch r.Type {
	case "AWS::IoT::Policy":
		found, err := p.iot.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: &r.PhysicalID})
		problem(out, "policy "+r.PhysicalID, err)
		if err == nil {
			add(r.PhysicalID, "IoT policy, version "+aws.ToString(found.DefaultVersionId), aws.ToString(found.PolicyDocument))
		}
	case "AWS::IAM::Role":
		role, err := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &r.PhysicalID})
		if err != nil {
			problem(out, "role "+r.PhysicalID, err)
			return
		}
		add(r.PhysicalID, "who may assume the role", unescaped(role.Role.AssumeRolePolicyDocument))
		names, err := deployed.All(ctx, iam.NewListRolePoliciesPaginator(p.iam, &iam.ListRolePoliciesInput{RoleName: &r.PhysicalID}),
			func(page *iam.ListRolePoliciesOutput) []string { return page.PolicyNames })
		if err != nil {
			problem(out, "policies of role "+r.PhysicalID, err)
			return
		}
		for _, name := range names {
			found, err := p.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &r.PhysicalID, PolicyName: &name})
			problem(out, "policy "+name+" of role "+r.PhysicalID, err)
			if err == nil {
				add(r.PhysicalID, "inline policy "+name, unescaped(found.PolicyDocument))
			}
		}
	case "AWS::SNS::Topic":
		found, err := p.sns.GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &r.PhysicalID})
		problem(out, "policy of "+r.PhysicalID, err)
		if err == nil {
			add(r.LogicalID, "SNS topic policy", found.Attributes["Policy"])
		}
	}
}

// unescaped is a policy document of IAM's, which are sent as part of a URL (RFC
// 3986; API reference, GetRolePolicy).
func unescaped(document *string) string {
	if text, err := url.PathUnescape(aws.ToString(document)); err == nil {
		return text
	}
	return aws.ToString(document)
}

// beyondUs are functions of AWS IoT SQL whose value AWS alone knows: what it knows
// of the connection that a message came by.
var beyondUs = regexp.MustCompile(`(?i)\b(clientid|principal|sourceip|traceid|get_mqtt_property|get_user_properties)\s*\(`)

// readRule reads a topic rule; none if it is gone or was never read.
func (p *Page) readRule(ctx context.Context, out *page.StackState, name string, before page.StackState, rulesBefore []rule) []rule {
	found, err := p.iot.GetTopicRule(ctx, &iot.GetTopicRuleInput{RuleName: &name})
	if err != nil {
		problem(out, "rule "+name, err)
		for _, r := range before.Rules {
			if r.Name == name {
				out.Rules = append(out.Rules, r)
			}
		}
		return slices.DeleteFunc(slices.Clone(rulesBefore), func(r rule) bool { return r.name != name })
	}
	r := found.Rule
	shown := page.Rule{
		Name: name, Description: aws.ToString(r.Description), SQL: aws.ToString(r.Sql), Version: aws.ToString(r.AwsIotSqlVersion),
		Disabled: aws.ToBool(r.RuleDisabled),
	}
	for _, a := range r.Actions {
		shown.Actions = append(shown.Actions, inWords(a))
	}
	if r.ErrorAction != nil {
		shown.ErrorAction = inWords(*r.ErrorAction)
	}
	out.Rules = append(out.Rules, shown)
	query, err := iotsql.Compile(shown.SQL, iotsql.Version(shown.Version))
	if err != nil {
		out.Problems = append(out.Problems, fmt.Sprintf("rule %s cannot be evaluated on this machine: %v", name, err))
		return nil
	}
	compiled := rule{name: name, account: accountOf(out.ID), disabled: shown.Disabled, query: query}
	if function := beyondUs.FindStringSubmatch(shown.SQL); function != nil {
		compiled.unknowable = "its statement uses " + function[1] + "()"
	}
	return []rule{compiled}
}

func inWords(a types.Action) string {
	switch {
	case a.Sns != nil:
		return "publish to SNS topic " + aws.ToString(a.Sns.TargetArn)
	case a.Republish != nil:
		return "republish to " + aws.ToString(a.Republish.Topic)
	case a.CloudwatchLogs != nil:
		return "write to log group " + aws.ToString(a.CloudwatchLogs.LogGroupName)
	}
	// One that this app does not make: its kind must do.
	var kinds map[string]any
	if b, err := json.Marshal(a); err == nil && json.Unmarshal(b, &kinds) == nil {
		maps.DeleteFunc(kinds, func(_ string, v any) bool { return v == nil })
	}
	return "an action of the kind " + strings.Join(slices.Sorted(maps.Keys(kinds)), ", ")
}

func (p *Page) readAddresses(ctx context.Context, out *page.StackState, topic string, before page.StackState) {
	subscriptions, err := deployed.All(ctx, sns.NewListSubscriptionsByTopicPaginator(p.sns, &sns.ListSubscriptionsByTopicInput{TopicArn: &topic}),
		func(page *sns.ListSubscriptionsByTopicOutput) []snstypes.Subscription { return page.Subscriptions })
	if err != nil {
		problem(out, "subscriptions of "+topic, err)
		out.Addresses = before.Addresses
		return
	}
	for _, s := range subscriptions {
		// One that was ended is listed for some time yet, as Deleted.
		confirmed, pending := arn.IsARN(aws.ToString(s.SubscriptionArn)), aws.ToString(s.SubscriptionArn) == "PendingConfirmation"
		if strings.HasPrefix(aws.ToString(s.Protocol), "email") && (confirmed || pending) {
			out.Addresses = append(out.Addresses, page.Address{Address: aws.ToString(s.Endpoint), Pending: pending})
		}
	}
}
