package api_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"lastwill/internal/localaws/iam"
)

func TestGetCallerIdentityNamesTheTestUser(t *testing.T) {
	t.Parallel()
	out, err := sts.NewFromConfig(start(t).config()).GetCallerIdentity(t.Context(), nil)
	check(t, err)
	if *out.Account != account.ID || *out.Arn != "arn:aws:iam::123456789012:user/test" || *out.UserId == "" {
		t.Errorf("the caller is %s %s %s", *out.Account, *out.Arn, *out.UserId)
	}
}

const trustsAccount = `{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"123456789012"},
	"Condition":{"Null":{"sts:ExternalId":"true"}}}]}`

// role makes a role and returns its ARN.
func (e *endpoint) role(t testing.TB, name, trust string) *string {
	t.Helper()
	r, err := e.IAM.CreateRole(iam.RoleInput{Name: name, TrustPolicy: trust})
	check(t, err)
	return &r.ARN
}

func TestAssumeRoleGivesCredentialsOfTheRole(t *testing.T) {
	t.Parallel()
	e := start(t)
	arn := e.role(t, "deployer", trustsAccount)
	out, err := sts.NewFromConfig(e.config()).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: arn, RoleSessionName: aws.String("cdk"), DurationSeconds: aws.Int32(900),
	})
	check(t, err)
	if left := time.Until(*out.Credentials.Expiration); left < 14*time.Minute || left > 15*time.Minute {
		t.Errorf("the credentials of 900 seconds last %v", left)
	}
	c := out.Credentials
	session := sts.NewFromConfig(e.config(func(config *aws.Config) {
		config.Credentials = keys(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
	}))
	who, err := session.GetCallerIdentity(t.Context(), nil)
	check(t, err)
	if *who.Arn != "arn:aws:sts::123456789012:assumed-role/deployer/cdk" || *who.UserId != *out.AssumedRoleUser.AssumedRoleId {
		t.Errorf("the caller is %s %s", *who.Arn, *who.UserId)
	}
}

func TestAssumeRoleIsRefused(t *testing.T) {
	t.Parallel()
	e := start(t)
	open := e.role(t, "open", trustsAccount)
	other := e.role(t, "other", `{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"iot.amazonaws.com"}}]}`)
	for _, test := range []struct {
		claim string
		in    sts.AssumeRoleInput
		code  string
	}{
		{"when the trust policy is for others", sts.AssumeRoleInput{RoleArn: other, RoleSessionName: aws.String("cdk")}, "AccessDenied"},
		{"when the role does not exist", sts.AssumeRoleInput{RoleArn: aws.String(*open + "x"), RoleSessionName: aws.String("cdk")}, "AccessDenied"},
		{"when the trust policy wants no external id", sts.AssumeRoleInput{RoleArn: open, RoleSessionName: aws.String("cdk"), ExternalId: aws.String("me")}, "AccessDenied"},
		{"for a session name with a space", sts.AssumeRoleInput{RoleArn: open, RoleSessionName: aws.String("c d k")}, "ValidationError"},
		{"for less than 15 minutes", sts.AssumeRoleInput{RoleArn: open, RoleSessionName: aws.String("cdk"), DurationSeconds: aws.Int32(899)}, "ValidationError"},
		{"with a parameter that is not supported", sts.AssumeRoleInput{RoleArn: open, RoleSessionName: aws.String("cdk"), Policy: aws.String("{}")}, "ValidationError"},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			_, err := sts.NewFromConfig(e.config()).AssumeRole(t.Context(), &test.in)
			fails(t, err, test.code)
		})
	}
}
