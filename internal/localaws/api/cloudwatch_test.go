package api_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cw "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudwatch"
	"lastwill/internal/localaws/policy"
	"lastwill/internal/localaws/sns"
)

// nobody is a topic that no one reads.
type nobody struct{}

func (nobody) Publish(sns.PublishInput, policy.Identity, map[string]string) (string, error) {
	return "id", nil
}

var ruleFailure = cloudwatch.Metric{
	Namespace: "AWS/IoT", Name: "Failure", Dimensions: map[string]string{"RuleName": "lastWillRule", "ActionType": "Sns"},
}

const sumOfFailures = `SELECT SUM(Failure) FROM SCHEMA("AWS/IoT", ActionType, RuleName) WHERE RuleName = 'lastWillRule'`

// cloudwatchOf has counted two failures of a rule, and has an alarm on them.
func cloudwatchOf(t *testing.T) (*cw.Client, *endpoint) {
	t.Helper()
	service := cloudwatch.New(account, nobody{}, time.Now, slog.New(slog.DiscardHandler))
	e := start(t, func(s *api.Services) { s.CloudWatch = service })
	check(t, service.PutAlarm(cloudwatch.AlarmInput{
		Name: "lastWillRule-Failure", ID: "all", Label: "Failure", Comparison: "GreaterThanThreshold", TreatMissingData: "notBreaching",
		Actions: []string{account.ARN("sns", "lwtSNSTopic")}, Tags: awsapi.Tags{"app": "lastwill"},
		Query: cloudwatch.Query{Expression: sumOfFailures, Period: 5 * time.Minute},
	}))
	service.PutDashboard("Lastwill", `{"widgets":[]}`, nil)
	service.Count(ruleFailure)
	service.Count(ruleFailure)
	return cw.NewFromConfig(e.config()), e
}

func TestMetricDataIsRead(t *testing.T) {
	t.Parallel()
	client, _ := cloudwatchOf(t)
	metric := &types.Metric{Namespace: aws.String("AWS/IoT"), MetricName: aws.String("Failure"), Dimensions: []types.Dimension{
		{Name: aws.String("RuleName"), Value: aws.String("lastWillRule")}, {Name: aws.String("ActionType"), Value: aws.String("Sns")},
	}}
	out, err := client.GetMetricData(t.Context(), &cw.GetMetricDataInput{
		StartTime: aws.Time(time.Now().Add(-time.Hour)), EndTime: aws.Time(time.Now().Add(time.Minute)),
		MetricDataQueries: []types.MetricDataQuery{
			{Id: aws.String("one"), MetricStat: &types.MetricStat{Metric: metric, Period: aws.Int32(3600), Stat: aws.String("Sum")}},
			{Id: aws.String("all"), Expression: aws.String(sumOfFailures), Period: aws.Int32(60), Label: aws.String("failed")},
		},
	})
	check(t, err)
	for i, label := range []string{"Failure", "failed"} {
		r := out.MetricDataResults[i]
		sum := 0.0
		for _, v := range r.Values {
			sum += v
		}
		if sum != 2 || *r.Label != label || r.StatusCode != types.StatusCodeComplete || time.Since(r.Timestamps[0]) > 2*time.Hour {
			t.Errorf("result %d is %+v", i, r)
		}
	}
	listed, err := client.ListMetrics(t.Context(), &cw.ListMetricsInput{Namespace: aws.String("AWS/IoT"), MetricName: aws.String("Failure")})
	check(t, err)
	if len(listed.Metrics) != 1 || len(listed.Metrics[0].Dimensions) != 2 {
		t.Errorf("metrics are %+v", listed.Metrics)
	}
}

func TestAlarmsAreDescribedSetAndDeleted(t *testing.T) {
	t.Parallel()
	client, _ := cloudwatchOf(t)
	in := &cw.DescribeAlarmsInput{AlarmNamePrefix: aws.String("lastWillRule")}
	out, err := client.DescribeAlarms(t.Context(), in)
	check(t, err)
	if len(out.MetricAlarms) != 1 {
		t.Fatalf("%d alarms", len(out.MetricAlarms))
	}
	a := out.MetricAlarms[0]
	if a.StateValue != types.StateValueAlarm || *a.Metrics[0].Expression != sumOfFailures || time.Since(*a.StateUpdatedTimestamp) > time.Hour || *a.Threshold != 0 {
		t.Errorf("the alarm is %+v", a)
	}
	tags, err := client.ListTagsForResource(t.Context(), &cw.ListTagsForResourceInput{ResourceARN: a.AlarmArn})
	check(t, err)
	if len(tags.Tags) != 1 || *tags.Tags[0].Key != "app" || *tags.Tags[0].Value != "lastwill" {
		t.Errorf("tags are %+v", tags.Tags)
	}
	_, err = client.SetAlarmState(t.Context(), &cw.SetAlarmStateInput{AlarmName: a.AlarmName, StateValue: types.StateValueOk, StateReason: aws.String("trying")})
	check(t, err)
	out, err = client.DescribeAlarms(t.Context(), in)
	check(t, err)
	if got := *out.MetricAlarms[0].StateReason; got != "trying" {
		t.Errorf("the reason is %q", got)
	}
	_, err = client.DeleteAlarms(t.Context(), &cw.DeleteAlarmsInput{AlarmNames: []string{*a.AlarmName}})
	check(t, err)
	_, err = client.DeleteAlarms(t.Context(), &cw.DeleteAlarmsInput{AlarmNames: []string{*a.AlarmName}})
	failsAs[*types.ResourceNotFound](t, err)
}

