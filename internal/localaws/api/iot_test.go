package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiot "github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/logs"
)

// startIoT returns an endpoint with a broker.
func startIoT(t testing.TB) *endpoint {
	t.Helper()
	return start(t, func(s *api.Services) {
		core, err := iot.New(iot.Options{Account: account, IAM: s.IAM, Logs: logs.New(account), Log: slog.New(slog.DiscardHandler)})
		check(t, err)
		check(t, core.Start())
		t.Cleanup(func() { check(t, core.Close()) })
		s.IoT = core
	})
}

func iotOf(t testing.TB) (*endpoint, *awsiot.Client) {
	t.Helper()
	e := startIoT(t)
	return e, awsiot.NewFromConfig(e.config())
}

func signingRequest(t testing.TB) *string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	check(t, err)
	return aws.String(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
}

func TestEndpointIsWhereTheBrokerListens(t *testing.T) {
	t.Parallel()
	_, client := iotOf(t)
	out, err := client.DescribeEndpoint(t.Context(), &awsiot.DescribeEndpointInput{EndpointType: aws.String("iot:Data-ATS")})
	check(t, err)
	conn, err := net.Dial("tcp", *out.EndpointAddress)
	check(t, err)
	check(t, conn.Close())
	_, err = client.DescribeEndpoint(t.Context(), &awsiot.DescribeEndpointInput{EndpointType: aws.String("iot:Jobs")})
	failsAs[*types.InvalidRequestException](t, err)
}

func TestThingIsKeptUntilItIsDeleted(t *testing.T) {
	t.Parallel()
	_, client := iotOf(t)
	name := aws.String("lwt:Thing")
	attributes := &types.AttributePayload{Attributes: map[string]string{"site": "north", "model": "m1"}}
	created, err := client.CreateThing(t.Context(), &awsiot.CreateThingInput{ThingName: name, AttributePayload: attributes})
	check(t, err)
	if *created.ThingArn != "arn:aws:iot:us-east-1:123456789012:thing/lwt:Thing" {
		t.Errorf("the ARN is %s", *created.ThingArn)
	}
	_, err = client.CreateThing(t.Context(), &awsiot.CreateThingInput{ThingName: name})
	failsAs[*types.ResourceAlreadyExistsException](t, err)

	described, err := client.DescribeThing(t.Context(), &awsiot.DescribeThingInput{ThingName: name})
	check(t, err)
	if want := map[string]string{"site": "north", "model": "m1"}; !maps.Equal(described.Attributes, want) || described.Version != 1 || *described.ThingId != *created.ThingId {
		t.Errorf("it is %v, version %d", described.Attributes, described.Version)
	}

	_, err = client.DeleteThing(t.Context(), &awsiot.DeleteThingInput{ThingName: name})
	check(t, err)
	_, err = client.DescribeThing(t.Context(), &awsiot.DescribeThingInput{ThingName: name})
	failsAs[*types.ResourceNotFoundException](t, err)
}

