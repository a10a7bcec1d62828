package api_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/google/go-cmp/cmp"

	"lastwill/internal/await"
	"lastwill/internal/localaws/api"
	local "lastwill/internal/localaws/cloudformation"
)

// stacksOf returns an endpoint that deploys resources of one type. One named
// "no" cannot be made, one named "stay" cannot be deleted while stays is true.
func stacksOf(t testing.TB) (e *endpoint, client *cloudformation.Client, stays *bool) {
	t.Helper()
	stays = new(bool)
	e = start(t, func(s *api.Services) {
		s.CloudFormation = local.New(local.Options{Account: account, Parameter: s.SSM.Get, Types: map[string]local.Type{"Test::Thing": {
			Properties: []string{"Name", "Size"}, Replacement: []string{"Name"},
			Create: func(r local.Request) (local.Result, error) {
				name, _ := r.Properties["Name"].(string)
				if name == "no" {
					return local.Result{}, errors.New("nobody wants it")
				}
				return local.Result{PhysicalID: name, Attributes: map[string]any{"Arn": "arn:" + name}}, nil
			},
			Update: func(r local.Request) (local.Result, error) {
				if r.Properties["Size"] == "bad" {
					return local.Result{}, errors.New("it does not fit")
				}
				return local.Result{PhysicalID: r.PhysicalID, Attributes: map[string]any{"Arn": "arn:" + r.PhysicalID}}, nil
			},
			Delete: func(r local.Request) error {
				if *stays && r.PhysicalID == "stay" {
					return errors.New("it is in use")
				}
				return nil
			},
		}}})
	})
	return e, cloudformation.NewFromConfig(e.config()), stays
}

// thingTemplate has a thing and an output with its ARN.
func thingTemplate(name, size string) *string {
	return aws.String(fmt.Sprintf(`{"Description":"a thing","Parameters":{"Color":{"Type":"String","Default":"red"}},
		"Resources":{"Thing":{"Type":"Test::Thing","Properties":{"Name":%q,"Size":%q}}},
		"Outputs":{"Arn":{"Value":{"Fn::Sub":"${Thing.Arn} is ${Color}"},"Description":"where"}}}`, name, size))
}

// quick makes the SDK's waiters poll without pauses.
const quick = time.Millisecond

func created(t testing.TB, client *cloudformation.Client, name string, body *string) *string {
	t.Helper()
	out, err := client.CreateStack(t.Context(), &cloudformation.CreateStackInput{
		StackName: &name, TemplateBody: body, Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("ops")}},
	})
	check(t, err)
	waiter := cloudformation.NewStackCreateCompleteWaiter(client, func(o *cloudformation.StackCreateCompleteWaiterOptions) { o.MinDelay, o.MaxDelay = quick, quick })
	check(t, waiter.Wait(await.Context(t), &cloudformation.DescribeStacksInput{StackName: out.StackId}, time.Minute))
	return out.StackId
}

// ended polls, as the CDK CLI does, until a stack is not in progress.
func ended(t testing.TB, client *cloudformation.Client, name *string) types.Stack {
	t.Helper()
	for {
		out, err := client.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: name})
		check(t, err)
		if s := out.Stacks[0]; !strings.HasSuffix(string(s.StackStatus), "_IN_PROGRESS") {
			return s
		}
	}
}

