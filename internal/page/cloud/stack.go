package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
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
	"github.com/aws/smithy-go"

	"lastwill/internal/iotsql"
	"lastwill/internal/page"
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
		iotdataplane.NewFromConfig(config, func(o *iotdataplane.Options) {
			if o.BaseEndpoint == nil { // the account's own
				o.BaseEndpoint = aws.String("https://" + endpoint)
			}
		}),
	}
}

// A rule is a topic rule of the stack, to be evaluated here.
type rule struct {
	name, account string
	disabled      bool
	query         *iotsql.Rule
}

const (
	// pollEvery is how often rule, subscriptions and the log of failed actions are
	// read, and whether the stack has changed.
	pollEvery = 5 * time.Second
	// readEvery is how often all of the stack is.
	readEvery = time.Minute
)

// poll reads what AWS tells only those who ask.
func (p *Page) poll() {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	counted := time.Now()
	for {
		select {
		case <-ticker.C:
			if !p.refresh(p.ctx) {
				continue
			}
			p.record(p.failures(p.ctx))
			if time.Since(counted) >= countEvery {
				counted = time.Now()
				p.record(p.deliveries(p.ctx))
			}
		case <-p.ctx.Done():
			return
		}
	}
}

// connections are those of the stack's things, and how they ended, as far as AWS
// remembers.
func (p *Page) connections(ctx context.Context) (known []page.Event) {
	for _, r := range p.state.Resources {
		if r.Type != "AWS::IoT::Thing" || ctx.Err() != nil {
			continue
		}
		if e, ok := p.connectionOf(r.PhysicalID); ok {
			known = append(known, e)
		}
	}
	return known
}

// record tells events in the order of their times.
func (p *Page) record(events []page.Event) {
	slices.SortStableFunc(events, func(a, b page.Event) int { return a.Time.Compare(b.Time) })
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		if e.Client != "" {
			p.adopt(e.Client)
		}
		p.history.Record(e)
	}
}

// refresh reads the stack, and reports whether it could. A page that shows it is
// told if something has changed.
func (p *Page) refresh(ctx context.Context) bool {
	p.mu.Lock()
	before, broken, all := p.state, p.broken, time.Since(p.readAt) > readEvery || p.broken != nil
	p.mu.Unlock()
	state, rules, err := p.read(ctx, before, all)
	if ctx.Err() != nil || err != nil && broken != nil || err == nil && broken == nil && reflect.DeepEqual(state, before) {
		return err == nil
	}
	if err != nil {
		p.Log(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = err
	if err == nil || errors.Is(err, errGone) {
		p.state, p.rules = state, rules
	}
	if group := state.Output("ErrorLogGroup"); group != "" {
		p.target.ErrorLog = group // a stack that was destroyed and deployed anew has another
	}
	for _, r := range state.Resources {
		if r.Type == "AWS::IoT::Thing" {
			p.adopt(r.PhysicalID)
		}
	}
	for _, topic := range []string{"WillTopic", "ConnectedTopic", "ExecutedTopic"} {
		if is := state.Output(topic); is != "" && !slices.Contains(p.filters, is) {
			p.note(fmt.Sprintf("the stack's %s is now %s: start lwt watch -web anew to see it", topic, is))
		}
	}
	p.history.Record(page.Event{Kind: page.Stack, Time: time.Now(), Name: p.Stack, Detail: p.Stack + " " + state.Status})
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

// read returns the stack: all of it, or what may have changed since it was read.
func (p *Page) read(ctx context.Context, before page.StackState, all bool) (page.StackState, []rule, error) {
	found, err := p.cloudformation.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &p.Stack})
	if err == nil && len(found.Stacks) != 1 {
		err = fmt.Errorf("there are %d of that name", len(found.Stacks))
	}
	if err != nil && strings.Contains(err.Error(), "does not exist") { // a ValidationError, as others are
		err = errGone
	}
	if err != nil {
		return page.StackState{}, nil, fmt.Errorf("read stack %s: %w", p.Stack, err)
	}
	stack := found.Stacks[0]
	out := page.StackState{
		Name: p.Stack, ID: aws.ToString(stack.StackId), Description: aws.ToString(stack.Description),
		Status: string(stack.StackStatus), Reason: aws.ToString(stack.StackStatusReason),
		Created: aws.ToTime(stack.CreationTime), Updated: aws.ToTime(stack.LastUpdatedTime),
	}
	for _, o := range stack.Outputs {
		out.Outputs = append(out.Outputs, page.Output{Key: aws.ToString(o.OutputKey), Value: aws.ToString(o.OutputValue), Description: aws.ToString(o.Description)})
	}
	if out.ID == before.ID && out.Status == before.Status && out.Updated.Equal(before.Updated) && !all && !strings.HasSuffix(out.Status, "_IN_PROGRESS") {
		out.Resources, out.Events, out.Policies, out.Problems = before.Resources, before.Events, before.Policies, slices.Clone(p.unread)
	} else {
		p.readParts(ctx, &out)
		p.mu.Lock()
		p.readAt, p.unread = time.Now(), slices.Clone(out.Problems)
		p.mu.Unlock()
	}
	var rules []rule
	for _, r := range out.Resources {
		switch r.Type {
		case "AWS::IoT::TopicRule":
			if r, ok := p.readRule(ctx, &out, r.PhysicalID); ok {
				rules = append(rules, r)
			}
		case "AWS::SNS::Topic":
			p.readAddresses(ctx, &out, r.PhysicalID)
		}
	}
	return out, rules, nil
}

// problem notes what keeps a part from being read, in words that are the same each
// time: without the request's ID.
func problem(out *page.StackState, what string, err error) {
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		err = fmt.Errorf("%s: %s", answer.ErrorCode(), answer.ErrorMessage())
	}
	if err != nil {
		out.Problems = append(out.Problems, fmt.Sprintf("%s cannot be read: %v", what, err))
	}
}