func TestThingsAreListedInPages(t *testing.T) {
	t.Parallel()
	_, client := iotOf(t)
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprintf("thing%d", i))
		_, err := client.CreateThing(t.Context(), &awsiot.CreateThingInput{ThingName: &want[i]})
		check(t, err)
	}
	var got []string
	pages := awsiot.NewListThingsPaginator(client, &awsiot.ListThingsInput{MaxResults: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		check(t, err)
		for _, thing := range page.Things {
			got = append(got, *thing.ThingName)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the pages have %v", got)
	}
}

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

// Each step of taking down is refused as long as the one before it is missing.
func TestAttachedResourcesAreDeletedInOrder(t *testing.T) {
	t.Parallel()
	_, client := iotOf(t)
	ctx := t.Context()
	thing, policy := aws.String("lwtThing"), aws.String("lwtPolicy")
	_, err := client.CreateThing(ctx, &awsiot.CreateThingInput{ThingName: thing})
	check(t, err)
	_, err = client.CreatePolicy(ctx, &awsiot.CreatePolicyInput{PolicyName: policy, PolicyDocument: aws.String(allowAll)})
	check(t, err)
	c, err := client.CreateCertificateFromCsr(ctx, &awsiot.CreateCertificateFromCsrInput{CertificateSigningRequest: signingRequest(t), SetAsActive: true})
	check(t, err)
	_, err = client.AttachPolicy(ctx, &awsiot.AttachPolicyInput{PolicyName: policy, Target: c.CertificateArn})
	check(t, err)
	_, err = client.AttachThingPrincipal(ctx, &awsiot.AttachThingPrincipalInput{ThingName: thing, Principal: c.CertificateArn})
	check(t, err)

	targets, err := client.ListTargetsForPolicy(ctx, &awsiot.ListTargetsForPolicyInput{PolicyName: policy})
	check(t, err)
	principals, err := client.ListThingPrincipals(ctx, &awsiot.ListThingPrincipalsInput{ThingName: thing})
	check(t, err)
	if want := []string{*c.CertificateArn}; !slices.Equal(targets.Targets, want) || !slices.Equal(principals.Principals, want) {
		t.Errorf("attached are %v, %v", targets.Targets, principals.Principals)
	}

	deleteCertificate := func(force bool) error {
		_, err := client.DeleteCertificate(ctx, &awsiot.DeleteCertificateInput{CertificateId: c.CertificateId, ForceDelete: force})
		return err
	}
	_, err = client.DeletePolicy(ctx, &awsiot.DeletePolicyInput{PolicyName: policy})
	failsAs[*types.DeleteConflictException](t, err)
	_, err = client.DeleteThing(ctx, &awsiot.DeleteThingInput{ThingName: thing})
	failsAs[*types.InvalidRequestException](t, err)
	failsAs[*types.CertificateStateException](t, deleteCertificate(true))
	_, err = client.UpdateCertificate(ctx, &awsiot.UpdateCertificateInput{CertificateId: c.CertificateId, NewStatus: types.CertificateStatusInactive})
	check(t, err)
	failsAs[*types.DeleteConflictException](t, deleteCertificate(false))
	failsAs[*types.DeleteConflictException](t, deleteCertificate(true)) // the thing
	_, err = client.DetachThingPrincipal(ctx, &awsiot.DetachThingPrincipalInput{ThingName: thing, Principal: c.CertificateArn})
	check(t, err)
	failsAs[*types.DeleteConflictException](t, deleteCertificate(false)) // the policy
	check(t, deleteCertificate(true))
	_, err = client.DeletePolicy(ctx, &awsiot.DeletePolicyInput{PolicyName: policy})
	check(t, err)
	_, err = client.DeleteThing(ctx, &awsiot.DeleteThingInput{ThingName: thing})
	check(t, err)
}

func TestCertificateIsDescribed(t *testing.T) {
	t.Parallel()
	_, client := iotOf(t)
	out, err := client.CreateCertificateFromCsr(t.Context(), &awsiot.CreateCertificateFromCsrInput{CertificateSigningRequest: signingRequest(t), SetAsActive: true})
	check(t, err)
	described, err := client.DescribeCertificate(t.Context(), &awsiot.DescribeCertificateInput{CertificateId: out.CertificateId})
	check(t, err)
	c := described.CertificateDescription
	if c.Status != types.CertificateStatusActive || *c.CertificatePem != *out.CertificatePem || time.Since(*c.CreationDate).Abs() > time.Minute || !c.Validity.NotAfter.After(time.Now()) {
		t.Errorf("the certificate is %+v", c)
	}
}

func TestCertificatesAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	_, client := iotOf(t)
	var made []string
	for range 5 {
		c, err := client.CreateCertificateFromCsr(t.Context(), &awsiot.CreateCertificateFromCsrInput{CertificateSigningRequest: signingRequest(t)})
		check(t, err)
		made = append(made, *c.CertificateId)
	}
	list := func(ascending bool) (ids []string) {
		pages := awsiot.NewListCertificatesPaginator(client, &awsiot.ListCertificatesInput{PageSize: aws.Int32(2), AscendingOrder: ascending})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			check(t, err)
			for _, c := range page.Certificates {
				ids = append(ids, *c.CertificateId)
			}
		}
		return ids
	}
	if got := list(true); !slices.Equal(got, made) {
		t.Errorf("oldest first: %v, made: %v", got, made)
	}
	slices.Reverse(made)
	if got := list(false); !slices.Equal(got, made) {
		t.Errorf("newest first: %v, made: %v", got, made)
	}
}