func TestStackIsCreatedUpdatedAndDeleted(t *testing.T) {
	t.Parallel()
	_, client, _ := stacksOf(t)
	id := created(t, client, "Stack", thingTemplate("a", "1"))
	stack := ended(t, client, aws.String("Stack"))
	if *stack.StackId != *id || *stack.Description != "a thing" || *stack.Outputs[0].OutputValue != "arn:a is red" || *stack.Outputs[0].Description != "where" ||
		*stack.Tags[0].Value != "ops" || *stack.Parameters[0].ParameterKey != "Color" || *stack.Parameters[0].ParameterValue != "red" {
		t.Errorf("the stack is %+v", stack)
	}
	resources, err := client.DescribeStackResources(t.Context(), &cloudformation.DescribeStackResourcesInput{StackName: id})
	check(t, err)
	if r := resources.StackResources; len(r) != 1 || *r[0].PhysicalResourceId != "a" || r[0].ResourceStatus != types.ResourceStatusCreateComplete {
		t.Errorf("the resources are %+v", r)
	}
	template, err := client.GetTemplate(t.Context(), &cloudformation.GetTemplateInput{StackName: aws.String("Stack")})
	check(t, err)
	if *template.TemplateBody != *thingTemplate("a", "1") {
		t.Errorf("the template is %s", *template.TemplateBody)
	}

	update := &cloudformation.UpdateStackInput{StackName: id, TemplateBody: thingTemplate("a", "2"), Tags: stack.Tags}
	_, err = client.UpdateStack(t.Context(), update)
	check(t, err)
	if stack = ended(t, client, id); stack.StackStatus != types.StackStatusUpdateComplete || stack.LastUpdatedTime == nil {
		t.Errorf("the stack is %s", stack.StackStatus)
	}
	_, err = client.UpdateStack(t.Context(), update)
	if refused := fails(t, err, "ValidationError"); refused.ErrorMessage() != "No updates are to be performed." {
		t.Errorf("without a change the answer is %q", refused.ErrorMessage())
	}
	_, err = client.UpdateStack(t.Context(), &cloudformation.UpdateStackInput{
		StackName: id, UsePreviousTemplate: aws.Bool(true), Tags: stack.Tags,
		Parameters: []types.Parameter{{ParameterKey: aws.String("Color"), ParameterValue: aws.String("blue")}},
	})
	check(t, err)
	if stack = ended(t, client, id); *stack.Outputs[0].OutputValue != "arn:a is blue" {
		t.Errorf("the output is %s", *stack.Outputs[0].OutputValue)
	}

	_, err = client.DeleteStack(t.Context(), &cloudformation.DeleteStackInput{StackName: aws.String("Stack")})
	check(t, err)
	if stack = ended(t, client, id); stack.StackStatus != types.StackStatusDeleteComplete || stack.DeletionTime == nil {
		t.Errorf("the stack is %s", stack.StackStatus)
	}
	_, err = client.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: aws.String("Stack")})
	if refused := fails(t, err, "ValidationError"); refused.ErrorMessage() != "Stack with id Stack does not exist" { // the CDK CLI looks for these words
		t.Errorf("of a deleted stack the answer is %q", refused.ErrorMessage())
	}
	all, err := client.DescribeStacks(t.Context(), nil)
	check(t, err)
	listed, err := client.ListStacks(t.Context(), &cloudformation.ListStacksInput{StackStatusFilter: []types.StackStatus{types.StackStatusDeleteComplete}})
	check(t, err)
	living, err := client.ListStacks(t.Context(), &cloudformation.ListStacksInput{StackStatusFilter: []types.StackStatus{types.StackStatusCreateComplete}})
	check(t, err)
	if len(all.Stacks) != 0 || len(listed.StackSummaries) != 1 || len(living.StackSummaries) != 0 {
		t.Errorf("%d stacks are described, %d deleted and %d living ones are listed", len(all.Stacks), len(listed.StackSummaries), len(living.StackSummaries))
	}
	_, err = client.DeleteStack(t.Context(), &cloudformation.DeleteStackInput{StackName: aws.String("Stack")})
	check(t, err) // as on AWS
}

