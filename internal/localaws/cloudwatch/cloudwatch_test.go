package cloudwatch_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudwatch"
	"lastwill/internal/localaws/policy"
	"lastwill/internal/localaws/sns"
)

// A world is a Service with a clock of the test's and a topic that remembers.
type world struct {
	*cloudwatch.Service
	now     time.Time
	told    []sns.PublishInput
	asked   []map[string]string
	refuse  error
	logged  strings.Builder
	account awsapi.Account
}

func newWorld() *world {
	w := &world{now: time.Date(2026, 11, 25, 22, 30, 15, 0, time.UTC), account: awsapi.Account{ID: "123456789012", Region: "us-east-1"}}
	w.Service = cloudwatch.New(w.account, w, func() time.Time { return w.now }, slog.New(slog.NewTextHandler(&w.logged, nil)))
	return w
}

// Publish is the topic's.
func (w *world) Publish(in sns.PublishInput, caller policy.Identity, context map[string]string) (string, error) {
	if caller.Principal().Service != "cloudwatch.amazonaws.com" || caller.Decide(policy.Request{}) != policy.ImplicitDeny {
		return "", errors.New("an alarm publishes as CloudWatch, with no permission of its own")
	}
	w.told, w.asked = append(w.told, in), append(w.asked, context)
	return "id", w.refuse
}

// pass lets time pass, with CloudWatch looking at its alarms each minute.
func (w *world) pass(minutes int) {
	for range minutes {
		w.now = w.now.Add(time.Minute)
		w.Evaluate()
	}
}

func (w *world) state(t *testing.T, name string) (state, reason string) {
	t.Helper()
	for _, a := range w.Alarms() {
		if a.Name == name {
			return a.State, a.Reason
		}
	}
	t.Fatalf("there is no alarm %s", name)
	return "", ""
}

const topic = "arn:aws:sns:us-east-1:123456789012:lwtSNSTopic"

var parseError = cloudwatch.Metric{Namespace: "AWS/IoT", Name: "ParseError", Dimensions: map[string]string{"RuleName": "lastWillRule"}}

func failure(rule, action string) cloudwatch.Metric {
	return cloudwatch.Metric{Namespace: "AWS/IoT", Name: "Failure", Dimensions: map[string]string{"RuleName": rule, "ActionType": action}}
}

// on is an alarm of five minutes on any ParseError, changed.
func on(changes ...func(*cloudwatch.AlarmInput)) cloudwatch.AlarmInput {
	in := cloudwatch.AlarmInput{
		Name: "lastWillRule-ParseError", Description: "No e-mail was sent.", Actions: []string{topic},
		Query:      cloudwatch.Query{Metric: parseError, Statistic: "Sum", Period: 5 * time.Minute},
		Comparison: "GreaterThanThreshold", TreatMissingData: "notBreaching",
	}
	for _, change := range changes {
		change(&in)
	}
	return in
}

