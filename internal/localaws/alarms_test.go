package localaws_test

import (
	"strings"
	"testing"
	"time"

	"lastwill/internal/localaws/cloudwatch"
)

// What keeps an alert from being sent tells the same address.
func TestAlarmsTellOfWhatFailed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		claim   string
		change  func(*testing.T, template)
		payload string
		alarm   string
		alerts  int // mails of the will itself
	}{
		{
			"an action that failed", func(t *testing.T, tm template) { tm.forbid(t, "iot:Publish") },
			lost, "lastWillRule-Failure", 1,
		},
		{
			"an error action that failed", func(t *testing.T, tm template) {
				tm.forbid(t, "iot:Publish")
				tm.forbid(t, "logs:CreateLogStream")
			},
			lost, "lastWillRule-ErrorActionFailure", 1,
		},
		{"a message that is no JSON", func(*testing.T, template) {}, "gone", "lastWillRule-ParseError", 0},
	} {
		t.Run(c.claim, func(t *testing.T) {
			t.Parallel()
			cloud := start(t)
			cloud.deploy(t, func(tm template) { c.change(t, tm) })
			cloud.confirm(t)
			for range 3 { // the alarm tells once
				check(t, cloud.IoT.Publish(deadline(t), names.WillTopic, []byte(c.payload), 0, false))
			}
			subjects := map[string]int{}
			for range alarmsOf(cloud, "ALARM") + 3*c.alerts {
				m := cloud.nextMail(t)
				subjects[m.Subject]++
				if strings.HasPrefix(m.Subject, "ALARM") && !strings.Contains(m.Body, "docs/runbook.md") {
					t.Errorf("the mail does not say what to do:\n%s", m.Body)
				}
			}
			cloud.noMoreMails(t)
			if want := `ALARM: "` + c.alarm + `" in US East (N. Virginia)`; subjects[want] != 1 {
				t.Errorf("mails with these subjects came: %v, want %s", subjects, want)
			}
		})
	}
}

func alarmsOf(c *cloud, state string) (n int) {
	for _, a := range c.CloudWatch.Alarms() {
		if a.State == state {
			n++
		}
	}
	return n
}

// A topic that does not allow CloudWatch to publish gets nothing of an alarm.
func TestTheTopicsPolicyDecidesAboutAlarms(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	cloud.deploy(t, func(tm template) {
		policy := tm.properties(t, "AWS::SNS::TopicPolicy")["PolicyDocument"].(object)
		policy["Statement"] = policy["Statement"].([]any)[:1] // TLS only
	})
	cloud.confirm(t)
	check(t, cloud.IoT.Publish(deadline(t), names.WillTopic, []byte("gone"), 0, false))
	if n := alarmsOf(cloud, "ALARM"); n != 1 {
		t.Errorf("%d alarms went off", n)
	}
	cloud.noMoreMails(t)
}

func TestWhatTheStackDoesIsCounted(t *testing.T) {
	t.Parallel()
	cloud := start(t)
	stack := cloud.deploy(t)
	cloud.confirm(t)
	d := connect(t, cloud.device(cloud.thing(t, stack)))
	_, err := d.Drop()
	check(t, err)
	cloud.disconnected(t, names.Thing("lwtThing"))
	check(t, cloud.IoT.Publish(deadline(t), names.WillTopic, []byte(`{"state":{"reported":{"last_will":"no"}}}`), 0, false))
	rule := map[string]string{"RuleName": names.Rule}
	action := func(kind string) map[string]string {
		return map[string]string{"RuleName": names.Rule, "ActionType": kind}
	}
	topic := map[string]string{"TopicName": names.SNSTopic}
	for _, want := range []struct {
		namespace, metric string
		dimensions        map[string]string
		count             float64
	}{
		{"AWS/IoT", "Connect.Success", map[string]string{"Protocol": "MQTT"}, 1},
		{"AWS/IoT", "TopicMatch", rule, 2},
		{"AWS/IoT", "ParseError", rule, 0},
		{"AWS/IoT", "Success", action("Sns"), 1},
		{"AWS/IoT", "Success", action("Republish"), 1},
		{"AWS/IoT", "Failure", action("Sns"), 0},
		{"AWS/SNS", "NumberOfMessagesPublished", topic, 1},
		{"AWS/SNS", "NumberOfNotificationsDelivered", topic, 1},
	} {
		if got := cloud.counted(t, cloudwatch.Metric{Namespace: want.namespace, Name: want.metric, Dimensions: want.dimensions}); got != want.count {
			t.Errorf("%s %s %v is %v, want %v", want.namespace, want.metric, want.dimensions, got, want.count)
		}
	}
}

// counted sums a metric over the last hour.
func (c *cloud) counted(t testing.TB, m cloudwatch.Metric) (sum float64) {
	t.Helper()
	points, err := c.CloudWatch.Data(cloudwatch.Query{Metric: m, Statistic: "Sum", Period: time.Minute}, time.Now().Add(-time.Hour), time.Now())
	check(t, err)
	for _, p := range points {
		sum += p.Value
	}
	return sum
}