func TestChangeSetIsCreatedAndExecuted(t *testing.T) {
	t.Parallel()
	_, client, _ := stacksOf(t)
	create := func(name string, kind types.ChangeSetType, body *string) *cloudformation.CreateChangeSetOutput {
		t.Helper()
		out, err := client.CreateChangeSet(t.Context(), &cloudformation.CreateChangeSetInput{
			StackName: aws.String("Stack"), ChangeSetName: &name, ChangeSetType: kind, TemplateBody: body, Description: aws.String("for a test"),
		})
		check(t, err)
		return out
	}
	first := create("first", types.ChangeSetTypeCreate, thingTemplate("a", "1"))
	if stack := describe(t, client, "Stack"); stack.StackStatus != types.StackStatusReviewInProgress {
		t.Errorf("the stack is %s", stack.StackStatus)
	}
	listed, err := client.ListChangeSets(t.Context(), &cloudformation.ListChangeSetsInput{StackName: aws.String("Stack")})
	check(t, err)
	if len(listed.Summaries) != 1 || listed.Summaries[0].ExecutionStatus != types.ExecutionStatusAvailable {
		t.Errorf("the change sets are %+v", listed.Summaries)
	}
	_, err = client.ExecuteChangeSet(t.Context(), &cloudformation.ExecuteChangeSetInput{ChangeSetName: first.Id})
	check(t, err)
	if stack := ended(t, client, first.StackId); stack.StackStatus != types.StackStatusCreateComplete {
		t.Errorf("the stack is %s", stack.StackStatus)
	}

	create("same", types.ChangeSetTypeUpdate, thingTemplate("a", "1"))
	same, err := client.DescribeChangeSet(t.Context(), &cloudformation.DescribeChangeSetInput{StackName: aws.String("Stack"), ChangeSetName: aws.String("same")})
	check(t, err)
	if same.Status != types.ChangeSetStatusFailed || !strings.Contains(*same.StatusReason, "didn't contain changes") { // the CDK CLI looks for these words
		t.Errorf("a change set without changes is %s: %s", same.Status, aws.ToString(same.StatusReason))
	}
	_, err = client.ExecuteChangeSet(t.Context(), &cloudformation.ExecuteChangeSetInput{StackName: aws.String("Stack"), ChangeSetName: aws.String("same")})
	failsAs[*types.InvalidChangeSetStatusException](t, err)
	_, err = client.DeleteChangeSet(t.Context(), &cloudformation.DeleteChangeSetInput{StackName: aws.String("Stack"), ChangeSetName: aws.String("same")})
	check(t, err)
	_, err = client.DescribeChangeSet(t.Context(), &cloudformation.DescribeChangeSetInput{StackName: aws.String("Stack"), ChangeSetName: aws.String("same")})
	failsAs[*types.ChangeSetNotFoundException](t, err)

	create("other", types.ChangeSetTypeUpdate, thingTemplate("b", "1"))
	other, err := client.DescribeChangeSet(t.Context(), &cloudformation.DescribeChangeSetInput{StackName: aws.String("Stack"), ChangeSetName: aws.String("other")})
	check(t, err)
	change := other.Changes[0].ResourceChange
	if len(other.Changes) != 1 || change.Action != types.ChangeActionModify || change.Replacement != types.ReplacementTrue ||
		*change.Details[0].Target.Name != "Name" || change.Details[0].Target.RequiresRecreation != types.RequiresRecreationAlways {
		t.Errorf("the changes are %+v", other.Changes)
	}
	template, err := client.GetTemplate(t.Context(), &cloudformation.GetTemplateInput{StackName: aws.String("Stack"), ChangeSetName: aws.String("other")})
	check(t, err)
	if *template.TemplateBody != *thingTemplate("b", "1") {
		t.Errorf("the template of the change set is %s", *template.TemplateBody)
	}
	_, err = client.ExecuteChangeSet(t.Context(), &cloudformation.ExecuteChangeSetInput{StackName: aws.String("Stack"), ChangeSetName: aws.String("other")})
	check(t, err)
	if stack := ended(t, client, first.StackId); *stack.Outputs[0].OutputValue != "arn:b is red" {
		t.Errorf("the output is %s", *stack.Outputs[0].OutputValue)
	}
}

