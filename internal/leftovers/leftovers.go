// Package leftovers finds what is still there of an environment: after its stack
// is destroyed, what was left behind.
//
// It goes by names and tags, over the APIs of AWS: things and queues by the names of
// the environment's things and of their checks, certificates by what they are
// attached to, policies, rules and topics by name or by the tags app and environment,
// roles, functions and log groups by the names that CloudFormation makes for them.
//
// It cannot tell whose a certificate is that is attached to nothing: AWS IoT has no
// tags for certificates, and their subject may be its own (developer guide,
// "Tagging your AWS IoT resources" and "Create AWS IoT client certificates").
package leftovers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logstypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	datatypes "github.com/aws/aws-sdk-go-v2/service/iotdataplane/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"lastwill/internal/deployed"
	"lastwill/internal/shell"
	"lastwill/internal/will"
)

// An Item is one thing that is still there.
type Item struct {
	// Kind such as certificate.
	Kind string `json:"kind"`
	// Name of it, as the command takes it.
	Name string `json:"name"`
	// Detail says what it belongs to or why it is there. May be empty.
	Detail string `json:"detail,omitempty"`
	// Command removes it.
	Command string `json:"command"`
}

// PendingSubscription is the kind of an Item that nothing can remove, and that
// disappears by itself.
const PendingSubscription = "pending subscription"

// Options of a search.
type Options struct {
	AWS aws.Config
	// Environment as will.NewNames takes it.
	Environment string
	// Assets also lists the objects of the bootstrap bucket, which carry no
	// environment's name: all CDK apps of account and region share it.
	Assets bool
}

// Find lists what is there, in the order in which it can be removed.
func Find(ctx context.Context, o Options) ([]Item, error) {
	f := &finder{
		Options: o, names: will.NewNames(o.Environment), iot: iot.NewFromConfig(o.AWS),
		foreign: map[string]bool{},
	}
	f.generated = regexp.MustCompile(`^` + regexp.QuoteMeta(f.names.Stack) + `-[A-Za-z0-9]+-[A-Za-z0-9]+$`)
	for _, look := range []struct {
		what string
		find func(context.Context) error
	}{
		{"stacks", f.stacks},
		{"things", f.findThings},
		{"policies", f.policies},
		{"certificates", f.findCertificates},
		{"topic rules", f.rules},
		{"functions", f.functions},
		{"roles", f.roles},
		{"log groups", f.logGroups},
		{"alarms and dashboards", f.health},
		{"SNS topics and subscriptions", f.topics},
		{"queues", f.queues},
		{"retained messages", f.retained},
		{"assets", f.assets},
	} {
		if err := look.find(ctx); err != nil {
			return nil, fmt.Errorf("look for %s: %w", look.what, err)
		}
	}
	return f.items, nil
}

type finder struct {
	Options
	names will.Names
	iot   *iot.Client
	// generated are the names that CloudFormation makes for resources of the stack:
	// the stack's, the logical ID, and something random.
	generated *regexp.Regexp
	// foreign are things of stacks of other environments.
	foreign map[string]bool
	// certificates are ARNs of what is attached to the environment's things and policies.
	certificates []string
	items        []Item
}

func (f *finder) add(kind, name, detail, command string, args ...any) {
	f.items = append(f.items, Item{kind, name, detail, fmt.Sprintf(command, args...)})
}

func (f *finder) stacks(ctx context.Context) error {
	stacks, err := deployed.All(ctx, cloudformation.NewDescribeStacksPaginator(cloudformation.NewFromConfig(f.AWS), &cloudformation.DescribeStacksInput{}),
		func(page *cloudformation.DescribeStacksOutput) []cfntypes.Stack { return page.Stacks })
	if err != nil {
		return err
	}
	for _, s := range stacks {
		switch {
		case s.StackStatus == cfntypes.StackStatusDeleteComplete:
		case aws.ToString(s.StackName) == f.names.Stack:
			f.add("stack", *s.StackName, string(s.StackStatus), "%s", deployed.Destroy(ctx, f.AWS, *s.StackName))
		default:
			for _, thing := range strings.Split(deployed.Outputs(s)[will.OutputThingName], ",") {
				f.foreign[thing] = true
			}
		}
	}
	return nil
}