// maxEventPages bounds how far back a deployment is looked for.
const maxEventPages = 5

// readParts reads resources, the events of the last deployment, and policies.
func (p *Page) readParts(ctx context.Context, out *page.StackState) {
	resources := cloudformation.NewListStackResourcesPaginator(p.cloudformation, &cloudformation.ListStackResourcesInput{StackName: &out.ID})
	for resources.HasMorePages() {
		found, err := resources.NextPage(ctx)
		if err != nil {
			problem(out, "resources", err)
			break
		}
		for _, r := range found.StackResourceSummaries {
			out.Resources = append(out.Resources, page.Resource{
				LogicalID: aws.ToString(r.LogicalResourceId), Type: aws.ToString(r.ResourceType), PhysicalID: aws.ToString(r.PhysicalResourceId),
				Status: string(r.ResourceStatus), Reason: aws.ToString(r.ResourceStatusReason),
			})
		}
	}
	slices.SortFunc(out.Resources, func(a, b page.Resource) int { return strings.Compare(a.Type+" "+a.LogicalID, b.Type+" "+b.LogicalID) })
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
		if decoded, err := url.QueryUnescape(document); err == nil && strings.HasPrefix(document, "%7B") { // IAM's are escaped
			document = decoded
		}
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
		add(r.PhysicalID, "who may assume the role", aws.ToString(role.Role.AssumeRolePolicyDocument))
		names, err := p.iam.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &r.PhysicalID})
		if err != nil {
			problem(out, "policies of role "+r.PhysicalID, err)
			return
		}
		for _, name := range names.PolicyNames {
			found, err := p.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &r.PhysicalID, PolicyName: &name})
			problem(out, "policy "+name+" of role "+r.PhysicalID, err)
			if err == nil {
				add(r.PhysicalID, "inline policy "+name, aws.ToString(found.PolicyDocument))
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

// readRule reads a topic rule; it returns false if it cannot be evaluated here.
func (p *Page) readRule(ctx context.Context, out *page.StackState, name string) (rule, bool) {
	found, err := p.iot.GetTopicRule(ctx, &iot.GetTopicRuleInput{RuleName: &name})
	if err != nil {
		problem(out, "rule "+name, err)
		return rule{}, false
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
		return rule{}, false
	}
	return rule{name, accountOf(out.ID), shown.Disabled, query}, true
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

func (p *Page) readAddresses(ctx context.Context, out *page.StackState, topic string) {
	pages := sns.NewListSubscriptionsByTopicPaginator(p.sns, &sns.ListSubscriptionsByTopicInput{TopicArn: &topic})
	for pages.HasMorePages() {
		found, err := pages.NextPage(ctx)
		if err != nil {
			problem(out, "subscriptions of "+topic, err)
			return
		}
		for _, s := range found.Subscriptions {
			if strings.HasPrefix(aws.ToString(s.Protocol), "email") {
				out.Addresses = append(out.Addresses, page.Address{Address: aws.ToString(s.Endpoint), Pending: aws.ToString(s.SubscriptionArn) == "PendingConfirmation"})
			}
		}
	}
}