func describe(t testing.TB, client *cloudformation.Client, name string) types.Stack {
	t.Helper()
	out, err := client.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: &name})
	check(t, err)
	return out.Stacks[0]
}

func TestFailuresEndAsOnAWS(t *testing.T) {
	t.Parallel()
	_, client, stays := stacksOf(t)
	out, err := client.CreateStack(t.Context(), &cloudformation.CreateStackInput{StackName: aws.String("No"), TemplateBody: thingTemplate("no", "1")})
	check(t, err)
	if stack := ended(t, client, out.StackId); stack.StackStatus != types.StackStatusRollbackComplete {
		t.Errorf("the stack is %s", stack.StackStatus)
	}
	events, err := client.DescribeStackEvents(t.Context(), &cloudformation.DescribeStackEventsInput{StackName: out.StackId})
	check(t, err)
	var got []string
	for _, e := range slices.Backward(events.StackEvents) { // the newest come first
		got = append(got, strings.TrimSpace(fmt.Sprint(*e.LogicalResourceId, " ", e.ResourceStatus, " ", aws.ToString(e.ResourceStatusReason))))
	}
	if diff := cmp.Diff([]string{
		"No CREATE_IN_PROGRESS User Initiated", "Thing CREATE_IN_PROGRESS", "Thing CREATE_FAILED nobody wants it",
		"No ROLLBACK_IN_PROGRESS The following resource(s) failed to create: [Thing]. Rollback requested by user.", "No ROLLBACK_COMPLETE",
	}, got); diff != "" {
		t.Error(diff)
	}
	_, err = client.UpdateStack(t.Context(), &cloudformation.UpdateStackInput{StackName: aws.String("No"), TemplateBody: thingTemplate("yes", "1")})
	if refused := fails(t, err, "ValidationError"); !strings.Contains(refused.ErrorMessage(), "is in ROLLBACK_COMPLETE state and can not be updated") {
		t.Errorf("the answer is %q", refused.ErrorMessage())
	}

	id := created(t, client, "Stay", thingTemplate("stay", "1"))
	_, err = client.UpdateStack(t.Context(), &cloudformation.UpdateStackInput{StackName: id, TemplateBody: thingTemplate("stay", "bad")})
	check(t, err)
	if stack := ended(t, client, id); stack.StackStatus != types.StackStatusUpdateRollbackComplete || *stack.Outputs[0].OutputValue != "arn:stay is red" {
		t.Errorf("the stack is %s with %+v", stack.StackStatus, stack.Outputs)
	}
	*stays = true
	_, err = client.DeleteStack(t.Context(), &cloudformation.DeleteStackInput{StackName: id})
	check(t, err)
	if stack := ended(t, client, id); stack.StackStatus != types.StackStatusDeleteFailed || !strings.Contains(*stack.StackStatusReason, "[Thing]") {
		t.Errorf("the stack is %s: %s", stack.StackStatus, aws.ToString(stack.StackStatusReason))
	}
	*stays = false
	_, err = client.DeleteStack(t.Context(), &cloudformation.DeleteStackInput{StackName: id})
	check(t, err)
	if stack := ended(t, client, id); stack.StackStatus != types.StackStatusDeleteComplete {
		t.Errorf("tried again, the stack is %s", stack.StackStatus)
	}
}

func TestProtectedStackIsNotDeleted(t *testing.T) {
	t.Parallel()
	_, client, _ := stacksOf(t)
	id := created(t, client, "Stack", thingTemplate("a", "1"))
	protect := func(on bool) {
		_, err := client.UpdateTerminationProtection(t.Context(), &cloudformation.UpdateTerminationProtectionInput{StackName: id, EnableTerminationProtection: &on})
		check(t, err)
	}
	protect(true)
	_, err := client.DeleteStack(t.Context(), &cloudformation.DeleteStackInput{StackName: id})
	if refused := fails(t, err, "ValidationError"); !strings.Contains(refused.ErrorMessage(), "TerminationProtection is enabled") {
		t.Errorf("the answer is %q", refused.ErrorMessage())
	}
	protect(false)
	_, err = client.DeleteStack(t.Context(), &cloudformation.DeleteStackInput{StackName: id})
	check(t, err)
	if stack := ended(t, client, id); stack.StackStatus != types.StackStatusDeleteComplete {
		t.Errorf("the stack is %s", stack.StackStatus)
	}
}

