package leftovers_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"lastwill/internal/await"
	"lastwill/internal/keypair"
	"lastwill/internal/leftovers"
	"lastwill/internal/localaws"
	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/cloudwatch"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/lambda"
	"lastwill/internal/localaws/localtest"
	"lastwill/internal/will"
)

// patience is how long an answer may take. It only matters to tests that fail.
const patience = 2 * time.Minute

func deadline(t *testing.T) context.Context {
	t.Helper()
	return await.Context(t)
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An account is a local endpoint in which things are made by hand.
type account struct {
	*localaws.Server
	t *testing.T
}

func start(t *testing.T) *account {
	t.Helper()
	s := must[*localaws.Server](t)(localaws.Start(localaws.Options{}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		check(t, s.Close(ctx))
	})
	return &account{s, t}
}

func (a *account) find(environment string, assets bool) []leftovers.Item {
	a.t.Helper()
	items, err := leftovers.Find(deadline(a.t), leftovers.Options{Environment: environment, Assets: assets, AWS: aws.Config{
		Region: localaws.Account.Region, BaseEndpoint: aws.String(a.URL()),
		Credentials: credentials.NewStaticCredentialsProvider(api.TestAccessKeyID, api.TestSecretAccessKey, ""),
	}})
	check(a.t, err)
	return items
}

// certificate returns the id of a new certificate.
func (a *account) certificate() string {
	a.t.Helper()
	csr := must[string](a.t)(keypair.Ensure(a.t.TempDir(), "device", true))
	return must[iot.Certificate](a.t)(a.IoT.CreateCertificateFromCSR(csr, true)).ID
}

func certificateARN(id string) string { return localaws.Account.ARN("iot", "cert/"+id) }

func (a *account) thing(name string) {
	a.t.Helper()
	must[iot.Thing](a.t)(a.IoT.CreateThing(name, nil))
}

func (a *account) policy(name string, tags awsapi.Tags) {
	a.t.Helper()
	must[iot.Policy](a.t)(a.IoT.CreatePolicy(name, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`, tags))
}

func (a *account) rule(name string, tags awsapi.Tags) {
	a.t.Helper()
	a.role("actions-of-"+name, nil)
	must[iot.TopicRule](a.t)(a.IoT.CreateTopicRule(name, iot.TopicRulePayload{
		SQL: "SELECT * FROM 'a'", AwsIotSQLVersion: will.SQLVersion,
		Actions: []iot.Action{{Republish: &iot.RepublishAction{Topic: "b", RoleARN: localaws.Account.GlobalARN("iam", "role/actions-of-"+name)}}},
	}, tags))
}

func (a *account) role(name string, tags awsapi.Tags) {
	a.t.Helper()
	must[iam.Role](a.t)(a.IAM.CreateRole(iam.RoleInput{Name: name, Tags: tags, TrustPolicy: `{"Version":"2012-10-17","Statement":{
		"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":["lambda.amazonaws.com","iot.amazonaws.com"]}}}`}))
}

func (a *account) function(name string, tags awsapi.Tags) {
	a.t.Helper()
	if !slices.Contains(a.S3.Buckets(), "code") {
		var code bytes.Buffer
		z := zip.NewWriter(&code)
		program := &zip.FileHeader{Name: "bootstrap"}
		program.SetMode(0o755)
		_, err := z.CreateHeader(program)
		check(a.t, err)
		check(a.t, z.Close())
		a.object("code", "code.zip", code.Bytes())
		a.role("of-functions", nil)
	}
	must[lambda.Function](a.t)(a.Lambda.Create(lambda.Function{
		Name: name, Tags: tags, Runtime: lambda.Runtime, Architecture: lambda.Architecture(), Bucket: "code", Key: "code.zip",
		Role: localaws.Account.GlobalARN("iam", "role/of-functions"),
	}))
}

func (a *account) object(bucket, key string, content []byte) {
	a.t.Helper()
	check(a.t, a.S3.CreateBucket(bucket))
	_, err := a.S3.PutObject(bucket, key, nil, bytes.NewReader(content), int64(len(content)), nil)
	check(a.t, err)
}

func (a *account) logGroup(name string) {
	a.t.Helper()
	_, err := a.Logs.Create(name, 0, nil)
	check(a.t, err)
}

func (a *account) alarm(name string) {
	a.t.Helper()
	check(a.t, a.CloudWatch.PutAlarm(cloudwatch.AlarmInput{
		Name: name, Comparison: "GreaterThanThreshold", Query: cloudwatch.Query{
			Metric: cloudwatch.Metric{Namespace: "AWS/IoT", Name: "Failure"}, Statistic: "Sum", Period: time.Minute,
		},
	}))
}

func (a *account) snsTopic(name string, tags awsapi.Tags) (arn string) {
	a.t.Helper()
	return must[string](a.t)(a.SNS.CreateTopic(name, nil, tags))
}

func (a *account) queue(name string) (url string) {
	a.t.Helper()
	return must[string](a.t)(a.SQS.CreateQueue(name, nil))
}

func (a *account) retain(topic string) {
	a.t.Helper()
	check(a.t, a.IoT.Publish(deadline(a.t), topic, []byte("{}"), 0, true))
}

// stack makes a stack with a thing, as outputs tell it.
func (a *account) stack(name, thing string) {
	a.t.Helper()
	id := must[string](a.t)(a.CloudFormation.Create(cloudformation.Input{Name: name, TemplateBody: fmt.Appendf(nil, `{
		"Resources":{"T":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":%[1]q}}},"Outputs":{"ThingName":{"Value":%[1]q}}}`, thing)}))
	must[*cloudformation.Stack](a.t)(a.CloudFormation.Await(deadline(a.t), id))
}

var staging = awsapi.Tags{"app": "lastwill", "environment": "staging"}

// Names of an environment so long that those of roles and functions are cut.
const (
	long     = "feature-that-goes-on-and-on-and-on-for-more-than-forty"
	cutName  = "Lastwill-feature-that-go-AlertlwtRuleRole6D0D60-ABCDEF012345"
	otherCut = "Lastwill-feature-that-go-AlertlwtRuleRole6D0D60-543210FEDCBA"
)

var (
	longTags  = awsapi.Tags{"app": "lastwill", "environment": long}
	otherTags = awsapi.Tags{"app": "lastwill", "environment": long + "-2"}
)

func TestEachKindIsFoundWithItsCommand(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		claim, environment string
		assets             bool
		// leave makes what is to be found, and returns it.
		leave func(a *account) []leftovers.Item
	}{
		{"a thing, what is attached to it, and that certificate", "staging", false, func(a *account) []leftovers.Item {
			id := a.certificate()
			a.thing("lwtThing-staging")
			check(a.t, a.IoT.AttachThingPrincipal("lwtThing-staging", certificateARN(id)))
			return []leftovers.Item{
				{
					"thing's certificate", "lwtThing-staging", "attached is " + certificateARN(id),
					"aws iot detach-thing-principal --thing-name lwtThing-staging --principal " + certificateARN(id),
				},
				{"thing", "lwtThing-staging", "", "aws iot delete-thing --thing-name lwtThing-staging"},
				{
					"certificate", id, "ACTIVE",
					"aws iot update-certificate --certificate-id " + id + " --new-status INACTIVE && aws iot delete-certificate --certificate-id " + id,
				},
			}
		}},
		{"a stack that could not be deleted, and what held it", "staging", false, func(a *account) []leftovers.Item {
			id := a.certificate()
			a.stack("Lastwill-staging", "lwtThing-staging")
			check(a.t, a.IoT.AttachThingPrincipal("lwtThing-staging", certificateARN(id)))
			stack := must[*cloudformation.Stack](a.t)(a.CloudFormation.Describe("Lastwill-staging"))
			check(a.t, a.CloudFormation.Delete("Lastwill-staging"))
			if failed, err := a.CloudFormation.Await(deadline(a.t), stack.ID); err == nil || failed.Status != "DELETE_FAILED" {
				a.t.Fatalf("the stack is %s", failed.Status)
			}
			return []leftovers.Item{
				{"stack", "Lastwill-staging", "DELETE_FAILED", "npx cdk destroy --force -c environment=staging"},
				{
					"thing's certificate", "lwtThing-staging", "attached is " + certificateARN(id),
					"aws iot detach-thing-principal --thing-name lwtThing-staging --principal " + certificateARN(id),
				},
				{"thing", "lwtThing-staging", "", "aws iot delete-thing --thing-name lwtThing-staging"},
				{
					"certificate", id, "ACTIVE",
					"aws iot update-certificate --certificate-id " + id + " --new-status INACTIVE && aws iot delete-certificate --certificate-id " + id,
				},
			}
		}},
		{"a policy with its targets and versions", "", false, func(a *account) []leftovers.Item {
			id, name := a.certificate(), "Lastwill-DevicesPolicy1-ABCDEF012345"
			a.policy(name, nil)
			check(a.t, a.IoT.AttachPolicy(name, certificateARN(id)))
			_, err := a.IoT.CreatePolicyVersion(name, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`, true)
			check(a.t, err)
			return []leftovers.Item{
				{
					"policy's target", certificateARN(id), "attached to " + name,
					"aws iot detach-policy --policy-name " + name + " --target " + certificateARN(id),
				},
				{"policy's version", name, "version 1", "aws iot delete-policy-version --policy-name " + name + " --policy-version-id 1"},
				{"IoT policy", name, "", "aws iot delete-policy --policy-name " + name},
				{
					"certificate", id, "ACTIVE",
					"aws iot update-certificate --certificate-id " + id + " --new-status INACTIVE && aws iot delete-certificate --certificate-id " + id,
				},
			}
		}},
		{"a policy by its tags", "staging", false, func(a *account) []leftovers.Item {
			a.policy("mine", staging)
			return []leftovers.Item{{"IoT policy", "mine", "", "aws iot delete-policy --policy-name mine"}}
		}},
		{"a topic rule by its name", "pr-123", false, func(a *account) []leftovers.Item {
			a.rule("lastWillRule_pr_123", nil)
			return []leftovers.Item{{"topic rule", "lastWillRule_pr_123", "", "aws iot delete-topic-rule --rule-name lastWillRule_pr_123"}}
		}},
		{"a topic rule by its tags", "staging", false, func(a *account) []leftovers.Item {
			a.rule("mine", staging)
			return []leftovers.Item{{"topic rule", "mine", "", "aws iot delete-topic-rule --rule-name mine"}}
		}},
		{"a function before its role, and the role's policy before the role", "staging", false, func(a *account) []leftovers.Item {
			a.function("Lastwill-staging-CheckFunctionA3E44DBD-ABCDEF012345", nil)
			a.role("Lastwill-staging-CheckRole60EEE9E1-ABCDEF012345", nil)
			check(a.t, a.IAM.PutRolePolicy("Lastwill-staging-CheckRole60EEE9E1-ABCDEF012345", "Check", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`))
			return []leftovers.Item{
				{
					"function", "Lastwill-staging-CheckFunctionA3E44DBD-ABCDEF012345", "",
					"aws lambda delete-function --function-name Lastwill-staging-CheckFunctionA3E44DBD-ABCDEF012345",
				},
				{
					"role's policy", "Lastwill-staging-CheckRole60EEE9E1-ABCDEF012345", "Check",
					"aws iam delete-role-policy --role-name Lastwill-staging-CheckRole60EEE9E1-ABCDEF012345 --policy-name Check",
				},
				{
					"role", "Lastwill-staging-CheckRole60EEE9E1-ABCDEF012345", "",
					"aws iam delete-role --role-name Lastwill-staging-CheckRole60EEE9E1-ABCDEF012345",
				},
			}
		}},
		{"roles and functions whose names were cut, by their tags", long, false, func(a *account) []leftovers.Item {
			a.role(cutName, longTags)
			a.role(otherCut, otherTags)
			a.function(cutName, longTags)
			a.function(otherCut, otherTags)
			return []leftovers.Item{
				{"function", cutName, "", "aws lambda delete-function --function-name " + cutName},
				{"role", cutName, "", "aws iam delete-role --role-name " + cutName},
			}
		}},
		{"log groups, those that Lambda made too", "staging", false, func(a *account) []leftovers.Item {
			a.logGroup("Lastwill-staging-CheckLogF0DFBF4F-ABCDEF012345")
			a.logGroup("/aws/lambda/Lastwill-staging-CheckFunctionA3E44DBD-ABCDEF012345")
			return []leftovers.Item{
				{
					"log group", "Lastwill-staging-CheckLogF0DFBF4F-ABCDEF012345", "",
					"aws logs delete-log-group --log-group-name Lastwill-staging-CheckLogF0DFBF4F-ABCDEF012345",
				},
				{
					"log group", "/aws/lambda/Lastwill-staging-CheckFunctionA3E44DBD-ABCDEF012345", "",
					"aws logs delete-log-group --log-group-name /aws/lambda/Lastwill-staging-CheckFunctionA3E44DBD-ABCDEF012345",
				},
			}
		}},
		{"alarms and dashboard", "staging", false, func(a *account) []leftovers.Item {
			a.alarm("lastWillRule_staging-Failure")
			a.CloudWatch.PutDashboard("Lastwill-staging-us-east-1", "{}", nil)
			return []leftovers.Item{
				{"alarm", "lastWillRule_staging-Failure", "", "aws cloudwatch delete-alarms --alarm-names lastWillRule_staging-Failure"},
				{"dashboard", "Lastwill-staging-us-east-1", "", "aws cloudwatch delete-dashboards --dashboard-names Lastwill-staging-us-east-1"},
			}
		}},
		{"an SNS topic with its subscriptions", "staging", false, func(a *account) []leftovers.Item {
			topic := a.snsTopic("lwtSNSTopic-staging", nil)
			a.queue("inbox")
			confirmed := must[string](a.t)(a.SNS.Subscribe(topic, "sqs", localaws.Account.ARN("sqs", "inbox"), nil))
			return []leftovers.Item{
				{"SNS topic", topic, "", "aws sns delete-topic --topic-arn " + topic},
				{"subscription", confirmed, localaws.Account.ARN("sqs", "inbox"), "aws sns unsubscribe --subscription-arn " + confirmed},
			}
		}},
		{"a pending subscription whose topic is gone", "", false, func(a *account) []leftovers.Item {
			topic := a.snsTopic("lwtSNSTopic", nil)
			_, err := a.SNS.Subscribe(topic, "email", "ops@example.com", nil)
			check(a.t, err)
			check(a.t, a.SNS.DeleteTopic(topic))
			return []leftovers.Item{
				{leftovers.PendingSubscription, "ops@example.com", "of " + topic, "# none: nobody confirmed it, it disappears by itself after two to three days"},
			}
		}},
		{"an SNS topic by its tags", "staging", false, func(a *account) []leftovers.Item {
			topic := a.snsTopic("mine", staging)
			return []leftovers.Item{{"SNS topic", topic, "", "aws sns delete-topic --topic-arn " + topic}}
		}},
		{"thing and queue of a check", "", false, func(a *account) []leftovers.Item {
			a.thing("lwtThing-check-abcdefghij")
			url := a.queue("lwtThing-check-abcdefghij")
			return []leftovers.Item{
				{"thing", "lwtThing-check-abcdefghij", "", "aws iot delete-thing --thing-name lwtThing-check-abcdefghij"},
				{"queue", "lwtThing-check-abcdefghij", "of a check", "aws sqs delete-queue --queue-url " + url},
			}
		}},
		{"retained messages", "staging", false, func(a *account) []leftovers.Item {
			a.retain("/staging/any/topic")
			return []leftovers.Item{{"retained message", "/staging/any/topic", "", "aws iot-data publish --retain --topic '/staging/any/topic'"}}
		}},
		{"a stack, whose destruction removes most", "staging", false, func(a *account) []leftovers.Item {
			a.stack("Lastwill-staging", "lwtThing-staging")
			return []leftovers.Item{
				{"stack", "Lastwill-staging", "CREATE_COMPLETE", "npx cdk destroy --force -c environment=staging"},
				{"thing", "lwtThing-staging", "", "aws iot delete-thing --thing-name lwtThing-staging"},
			}
		}},
		{"assets, if asked for", "staging", true, func(a *account) []leftovers.Item {
			const bucket = "cdk-hnb659fds-assets-123456789012-us-east-1"
			a.object(bucket, "abc.zip", []byte("zip"))
			return []leftovers.Item{{"asset", "abc.zip", "in " + bucket + ", of any CDK app", "aws s3 rm s3://" + bucket + "/abc.zip"}}
		}},
		{"no assets, if not asked for", "staging", false, func(a *account) []leftovers.Item {
			a.object("cdk-hnb659fds-assets-123456789012-us-east-1", "abc.zip", []byte("zip"))
			return nil
		}},
		{"no bucket has no assets", "", true, func(*account) []leftovers.Item { return nil }},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			t.Parallel()
			a := start(t)
			want := tt.leave(a)
			if diff := cmp.Diff(want, a.find(tt.environment, tt.assets)); diff != "" {
				t.Errorf("what is found differs (-want +got):\n%s", diff)
			}
		})
	}
}