func TestDashboardsAreReadAndDeleted(t *testing.T) {
	t.Parallel()
	client, _ := cloudwatchOf(t)
	listed, err := client.ListDashboards(t.Context(), nil)
	check(t, err)
	if len(listed.DashboardEntries) != 1 || *listed.DashboardEntries[0].DashboardName != "Lastwill" {
		t.Errorf("dashboards are %+v", listed.DashboardEntries)
	}
	name := aws.String("Lastwill")
	_, err = client.DeleteDashboards(t.Context(), &cw.DeleteDashboardsInput{DashboardNames: []string{*name}})
	check(t, err)
	_, err = client.DeleteDashboards(t.Context(), &cw.DeleteDashboardsInput{DashboardNames: []string{*name}})
	failsAs[*types.DashboardNotFoundError](t, err)
}

func TestWhatCloudWatchDoesNotHaveHereIsNamed(t *testing.T) {
	t.Parallel()
	client, e := cloudwatchOf(t)
	_, err := client.PutMetricData(t.Context(), &cw.PutMetricDataInput{Namespace: aws.String("x"), MetricData: []types.MetricDatum{}})
	fails(t, err, "NotImplemented")
	_, err = client.DescribeAlarms(t.Context(), &cw.DescribeAlarmsInput{ParentsOfAlarmName: aws.String("x")})
	fails(t, err, "ValidationException")

	response, err := http.Post(e.url+"/service/GraniteServiceVersion20100801/operation/DescribeAlarms", "application/cbor", nil)
	check(t, err)
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusForbidden {
		t.Errorf("without a signature the answer is %s: %s", response.Status, body)
	}
}

// The aws CLI speaks JSON with CloudWatch, the SDK for Go CBOR.
func TestCloudWatchSpeaksJSONToo(t *testing.T) {
	t.Parallel()
	_, e := cloudwatchOf(t)
	now := time.Now()
	for _, test := range []struct {
		operation, body string
		status          int
		answer          string
	}{
		{"SetAlarmState", `{"AlarmName":"lastWillRule-Failure","StateValue":"OK","StateReason":"trying the mail"}`, http.StatusOK, `^\{\}$`},
		{
			"DescribeAlarms", `{"AlarmNamePrefix":"lastWill","MaxRecords":5}`, http.StatusOK,
			`"AlarmName":"lastWillRule-Failure".*"StateValue":"OK","StateReason":"trying the mail".*"StateUpdatedTimestamp":\d{10}\.\d{3},.*"Metrics":\[\{"Id":"all",`,
		},
		{
			"GetMetricData", fmt.Sprintf(`{"StartTime":%d,"EndTime":%d.5,"MetricDataQueries":[{"Id":"all","Expression":%q,"Period":3600}]}`,
				now.Add(-time.Hour).Unix(), now.Add(time.Hour).Unix(), sumOfFailures), http.StatusOK, `"Id":"all".*"Timestamps":\[\d{10}\.000\],"Values":\[2\]`,
		},
		{"DeleteDashboards", `{"DashboardNames":["none"]}`, http.StatusNotFound, `"__type":"DashboardNotFoundError"`},
		{"PutMetricData", `{}`, http.StatusNotImplemented, `PutMetricData of cloudwatch is not available`},
		{"DescribeAlarms", `{"ParentsOfAlarmName":"x"}`, http.StatusBadRequest, `parameter \\"ParentsOfAlarmName\\" is not supported`},
	} {
		status, answer := e.signed(t, "monitoring", http.MethodPost, "/", test.body, http.Header{
			"X-Amz-Target": {"GraniteServiceVersion20100801." + test.operation}, "Content-Type": {"application/x-amz-json-1.0"},
		})
		if status != test.status || !regexp.MustCompile(test.answer).MatchString(answer) {
			t.Errorf("%s: the answer is %d %s, want %d and %s", test.operation, status, answer, test.status, test.answer)
		}
	}
}

func FuzzDecodeCBOR(f *testing.F) {
	f.Add([]byte{0xa1, 0x6a, 'A', 'l', 'a', 'r', 'm', 'N', 'a', 'm', 'e', 's', 0x81, 0x61, 'a'})
	f.Add([]byte{0xbf, 0x61, 0x61})
	f.Add(bytes.Repeat([]byte{0x81}, 1000))
	f.Fuzz(func(t *testing.T, body []byte) {
		var in struct {
			AlarmNames []string
			StartTime  time.Time
		}
		var refused *awsapi.Error
		if err := api.DecodeCBOR(body, &in); err != nil && !errors.As(err, &refused) {
			t.Errorf("%T: %v", err, err)
		}
	})
}