// manyThings is a template with so many resources that answers have pages.
func manyThings(n int) *string {
	var resources []string
	for i := range n {
		resources = append(resources, fmt.Sprintf(`"T%03d":{"Type":"Test::Thing","Properties":{"Name":"t%d"}}`, i, i))
	}
	return aws.String(`{"Resources":{` + strings.Join(resources, ",") + `}}`)
}

func TestEventsAndResourcesHavePages(t *testing.T) {
	t.Parallel()
	_, client, _ := stacksOf(t)
	id := created(t, client, "Many", manyThings(120))
	var got []string
	seen := map[string]bool{}
	events := cloudformation.NewDescribeStackEventsPaginator(client, &cloudformation.DescribeStackEventsInput{StackName: id})
	for events.HasMorePages() {
		page, err := events.NextPage(t.Context())
		check(t, err)
		got = append(got, fmt.Sprint(len(page.StackEvents)))
		for _, e := range page.StackEvents {
			seen[*e.EventId] = true
		}
	}
	resources := cloudformation.NewListStackResourcesPaginator(client, &cloudformation.ListStackResourcesInput{StackName: id})
	for resources.HasMorePages() {
		page, err := resources.NextPage(t.Context())
		check(t, err)
		got = append(got, fmt.Sprint(len(page.StackResourceSummaries)))
	}
	if want := "100 100 42 100 20"; strings.Join(got, " ") != want || len(seen) != 242 {
		t.Errorf("the pages have %v, want %s; %d events", got, want, len(seen))
	}
}

func TestTemplatesAreReadFromTheAssetStore(t *testing.T) {
	t.Parallel()
	e, client, _ := stacksOf(t)
	put(t, e.bucket(t), "templates/thing.json", *thingTemplate("a", "1"))
	for _, address := range []string{
		e.url + "/" + assets + "/templates/thing.json",
		"https://" + assets + ".s3.us-east-1.amazonaws.com/templates/thing.json",
		"https://s3.us-east-1.amazonaws.com/" + assets + "/templates/thing.json",
	} {
		summary, err := client.GetTemplateSummary(t.Context(), &cloudformation.GetTemplateSummaryInput{TemplateURL: &address})
		check(t, err)
		if *summary.Description != "a thing" || !slices.Equal(summary.ResourceTypes, []string{"Test::Thing"}) || *summary.Parameters[0].DefaultValue != "red" {
			t.Errorf("the summary of %s is %+v", address, summary)
		}
	}
	_, err := client.GetTemplateSummary(t.Context(), &cloudformation.GetTemplateSummaryInput{TemplateURL: aws.String(e.url + "/" + assets + "/none")})
	fails(t, err, "ValidationError")
	valid, err := client.GetTemplateSummary(t.Context(), &cloudformation.GetTemplateSummaryInput{
		TemplateBody: aws.String(`{"Resources":{"R":{"Type":"AWS::IAM::Role","Properties":{"RoleName":"r"}}}}`),
	})
	check(t, err)
	if !slices.Equal(valid.Capabilities, []types.Capability{types.CapabilityCapabilityNamedIam}) {
		t.Errorf("the capabilities are %v", valid.Capabilities)
	}
}