func failures(in *cloudwatch.AlarmInput) {
	in.Name, in.ID, in.Label = "lastWillRule-Failure", "all", "Failure"
	in.Query = cloudwatch.Query{
		Expression: `SELECT SUM(Failure) FROM SCHEMA("AWS/IoT", ActionType, RuleName) WHERE RuleName = 'lastWillRule'`, Period: 5 * time.Minute,
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An alarm goes off with the first failure, tells once however many follow, ends
// when its period has passed without one, and goes off again.
func TestAnAlarmsLife(t *testing.T) {
	t.Parallel()
	w := newWorld()
	check(t, w.PutAlarm(on()))
	if state, _ := w.state(t, "lastWillRule-ParseError"); state != "OK" {
		t.Errorf("with nothing counted the alarm is %s", state)
	}
	w.Count(parseError)
	if state, reason := w.state(t, "lastWillRule-ParseError"); state != "ALARM" ||
		reason != "Threshold Crossed: 1 out of the last 1 datapoints [1.0 (25/11/26 22:26:00)] was greater than the threshold (0.0) (minimum 1 datapoint for OK -> ALARM transition)." {
		t.Errorf("after a failure it is %s: %s", state, reason)
	}
	w.pass(3)
	w.Count(parseError)
	w.pass(4)
	if state, _ := w.state(t, "lastWillRule-ParseError"); state != "ALARM" || len(w.told) != 1 {
		t.Errorf("four minutes after the last failure it is %s and has told %d times", state, len(w.told))
	}
	w.pass(1)
	if state, reason := w.state(t, "lastWillRule-ParseError"); state != "OK" || !strings.Contains(reason, "no datapoints were received") {
		t.Errorf("five minutes after the last failure it is %s: %s", state, reason)
	}
	w.Count(parseError)
	if len(w.told) != 2 {
		t.Errorf("it has told %d times, want twice", len(w.told))
	}
	want := map[string]string{
		"aws:SourceAccount": w.account.ID, "aws:SourceArn": w.account.ARN("cloudwatch", "alarm:lastWillRule-ParseError"), "aws:SecureTransport": "true",
	}
	if diff := cmp.Diff(want, w.asked[0]); diff != "" {
		t.Errorf("what the topic's policy sees (-want +got):\n%s", diff)
	}
}

func TestMissingData(t *testing.T) {
	t.Parallel()
	w := newWorld()
	check(t, w.PutAlarm(on(func(in *cloudwatch.AlarmInput) { in.TreatMissingData = "" })))
	if state, _ := w.state(t, "lastWillRule-ParseError"); state != "INSUFFICIENT_DATA" {
		t.Errorf("the alarm is %s", state)
	}
}

func TestAThresholdIsReachedOrExceeded(t *testing.T) {
	t.Parallel()
	for comparison, failuresUntilAlarm := range map[string]int{"GreaterThanThreshold": 3, "GreaterThanOrEqualToThreshold": 2} {
		w := newWorld()
		check(t, w.PutAlarm(on(func(in *cloudwatch.AlarmInput) { in.Threshold, in.Comparison = 2, comparison })))
		for n := 1; n <= 3; n++ {
			w.Count(parseError)
			want := map[bool]string{true: "ALARM", false: "OK"}[n >= failuresUntilAlarm]
			if state, _ := w.state(t, "lastWillRule-ParseError"); state != want {
				t.Errorf("%s 2: after %d it is %s", comparison, n, state)
			}
		}
	}
}

// An expression sums all actions of its rule, and nothing of another's.
func TestAnExpressionSelects(t *testing.T) {
	t.Parallel()
	w := newWorld()
	check(t, w.PutAlarm(on(failures)))
	w.Count(failure("lastWillRule_staging", "Sns"))
	w.Count(cloudwatch.Metric{Namespace: "AWS/IoT", Name: "Success", Dimensions: failure("lastWillRule", "Sns").Dimensions})
	w.Count(cloudwatch.Metric{Namespace: "AWS/IoT", Name: "Failure", Dimensions: map[string]string{"RuleName": "lastWillRule"}})
	if len(w.told) != 0 {
		t.Fatalf("told %q", w.told[0].Subject)
	}
	w.Count(failure("lastWillRule", "Sns"))
	w.Count(failure("lastWillRule", "Republish"))
	if len(w.told) != 1 {
		t.Errorf("told %d times", len(w.told))
	}
	query := on(failures).Query
	query.Period = time.Minute
	points, err := w.Data(query, w.now.Add(-time.Hour), w.now)
	check(t, err)
	if want := []cloudwatch.Datapoint{{Time: w.now.Truncate(time.Minute), Value: 2}}; !cmp.Equal(points, want) {
		t.Errorf("data points %v, want %v", points, want)
	}
}

func TestDataOfAPeriod(t *testing.T) {
	t.Parallel()
	w := newWorld() // 22:30
	for range 7 {
		w.Count(parseError)
		w.pass(1)
	}
	query := cloudwatch.Query{Metric: parseError, Statistic: "Sum", Period: 5 * time.Minute}
	for statistic, want := range map[string][]float64{
		"Sum": {5, 2}, "SampleCount": {5, 2}, "Average": {1, 1}, "Minimum": {1, 1}, "Maximum": {1, 1},
	} {
		query.Statistic = statistic
		points, err := w.Data(query, w.now.Add(-time.Hour), w.now)
		check(t, err)
		var got []float64
		for _, p := range points {
			got = append(got, p.Value)
		}
		if !cmp.Equal(got, want) {
			t.Errorf("%s: %v, want %v", statistic, got, want)
		}
	}
	w.pass(4 * 60)
	w.Count(parseError)
	query.Statistic = "Sum"
	if points, err := w.Data(query, w.now.Add(-24*time.Hour), w.now); err != nil || len(points) != 1 {
		t.Errorf("after hours there are %v, %v; want what was counted just now", points, err)
	}
}

func TestTheMail(t *testing.T) {
	t.Parallel()
	w := newWorld()
	check(t, w.PutAlarm(on()))
	w.Count(parseError)
	var texts map[string]string
	check(t, json.Unmarshal([]byte(w.told[0].Message), &texts))
	if got, want := w.told[0].Subject, `ALARM: "lastWillRule-ParseError" in US East (N. Virginia)`; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	want := `You are receiving this email because your Amazon CloudWatch Alarm "lastWillRule-ParseError" in the US East (N. Virginia) region has entered the ALARM state, because "Threshold Crossed: 1 out of the last 1 datapoints [1.0 (25/11/26 22:26:00)] was greater than the threshold (0.0) (minimum 1 datapoint for OK -> ALARM transition)." at "Wednesday 25 November, 2026 22:30:15 UTC".

View this alarm in the AWS Management Console:
https://us-east-1.console.aws.amazon.com/cloudwatch/deeplink.js?region=us-east-1#alarmsV2:alarm/lastWillRule-ParseError

Alarm Details:
- Name:                       lastWillRule-ParseError
- Description:                No e-mail was sent.
- State Change:               OK -> ALARM
- Reason for State Change:    Threshold Crossed: 1 out of the last 1 datapoints [1.0 (25/11/26 22:26:00)] was greater than the threshold (0.0) (minimum 1 datapoint for OK -> ALARM transition).
- Timestamp:                  Wednesday 25 November, 2026 22:30:15 UTC
- AWS Account:                123456789012
- Alarm Arn:                  arn:aws:cloudwatch:us-east-1:123456789012:alarm:lastWillRule-ParseError

Threshold:
- The alarm is in the ALARM state when the metric is GreaterThanThreshold 0.0 for at least 1 of the last 1 period(s) of 300 seconds.

Monitored Metric:
- MetricNamespace:                     AWS/IoT
- MetricName:                          ParseError
- Dimensions:                          [RuleName = lastWillRule]
- Period:                              300 seconds
- Statistic:                           Sum
- Unit:                                not specified
- TreatMissingData:                    notBreaching

State Change Actions:
- OK: 
- ALARM: [arn:aws:sns:us-east-1:123456789012:lwtSNSTopic]
- INSUFFICIENT_DATA: 
`
	if diff := cmp.Diff(want, texts["email"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var document struct {
		AlarmName, NewStateValue, OldStateValue string
		Trigger                                 struct{ MetricName string }
	}
	check(t, json.Unmarshal([]byte(texts["default"]), &document))
	if document.AlarmName != "lastWillRule-ParseError" || document.NewStateValue != "ALARM" || document.OldStateValue != "OK" || document.Trigger.MetricName != "ParseError" {
		t.Errorf("the document for queues is %s", texts["default"])
	}
}

func TestATopicThatRefusesIsLogged(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.refuse = errors.New("not authorized")
	check(t, w.PutAlarm(on()))
	w.Count(parseError)
	if got := w.logged.String(); !strings.Contains(got, "lastWillRule-ParseError") || !strings.Contains(got, "not authorized") {
		t.Errorf("the log says %q", got)
	}
}

func TestAStateThatSomebodySets(t *testing.T) {
	t.Parallel()
	w := newWorld()
	check(t, w.PutAlarm(on()))
	check(t, w.SetAlarmState("lastWillRule-ParseError", "ALARM", "just trying"))
	if len(w.told) != 1 || !strings.Contains(w.told[0].Message, "just trying") {
		t.Errorf("told %v", w.told)
	}
	w.pass(1)
	if state, _ := w.state(t, "lastWillRule-ParseError"); state != "OK" {
		t.Errorf("at the next look it is %s", state)
	}
}

func TestWhatIsNotHereIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*cloudwatch.AlarmInput){
		"math":   func(in *cloudwatch.AlarmInput) { in.Query.Expression = "m1 + m2" },
		"SEARCH": func(in *cloudwatch.AlarmInput) { in.Query.Expression = `SEARCH('{AWS/IoT,RuleName}', 'Sum')` },
		"a condition": func(in *cloudwatch.AlarmInput) {
			in.Query.Expression = `SELECT SUM(Failure) FROM SCHEMA("AWS/IoT", RuleName) WHERE RuleName != 'x'`
		},
		"a statistic":   func(in *cloudwatch.AlarmInput) { in.Query.Statistic = "p99" },
		"a comparison":  func(in *cloudwatch.AlarmInput) { in.Comparison = "LessThanThreshold" },
		"half a minute": func(in *cloudwatch.AlarmInput) { in.Query.Period = 30 * time.Second },
		"missing data":  func(in *cloudwatch.AlarmInput) { in.TreatMissingData = "breaching" },
		"an action": func(in *cloudwatch.AlarmInput) {
			in.Actions = []string{"arn:aws:lambda:us-east-1:123456789012:function:f"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			var refused *awsapi.Error
			if err := w.PutAlarm(on(change)); !errors.As(err, &refused) {
				t.Errorf("the error is %v", err)
			}
			if len(w.Alarms()) != 0 {
				t.Error("the alarm is there")
			}
		})
	}
}

// What is kept over a restart goes on as if nothing had been.
func TestKeptOverARestart(t *testing.T) {
	t.Parallel()
	before, after := newWorld(), newWorld()
	check(t, before.PutAlarm(on(failures)))
	before.PutDashboard("Lastwill", "{}", awsapi.Tags{"app": "lastwill"})
	before.Count(failure("lastWillRule", "Sns"))
	saved, err := json.Marshal(before.Service)
	check(t, err)
	check(t, json.Unmarshal(saved, after.Service))
	if state, _ := after.state(t, "lastWillRule-Failure"); state != "ALARM" {
		t.Errorf("the alarm is %s", state)
	}
	after.pass(5)
	after.Count(failure("lastWillRule", "Sns"))
	if len(after.told) != 1 {
		t.Errorf("told %d times", len(after.told))
	}
	if diff := cmp.Diff(before.Dashboards(), after.Dashboards()); diff != "" {
		t.Errorf("dashboards (-before +after):\n%s", diff)
	}
}
