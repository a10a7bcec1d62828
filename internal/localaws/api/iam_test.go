package api_test

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/iam"
)

func TestRoleIsReadWithItsPolicies(t *testing.T) {
	t.Parallel()
	e := start(t)
	const managed = "arn:aws:iam::aws:policy/AdministratorAccess"
	_, err := e.IAM.CreateRole(iam.RoleInput{
		Name: "rule", Path: "/lwt/", TrustPolicy: trustsAccount, Description: "may publish", Tags: awsapi.Tags{"owner": "ops"},
		ManagedPolicies: []string{managed},
	})
	check(t, err)
	const document = `{"Statement": [{"Effect": "Allow", "Action": "sns:Publish", "Resource": "*"}]}`
	check(t, e.IAM.PutRolePolicy("rule", "publish", document))
	client, name := awsiam.NewFromConfig(e.config()), aws.String("rule")

	got, err := client.GetRole(t.Context(), &awsiam.GetRoleInput{RoleName: name})
	check(t, err)
	trust, err := url.PathUnescape(*got.Role.AssumeRolePolicyDocument)
	check(t, err)
	if *got.Role.Arn != "arn:aws:iam::123456789012:role/lwt/rule" || *got.Role.Path != "/lwt/" || *got.Role.Description != "may publish" ||
		trust != trustsAccount || len(got.Role.Tags) != 1 || *got.Role.Tags[0].Key != "owner" || got.Role.CreateDate.IsZero() {
		t.Errorf("the role is %+v", got.Role)
	}
	names, err := client.ListRolePolicies(t.Context(), &awsiam.ListRolePoliciesInput{RoleName: name})
	check(t, err)
	if len(names.PolicyNames) != 1 || names.PolicyNames[0] != "publish" {
		t.Errorf("the policies are %v", names.PolicyNames)
	}
	inline, err := client.GetRolePolicy(t.Context(), &awsiam.GetRolePolicyInput{RoleName: name, PolicyName: aws.String("publish")})
	check(t, err)
	if kept, err := url.PathUnescape(*inline.PolicyDocument); err != nil || kept != document {
		t.Errorf("the policy is %s, %v", kept, err)
	}
	_, err = client.GetRole(t.Context(), &awsiam.GetRoleInput{RoleName: aws.String("nobody")})
	failsAs[*types.NoSuchEntityException](t, err)
	_, err = client.GetRolePolicy(t.Context(), &awsiam.GetRolePolicyInput{RoleName: name, PolicyName: aws.String("none")})
	failsAs[*types.NoSuchEntityException](t, err)
	_, err = client.DeleteRole(t.Context(), &awsiam.DeleteRoleInput{RoleName: name})
	fails(t, err, "NotImplemented") // stacks make and delete roles, nobody else
}

func TestRolesAreListedInPages(t *testing.T) {
	t.Parallel()
	e := start(t)
	for i := range 5 {
		e.role(t, fmt.Sprint("role", i), trustsAccount)
	}
	var names string
	pages := awsiam.NewListRolesPaginator(awsiam.NewFromConfig(e.config()), &awsiam.ListRolesInput{MaxItems: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		check(t, err)
		names += fmt.Sprint(len(page.Roles), " ", *page.Roles[0].RoleName, ";")
	}
	if names != "2 role0;2 role2;1 role4;" {
		t.Errorf("the pages are %s", names)
	}
}