// isThing tells the names of the environment's things, and of all that checks of
// them make.
func (f *finder) isThing(name string) bool {
	thing, _ := will.CutCheck(name)
	if f.foreign[thing] {
		return false
	}
	if f.Environment == "" {
		return thing == will.ThingName
	}
	return strings.HasSuffix(thing, "-"+f.Environment)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (f *finder) findThings(ctx context.Context) error {
	things, err := deployed.All(ctx, iot.NewListThingsPaginator(f.iot, &iot.ListThingsInput{}),
		func(page *iot.ListThingsOutput) []iottypes.ThingAttribute { return page.Things })
	if err != nil {
		return err
	}
	for _, t := range things {
		name := aws.ToString(t.ThingName)
		if !f.isThing(name) {
			continue
		}
		principals, err := deployed.All(ctx, iot.NewListThingPrincipalsPaginator(f.iot, &iot.ListThingPrincipalsInput{ThingName: t.ThingName}),
			func(page *iot.ListThingPrincipalsOutput) []string { return page.Principals })
		if err != nil {
			return err
		}
		for _, p := range principals {
			f.addCertificate(p)
			f.add("thing's certificate", name, "attached is "+p, "aws iot detach-thing-principal --thing-name %s --principal %s", name, p)
		}
		f.add("thing", name, "", "aws iot delete-thing --thing-name %s", name)
	}
	return nil
}

func (f *finder) policies(ctx context.Context) error {
	policies, err := deployed.All(ctx, iot.NewListPoliciesPaginator(f.iot, &iot.ListPoliciesInput{}),
		func(page *iot.ListPoliciesOutput) []iottypes.Policy { return page.Policies })
	if err != nil {
		return err
	}
	for _, p := range policies {
		if err := f.policy(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (f *finder) policy(ctx context.Context, p iottypes.Policy) error {
	name := aws.ToString(p.PolicyName)
	if !f.generated.MatchString(name) {
		if tagged, err := f.iotTagged(ctx, p.PolicyArn); err != nil || !tagged {
			return err
		}
	}
	targets, err := deployed.All(ctx, iot.NewListTargetsForPolicyPaginator(f.iot, &iot.ListTargetsForPolicyInput{PolicyName: p.PolicyName}),
		func(page *iot.ListTargetsForPolicyOutput) []string { return page.Targets })
	if err != nil {
		return err
	}
	for _, target := range targets {
		f.addCertificate(target)
		f.add("policy's target", target, "attached to "+name, "aws iot detach-policy --policy-name %s --target %s", name, target)
	}
	// A policy has five versions at most, on one page (API reference, ListPolicyVersions).
	versions, err := f.iot.ListPolicyVersions(ctx, &iot.ListPolicyVersionsInput{PolicyName: p.PolicyName})
	if err != nil {
		return err
	}
	for _, v := range versions.PolicyVersions {
		if !v.IsDefaultVersion {
			f.add("policy's version", name, "version "+*v.VersionId, "aws iot delete-policy-version --policy-name %s --policy-version-id %s", name, *v.VersionId)
		}
	}
	f.add("IoT policy", name, "", "aws iot delete-policy --policy-name %s", name)
	return nil
}

func (f *finder) iotTagged(ctx context.Context, arn *string) (bool, error) {
	found, err := deployed.All(ctx, iot.NewListTagsForResourcePaginator(f.iot, &iot.ListTagsForResourceInput{ResourceArn: arn}),
		func(page *iot.ListTagsForResourceOutput) []iottypes.Tag { return page.Tags })
	if err != nil {
		return false, ifGone(err)
	}
	tags := map[string]string{}
	for _, t := range found {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return f.tagged(tags), nil
}

func (f *finder) tagged(tags map[string]string) bool {
	return tags[will.TagApp] == will.App && tags[will.TagEnvironment] == f.Environment
}

// findCertificates lists what is attached to the environment's things and policies: a
// certificate itself has neither a name nor tags.
func (f *finder) findCertificates(ctx context.Context) error {
	for _, arn := range f.certificates {
		_, id, isCertificate := cutLast(arn, ":cert/")
		if !isCertificate {
			continue // a group of things, or an identity of Cognito's
		}
		described, err := f.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: &id})
		if err != nil {
			if err = ifGone(err); err != nil {
				return err
			}
			continue
		}
		f.add("certificate", id, string(described.CertificateDescription.Status),
			"aws iot update-certificate --certificate-id %[1]s --new-status INACTIVE && aws iot delete-certificate --certificate-id %[1]s", id)
	}
	return nil
}

func (f *finder) addCertificate(arn string) {
	if !slices.Contains(f.certificates, arn) {
		f.certificates = append(f.certificates, arn)
	}
}

func (f *finder) rules(ctx context.Context) error {
	rules, err := deployed.All(ctx, iot.NewListTopicRulesPaginator(f.iot, &iot.ListTopicRulesInput{}),
		func(page *iot.ListTopicRulesOutput) []iottypes.TopicRuleListItem { return page.Rules })
	if err != nil {
		return err
	}
	for _, r := range rules {
		name := aws.ToString(r.RuleName)
		if name != f.names.Rule {
			if tagged, err := f.iotTagged(ctx, r.RuleArn); err != nil {
				return err
			} else if !tagged {
				continue
			}
		}
		f.add("topic rule", name, "", "aws iot delete-topic-rule --rule-name %s", name)
	}
	return nil
}

// uncut is how much of a stack's name is surely in the generated names of roles and
// functions, which have at most 64 characters.
const uncut = 24

// isGenerated tells the generated names of the stack's roles and functions. Those
// that were cut are known by their tags.
func (f *finder) isGenerated(name string, tags func() (map[string]string, error)) (bool, error) {
	if f.generated.MatchString(name) {
		return true, nil
	}
	if !strings.HasPrefix(name, f.names.Stack[:min(len(f.names.Stack), uncut)]) {
		return false, nil
	}
	found, err := tags()
	if err != nil {
		return false, ifGone(err)
	}
	return f.tagged(found), nil
}

func (f *finder) functions(ctx context.Context) error {
	client := lambda.NewFromConfig(f.AWS)
	functions, err := deployed.All(ctx, lambda.NewListFunctionsPaginator(client, &lambda.ListFunctionsInput{}),
		func(page *lambda.ListFunctionsOutput) []lambdatypes.FunctionConfiguration { return page.Functions })
	if err != nil {
		return err
	}
	for _, function := range functions {
		name := aws.ToString(function.FunctionName)
		ours, err := f.isGenerated(name, func() (map[string]string, error) {
			out, err := client.ListTags(ctx, &lambda.ListTagsInput{Resource: function.FunctionArn})
			if err != nil {
				return nil, err
			}
			return out.Tags, nil
		})
		if err != nil {
			return err
		}
		if ours {
			f.add("function", name, "", "aws lambda delete-function --function-name %s", name)
		}
	}
	return nil
}

func (f *finder) roles(ctx context.Context) error {
	client := iam.NewFromConfig(f.AWS)
	roles, err := deployed.All(ctx, iam.NewListRolesPaginator(client, &iam.ListRolesInput{}),
		func(page *iam.ListRolesOutput) []iamtypes.Role { return page.Roles })
	if err != nil {
		return err
	}
	for _, r := range roles {
		name := aws.ToString(r.RoleName)
		ours, err := f.isGenerated(name, func() (map[string]string, error) {
			role, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: r.RoleName}) // lists have no tags
			if err != nil {
				return nil, err
			}
			tags := map[string]string{}
			for _, t := range role.Role.Tags {
				tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
			return tags, nil
		})
		if err != nil {
			return err
		}
		if !ours {
			continue
		}
		inline, err := deployed.All(ctx, iam.NewListRolePoliciesPaginator(client, &iam.ListRolePoliciesInput{RoleName: r.RoleName}),
			func(page *iam.ListRolePoliciesOutput) []string { return page.PolicyNames })
		if err != nil {
			return err
		}
		for _, p := range inline {
			f.add("role's policy", name, p, "aws iam delete-role-policy --role-name %s --policy-name %s", name, p)
		}
		f.add("role", name, "", "aws iam delete-role --role-name %s", name)
	}
	return nil
}

// logGroups are the stack's, and those that Lambda makes for functions which have
// none.
func (f *finder) logGroups(ctx context.Context) error {
	client := cloudwatchlogs.NewFromConfig(f.AWS)
	for _, of := range []string{"", "/aws/lambda/"} {
		groups, err := deployed.All(ctx, cloudwatchlogs.NewDescribeLogGroupsPaginator(client, &cloudwatchlogs.DescribeLogGroupsInput{
			LogGroupNamePrefix: aws.String(of + f.names.Stack + "-"),
		}),
			func(page *cloudwatchlogs.DescribeLogGroupsOutput) []logstypes.LogGroup { return page.LogGroups })
		if err != nil {
			return err
		}
		for _, g := range groups {
			if name := aws.ToString(g.LogGroupName); f.generated.MatchString(strings.TrimPrefix(name, of)) {
				f.add("log group", name, "", "aws logs delete-log-group --log-group-name %s", name)
			}
		}
	}
	return nil
}

func (f *finder) health(ctx context.Context) error {
	client := cloudwatch.NewFromConfig(f.AWS)
	alarms, err := deployed.All(ctx, cloudwatch.NewDescribeAlarmsPaginator(client, &cloudwatch.DescribeAlarmsInput{AlarmNamePrefix: aws.String(f.names.Rule + "-")}),
		func(page *cloudwatch.DescribeAlarmsOutput) []cwtypes.MetricAlarm { return page.MetricAlarms })
	if err != nil {
		return err
	}
	for _, a := range alarms {
		f.add("alarm", *a.AlarmName, "", "aws cloudwatch delete-alarms --alarm-names %s", *a.AlarmName)
	}
	dashboards, err := deployed.All(ctx, cloudwatch.NewListDashboardsPaginator(client, &cloudwatch.ListDashboardsInput{DashboardNamePrefix: &f.names.Stack}),
		func(page *cloudwatch.ListDashboardsOutput) []cwtypes.DashboardEntry { return page.DashboardEntries })
	if err != nil {
		return err
	}
	for _, d := range dashboards {
		if *d.DashboardName == f.names.Stack+"-"+f.AWS.Region {
			f.add("dashboard", *d.DashboardName, "", "aws cloudwatch delete-dashboards --dashboard-names %s", *d.DashboardName)
		}
	}
	return nil
}

func (f *finder) topics(ctx context.Context) error {
	client := sns.NewFromConfig(f.AWS)
	topics, err := deployed.All(ctx, sns.NewListTopicsPaginator(client, &sns.ListTopicsInput{}),
		func(page *sns.ListTopicsOutput) []snstypes.Topic { return page.Topics })
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, t := range topics {
		arn := aws.ToString(t.TopicArn)
		if _, name, _ := cutLast(arn, ":"); name != f.names.SNSTopic {
			out, err := client.ListTagsForResource(ctx, &sns.ListTagsForResourceInput{ResourceArn: t.TopicArn})
			if err != nil {
				if err = ifGone(err); err != nil {
					return err
				}
				continue
			}
			tags := map[string]string{}
			for _, t := range out.Tags {
				tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
			if !f.tagged(tags) {
				continue
			}
		}
		ours[arn] = true
		f.add("SNS topic", arn, "", "aws sns delete-topic --topic-arn %s", arn)
	}
	subscriptions, err := deployed.All(ctx, sns.NewListSubscriptionsPaginator(client, &sns.ListSubscriptionsInput{}),
		func(page *sns.ListSubscriptionsOutput) []snstypes.Subscription { return page.Subscriptions })
	if err != nil {
		return err
	}
	for _, s := range subscriptions {
		topic := aws.ToString(s.TopicArn)
		if _, name, _ := cutLast(topic, ":"); name != f.names.SNSTopic && !ours[topic] {
			continue
		}
		if arn := aws.ToString(s.SubscriptionArn); strings.HasPrefix(arn, "arn:") {
			f.add("subscription", arn, aws.ToString(s.Endpoint), "aws sns unsubscribe --subscription-arn %s", arn)
			continue
		}
		f.add(PendingSubscription, aws.ToString(s.Endpoint), "of "+topic, "# none: nobody confirmed it, it disappears by itself after two to three days")
	}
	return nil
}

// queues are made by checks only.
func (f *finder) queues(ctx context.Context) error {
	urls, err := deployed.All(ctx, sqs.NewListQueuesPaginator(sqs.NewFromConfig(f.AWS), &sqs.ListQueuesInput{MaxResults: aws.Int32(1000)}),
		func(page *sqs.ListQueuesOutput) []string { return page.QueueUrls })
	if err != nil {
		return err
	}
	for _, url := range urls {
		_, name, _ := cutLast(url, "/")
		if _, found := will.CutCheck(name); found && f.isThing(name) {
			f.add("queue", name, "of a check", "aws sqs delete-queue --queue-url %s", url)
		}
	}
	return nil
}

func (f *finder) retained(ctx context.Context) error {
	endpoint, err := deployed.Endpoint(ctx, f.AWS)
	if err != nil {
		return err
	}
	messages, err := deployed.All(ctx, iotdataplane.NewListRetainedMessagesPaginator(deployed.DataPlane(f.AWS, endpoint), &iotdataplane.ListRetainedMessagesInput{}),
		func(page *iotdataplane.ListRetainedMessagesOutput) []datatypes.RetainedMessageSummary {
			return page.RetainedTopics
		})
	if err != nil {
		return err
	}
	for _, m := range messages {
		if topic := aws.ToString(m.Topic); f.isTopic(topic) {
			f.add("retained message", topic, "", "aws iot-data publish --retain --topic '%s'", strings.ReplaceAll(topic, "'", `'\''`))
		}
	}
	return nil
}

func (f *finder) isTopic(topic string) bool {
	if f.Environment != "" {
		return strings.HasPrefix(topic, "/"+f.Environment+"/")
	}
	return slices.Contains([]string{f.names.WillTopic, f.names.ConnectedTopic, f.names.ExecutedTopic}, topic)
}

func (f *finder) assets(ctx context.Context) error {
	if !f.Assets {
		return nil
	}
	who, err := sts.NewFromConfig(f.AWS).GetCallerIdentity(ctx, nil)
	if err != nil {
		return err
	}
	bucket := fmt.Sprintf("cdk-hnb659fds-assets-%s-%s", aws.ToString(who.Account), f.AWS.Region)
	client := s3.NewFromConfig(f.AWS, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil })
	versioning, err := client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &bucket})
	if refused, ok := errors.AsType[smithy.APIError](err); ok && refused.ErrorCode() == "NoSuchBucket" {
		return nil
	}
	if err != nil {
		return err
	}
	detail := "in " + bucket + ", of any CDK app"
	if versioning.Status == "" { // it never had versions
		objects, err := deployed.All(ctx, s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket}),
			func(page *s3.ListObjectsV2Output) []s3types.Object { return page.Contents })
		for _, object := range objects {
			f.add("asset", *object.Key, detail, "aws s3 rm %s", shell.Quote("s3://"+bucket+"/"+*object.Key))
		}
		return err
	}
	// Without its version an object only disappears behind a delete marker.
	versions, err := deployed.All(ctx, s3.NewListObjectVersionsPaginator(client, &s3.ListObjectVersionsInput{Bucket: &bucket}),
		func(page *s3.ListObjectVersionsOutput) (all []s3types.ObjectVersion) {
			for _, m := range page.DeleteMarkers {
				all = append(all, s3types.ObjectVersion{Key: m.Key, VersionId: m.VersionId})
			}
			return append(all, page.Versions...)
		})
	for _, v := range versions {
		f.add("asset", *v.Key, "version "+*v.VersionId+" "+detail, "aws s3api delete-object --bucket %s --key %s --version-id %s", bucket, shell.Quote(*v.Key), shell.Quote(*v.VersionId))
	}
	return err
}

// ifGone takes what went away meanwhile for no error.
func ifGone(err error) error {
	var code smithy.APIError
	if errors.As(err, &code) && (strings.Contains(code.ErrorCode(), "NotFound") || code.ErrorCode() == "NoSuchEntity") {
		return nil
	}
	return err
}
