package leftovers_test

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/smithy-go/middleware"

	"lastwill/internal/leftovers"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/will"
)

// twoPages answers lists that the local endpoint gives on one page: what matters
// is on the second.
func twoPages(_ context.Context, in middleware.InitializeInput, next func() (middleware.InitializeOutput, middleware.Metadata, error)) (middleware.InitializeOutput, middleware.Metadata, error) {
	var page any
	switch q := in.Parameters.(type) {
	case *iot.ListThingPrincipalsInput:
		page = &iot.ListThingPrincipalsOutput{Principals: []string{certificateARN("thing-1")}, NextToken: aws.String("2")}
		if aws.ToString(q.NextToken) == "2" {
			page = &iot.ListThingPrincipalsOutput{Principals: []string{certificateARN("thing-2")}}
		}
	case *iot.ListTargetsForPolicyInput:
		page = &iot.ListTargetsForPolicyOutput{Targets: []string{certificateARN("policy-1")}, NextMarker: aws.String("2")}
		if aws.ToString(q.Marker) == "2" {
			page = &iot.ListTargetsForPolicyOutput{Targets: []string{certificateARN("policy-2")}}
		}
	case *iot.ListTagsForResourceInput:
		page = &iot.ListTagsForResourceOutput{NextToken: aws.String("2")}
		if aws.ToString(q.NextToken) == "2" {
			page = &iot.ListTagsForResourceOutput{Tags: []iottypes.Tag{
				{Key: aws.String(will.TagApp), Value: aws.String(will.App)},
				{Key: aws.String(will.TagEnvironment), Value: aws.String("")},
			}}
		}
	case *iam.ListRolePoliciesInput:
		page = &iam.ListRolePoliciesOutput{PolicyNames: []string{"inline-1"}, IsTruncated: true, Marker: aws.String("2")}
		if aws.ToString(q.Marker) == "2" {
			page = &iam.ListRolePoliciesOutput{PolicyNames: []string{"inline-2"}}
		}
	case *cloudwatch.ListDashboardsInput:
		page = &cloudwatch.ListDashboardsOutput{DashboardEntries: []cwtypes.DashboardEntry{{DashboardName: aws.String("Lastwill-other")}}, NextToken: aws.String("2")}
		if aws.ToString(q.NextToken) == "2" {
			page = &cloudwatch.ListDashboardsOutput{DashboardEntries: []cwtypes.DashboardEntry{{DashboardName: aws.String("Lastwill-" + localaws.Account.Region)}}}
		}
	default:
		return next()
	}
	return middleware.InitializeOutput{Result: page}, middleware.Metadata{}, nil
}

func TestAllPagesOfAListAreRead(t *testing.T) {
	t.Parallel()
	a := start(t)
	a.thing(will.ThingName)
	a.policy("tagged", nil)
	a.role("Lastwill-Alert-1", nil)
	fake := middleware.InitializeMiddlewareFunc("twoPages", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		return twoPages(ctx, in, func() (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(ctx, in)
		})
	})
	items, err := leftovers.Find(deadline(t), leftovers.Options{AWS: aws.Config{
		Region: localaws.Account.Region, BaseEndpoint: aws.String(a.URL()),
		Credentials: credentials.NewStaticCredentialsProvider(api.TestAccessKeyID, api.TestSecretAccessKey, ""),
		APIOptions:  []func(*middleware.Stack) error{func(s *middleware.Stack) error { return s.Initialize.Add(fake, middleware.After) }},
	}})
	check(t, err)
	var commands strings.Builder
	for _, i := range items {
		commands.WriteString(i.Command + "\n")
	}
	for _, want := range []string{
		"aws iot detach-thing-principal --thing-name lwtThing --principal " + certificateARN("thing-1"),
		"aws iot detach-thing-principal --thing-name lwtThing --principal " + certificateARN("thing-2"),
		"aws iot detach-policy --policy-name tagged --target " + certificateARN("policy-1"),
		"aws iot detach-policy --policy-name tagged --target " + certificateARN("policy-2"),
		"aws iam delete-role-policy --role-name Lastwill-Alert-1 --policy-name inline-1",
		"aws iam delete-role-policy --role-name Lastwill-Alert-1 --policy-name inline-2",
		"aws cloudwatch delete-dashboards --dashboard-names Lastwill-us-east-1",
	} {
		if !strings.Contains(commands.String(), want+"\n") {
			t.Errorf("%q is not in:\n%s", want, commands.String())
		}
	}
}