func TestCloudFormationRefusesWithItsOwnErrors(t *testing.T) {
	t.Parallel()
	_, client, _ := stacksOf(t)
	created(t, client, "Stack", thingTemplate("a", "1"))
	stack := aws.String("Stack")
	for _, test := range []struct {
		claim, code, says string
		call              func() error
	}{
		{"a name that is taken", "AlreadyExistsException", "Stack [Stack] already exists", func() error {
			_, err := client.CreateStack(t.Context(), &cloudformation.CreateStackInput{StackName: stack, TemplateBody: thingTemplate("a", "1")})
			return err
		}},
		{"a name that is a path", "ValidationError", "../../etc", func() error {
			_, err := client.CreateStack(t.Context(), &cloudformation.CreateStackInput{StackName: aws.String("../../etc"), TemplateBody: thingTemplate("a", "1")})
			return err
		}},
		{"roles without a word for them", "InsufficientCapabilitiesException", "CAPABILITY_IAM", func() error {
			_, err := client.CreateStack(t.Context(), &cloudformation.CreateStackInput{
				StackName: aws.String("Roles"), TemplateBody: aws.String(`{"Resources":{"R":{"Type":"AWS::IAM::Role"}}}`),
			})
			return err
		}},
		{"a template with a cycle", "ValidationError", "Circular dependency between resources: [A]", func() error {
			_, err := client.CreateStack(t.Context(), &cloudformation.CreateStackInput{
				StackName: aws.String("Cycle"), TemplateBody: aws.String(`{"Resources":{"A":{"Type":"Test::Thing","DependsOn":"A"}}}`),
			})
			return err
		}},
		{"a template and an address of one", "ValidationError", "Either Template URL or Template Body", func() error {
			_, err := client.GetTemplateSummary(t.Context(), &cloudformation.GetTemplateSummaryInput{})
			return err
		}},
		{"an update of nothing", "ValidationError", "Stack [Nobody] does not exist", func() error {
			_, err := client.UpdateStack(t.Context(), &cloudformation.UpdateStackInput{StackName: aws.String("Nobody"), TemplateBody: thingTemplate("a", "1")})
			return err
		}},
		{"a parameter that the template does not have", "ValidationError", "Colour", func() error {
			_, err := client.UpdateStack(t.Context(), &cloudformation.UpdateStackInput{
				StackName: stack, TemplateBody: thingTemplate("a", "2"),
				Parameters: []types.Parameter{{ParameterKey: aws.String("Colour"), ParameterValue: aws.String("x")}},
			})
			return err
		}},
		{"events of nothing", "ValidationError", "Stack [Nobody] does not exist", func() error {
			_, err := client.DescribeStackEvents(t.Context(), &cloudformation.DescribeStackEventsInput{StackName: aws.String("Nobody")})
			return err
		}},
		{"a page of another list", "ValidationError", "NextToken", func() error {
			_, err := client.DescribeStackEvents(t.Context(), &cloudformation.DescribeStackEventsInput{StackName: stack, NextToken: aws.String("x")})
			return err
		}},
		{"a change set that creates what there is", "ValidationError", "already exists", func() error {
			_, err := client.CreateChangeSet(t.Context(), &cloudformation.CreateChangeSetInput{
				StackName: stack, ChangeSetName: aws.String("c"), ChangeSetType: types.ChangeSetTypeCreate, TemplateBody: thingTemplate("a", "1"),
			})
			return err
		}},
		{"an import", "ValidationError", "IMPORT", func() error {
			_, err := client.CreateChangeSet(t.Context(), &cloudformation.CreateChangeSetInput{
				StackName: stack, ChangeSetName: aws.String("c"), ChangeSetType: types.ChangeSetTypeImport, TemplateBody: thingTemplate("a", "1"),
			})
			return err
		}},
		{"an operation that is not here", "NotImplemented", "DetectStackDrift of cloudformation", func() error {
			_, err := client.DetectStackDrift(t.Context(), &cloudformation.DetectStackDriftInput{StackName: stack})
			return err
		}},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			if refused := fails(t, test.call(), test.code); !strings.Contains(refused.ErrorMessage(), test.says) {
				t.Errorf("the answer is %q", refused.ErrorMessage())
			}
		})
	}
}