func TestPolicyHasVersions(t *testing.T) {
	t.Parallel()
	_, client := iotOf(t)
	ctx := t.Context()
	name := aws.String("lwtPolicy")
	_, err := client.CreatePolicy(ctx, &awsiot.CreatePolicyInput{PolicyName: name, PolicyDocument: aws.String(allowAll)})
	check(t, err)
	const second = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iot:*","Resource":"*"}]}`
	added, err := client.CreatePolicyVersion(ctx, &awsiot.CreatePolicyVersionInput{PolicyName: name, PolicyDocument: aws.String(second), SetAsDefault: true})
	check(t, err)
	if *added.PolicyVersionId != "2" || !added.IsDefaultVersion {
		t.Errorf("the version is %s, in force: %t", *added.PolicyVersionId, added.IsDefaultVersion)
	}
	inForce, err := client.GetPolicy(ctx, &awsiot.GetPolicyInput{PolicyName: name})
	check(t, err)
	if *inForce.DefaultVersionId != "2" || *inForce.PolicyDocument != second {
		t.Errorf("in force is %s: %s", *inForce.DefaultVersionId, *inForce.PolicyDocument)
	}
	_, err = client.DeletePolicyVersion(ctx, &awsiot.DeletePolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("2")})
	failsAs[*types.DeleteConflictException](t, err)
	_, err = client.DeletePolicyVersion(ctx, &awsiot.DeletePolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("1")})
	check(t, err)
	versions, err := client.ListPolicyVersions(ctx, &awsiot.ListPolicyVersionsInput{PolicyName: name})
	check(t, err)
	if len(versions.PolicyVersions) != 1 || *versions.PolicyVersions[0].VersionId != "2" {
		t.Errorf("the versions are %v", versions.PolicyVersions)
	}
	_, err = client.DeletePolicyVersion(ctx, &awsiot.DeletePolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("1")})
	failsAs[*types.ResourceNotFoundException](t, err)
	_, err = client.CreatePolicy(ctx, &awsiot.CreatePolicyInput{PolicyName: aws.String("bad"), PolicyDocument: aws.String("{")})
	failsAs[*types.MalformedPolicyException](t, err)
}