// What belongs to somebody else is nobody's leftover, however like the names are.
func TestWhatIsOfOthersIsNotTaken(t *testing.T) {
	t.Parallel()
	a := start(t)
	const random = "-ABCDEF012345"
	for _, other := range []string{"Lastwill", "Lastwill-staging-2", "Lastwill-stagin", "Lastwillstaging", "Other-Lastwill-staging"} {
		name := other + "-CheckRole60EEE9E1" + random
		a.policy(name, nil)
		a.role(name, nil)
		a.function(name, nil)
		a.logGroup(name)
		a.logGroup("/aws/lambda/" + name)
		a.CloudWatch.PutDashboard(other, "{}", nil)
	}
	for _, other := range []awsapi.Tags{{"app": "lastwill"}, {"app": "other", "environment": "staging"}, {"app": "lastwill", "environment": "staging-2"}} {
		name := strings.Join([]string{"Lastwill", other["app"], other["environment"]}, "_")
		a.policy(name, other)
		a.role(name, other)
		a.function(name, other)
		a.snsTopic(name, other)
		a.rule(strings.ReplaceAll(name, "-", "_"), other)
	}
	for _, other := range []string{"lastWillRule", "lastWillRule_staging_2", "myRule_staging"} {
		a.rule(other, nil)
		a.alarm(other + "-Failure")
	}
	for _, other := range []string{"lwtSNSTopic", "lwtSNSTopic-staging-2", "x-lwtSNSTopic-staging"} {
		_, err := a.SNS.Subscribe(a.snsTopic(other, nil), "email", "ops@example.com", nil)
		check(t, err)
	}
	for _, other := range []string{"lwtThing", "lwtThing-staging-2", "staging", "lwtThing-check-abcdefghij", "lwtThing-eu-staging-check-abcdefghij"} {
		a.thing(other)
		a.queue(other)
	}
	a.stack("Lastwill-eu-staging", "lwtThing-eu-staging") // whose thing could be one named lwtThing-eu in staging
	a.queue("lwtThing-staging")                           // queues are made by checks only
	for _, other := range []string{"/last/will/topic", "/staging-2/last/will/topic", "staging/last/will/topic", "/other/staging/topic"} {
		a.retain(other)
	}
	a.certificate()
	if got := a.find("staging", false); len(got) > 0 {
		t.Errorf("of others is %v", got)
	}
}

// All that the scenario's stack makes is found but what goes with something else.
func TestAllOfAStackIsFound(t *testing.T) {
	t.Parallel()
	a := &account{localtest.Deploy(t, localaws.Options{}), t}
	kinds := map[string]int{}
	for _, item := range a.find("", false) {
		kinds[item.Kind]++
	}
	want := map[string]int{
		"stack": 1, "thing's certificate": 1, "thing": 1, "policy's target": 1, "IoT policy": 1, "certificate": 1, "topic rule": 1,
		"role's policy": 1, "role": 1, "log group": 1, "alarm": 4, "dashboard": 1, "SNS topic": 1, leftovers.PendingSubscription: 1,
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("the kinds differ (-want +got):\n%s", diff)
	}
}