const trustsIoT = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"iot.amazonaws.com"}}]}`

func TestTopicRuleIsKeptAsItWasGiven(t *testing.T) {
	t.Parallel()
	e, client := iotOf(t)
	ctx := t.Context()
	name, role := aws.String("lwtRule"), e.role(t, "rules", trustsIoT)
	payload := &types.TopicRulePayload{
		Sql: aws.String("SELECT * FROM 'lwt/+/status'"), Description: aws.String("last wills"),
		Actions:     []types.Action{{Republish: &types.RepublishAction{RoleArn: role, Topic: aws.String("lwt/out"), Qos: aws.Int32(1)}}},
		ErrorAction: &types.Action{CloudwatchLogs: &types.CloudwatchLogsAction{RoleArn: role, LogGroupName: aws.String("/errors")}},
	}
	_, err := client.CreateTopicRule(ctx, &awsiot.CreateTopicRuleInput{RuleName: name, TopicRulePayload: payload, Tags: aws.String("team=fleet&site=a%20b")})
	check(t, err)
	got, err := client.GetTopicRule(ctx, &awsiot.GetTopicRuleInput{RuleName: name})
	check(t, err)
	r := got.Rule
	if *r.Sql != *payload.Sql || *r.Description != "last wills" || *r.AwsIotSqlVersion != "2015-10-08" || *r.Actions[0].Republish.Qos != 1 ||
		*r.ErrorAction.CloudwatchLogs.LogGroupName != "/errors" || time.Since(*r.CreatedAt).Abs() > time.Minute {
		t.Errorf("the rule is %+v", r)
	}
	tags, err := client.ListTagsForResource(ctx, &awsiot.ListTagsForResourceInput{ResourceArn: got.RuleArn})
	check(t, err)
	if len(tags.Tags) != 2 || *tags.Tags[0].Value != "a b" {
		t.Errorf("the tags are %v", tags.Tags)
	}

	_, err = client.DisableTopicRule(ctx, &awsiot.DisableTopicRuleInput{RuleName: name})
	check(t, err)
	disabled, err := client.ListTopicRules(ctx, &awsiot.ListTopicRulesInput{RuleDisabled: aws.Bool(true)})
	check(t, err)
	if len(disabled.Rules) != 1 || *disabled.Rules[0].TopicPattern != "lwt/+/status" {
		t.Errorf("disabled are %+v", disabled.Rules)
	}
	_, err = client.EnableTopicRule(ctx, &awsiot.EnableTopicRuleInput{RuleName: name})
	check(t, err)

	payload.Sql = aws.String("SELECT clientid() AS id FROM 'lwt/#'")
	_, err = client.ReplaceTopicRule(ctx, &awsiot.ReplaceTopicRuleInput{RuleName: name, TopicRulePayload: payload})
	check(t, err)
	got, err = client.GetTopicRule(ctx, &awsiot.GetTopicRuleInput{RuleName: name})
	check(t, err)
	if *got.Rule.Sql != *payload.Sql || *got.Rule.RuleDisabled {
		t.Errorf("after the replacement it is %+v", got.Rule)
	}
	_, err = client.DeleteTopicRule(ctx, &awsiot.DeleteTopicRuleInput{RuleName: name})
	check(t, err)
	_, err = client.GetTopicRule(ctx, &awsiot.GetTopicRuleInput{RuleName: name})
	failsAs[*types.UnauthorizedException](t, err)
}

func TestTopicRuleIsRefused(t *testing.T) {
	t.Parallel()
	e, client := iotOf(t)
	action := types.Action{Republish: &types.RepublishAction{RoleArn: e.role(t, "rules", trustsIoT), Topic: aws.String("out")}}
	foreign := types.Action{Republish: &types.RepublishAction{RoleArn: e.role(t, "foreign", trustsAccount), Topic: aws.String("out")}}
	create := func(sql string, a types.Action) error {
		_, err := client.CreateTopicRule(t.Context(), &awsiot.CreateTopicRuleInput{RuleName: aws.String("rule"), TopicRulePayload: &types.TopicRulePayload{
			Sql: &sql, Actions: []types.Action{a},
		}})
		return err
	}
	const good = "SELECT * FROM 'a'"
	failsAs[*types.SqlParseException](t, create("SELECT FROM", action))
	failsAs[*types.InvalidRequestException](t, create(good, foreign))
	failsAs[*types.InvalidRequestException](t, create(good, types.Action{Lambda: &types.LambdaAction{FunctionArn: aws.String("arn")}}))
	check(t, create(good, action))
	failsAs[*types.ResourceAlreadyExistsException](t, create(good, action))
}

func TestPolicyTagsAreKept(t *testing.T) {
	t.Parallel()
	_, client := iotOf(t)
	ctx := t.Context()
	policy, err := client.CreatePolicy(ctx, &awsiot.CreatePolicyInput{
		PolicyName: aws.String("lwtPolicy"), PolicyDocument: aws.String(allowAll), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("fleet")}},
	})
	check(t, err)
	arn := policy.PolicyArn
	tags, err := client.ListTagsForResource(ctx, &awsiot.ListTagsForResourceInput{ResourceArn: arn})
	check(t, err)
	if len(tags.Tags) != 1 || *tags.Tags[0].Key != "team" || *tags.Tags[0].Value != "fleet" {
		t.Errorf("the tags are %v", tags.Tags)
	}
	_, err = client.ListTagsForResource(ctx, &awsiot.ListTagsForResourceInput{ResourceArn: aws.String(*arn + "x")})
	failsAs[*types.ResourceNotFoundException](t, err)
}
