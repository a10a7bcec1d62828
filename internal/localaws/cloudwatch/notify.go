package cloudwatch

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"lastwill/internal/localaws/policy"
	"lastwill/internal/localaws/sns"
)

// servicePrincipal is who publishes for alarms; only a topic's own policy can let it.
const servicePrincipal = "cloudwatch.amazonaws.com"

type publisher struct{}

func (publisher) Principal() policy.Principal           { return policy.Principal{Service: servicePrincipal} }
func (publisher) Decide(policy.Request) policy.Decision { return policy.ImplicitDeny }

// A stateChange is an alarm that went off.
type stateChange struct {
	alarm  Alarm
	before string
}

// tell publishes to the alarms' topics. It runs without the lock: SNS counts what
// it does.
func (s *Service) tell(changes []stateChange) {
	for _, c := range changes {
		for _, topic := range c.alarm.Actions {
			_, err := s.topics.Publish(sns.PublishInput{
				TopicARN: topic, Subject: s.subject(c), Message: s.message(c), MessageStructure: "json",
			}, publisher{}, map[string]string{
				"aws:SourceAccount": s.account.ID, "aws:SourceArn": c.alarm.ARN, "aws:SecureTransport": "true",
			})
			if err != nil {
				s.log.Error("an alarm could not tell its topic", "alarm", c.alarm.Name, "topic", topic, "error", err)
			}
		}
	}
}

// regionName is how mails call the region.
func (s *Service) regionName() string {
	if s.account.Region == "us-east-1" {
		return "US East (N. Virginia)"
	}
	return s.account.Region
}

// maxSubject is what SNS takes.
const maxSubject = 99

func (s *Service) subject(c stateChange) string {
	subject := fmt.Sprintf("%s: %q in %s", c.alarm.State, c.alarm.Name, s.regionName())
	return subject[:min(len(subject), maxSubject)]
}

// message has the text for mails and the document for all other subscribers.
func (s *Service) message(c stateChange) string {
	b, err := json.Marshal(map[string]string{"default": s.document(c), "email": s.text(c)})
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// text is what CloudWatch's mails say, in their layout.
func (s *Service) text(c stateChange) string {
	a := c.alarm
	at := a.StateUpdated.UTC().Format("Monday 02 January, 2006 15:04:05 UTC")
	var b strings.Builder
	line := func(width int, name, format string, args ...any) {
		fmt.Fprintf(&b, "- %-*s %s\n", width, name+":", fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "You are receiving this email because your Amazon CloudWatch Alarm %q in the %s region has entered the %s state, because %q at %q.\n\n",
		a.Name, s.regionName(), a.State, a.Reason, at)
	fmt.Fprintf(&b, "View this alarm in the AWS Management Console:\nhttps://%[1]s.console.aws.amazon.com/cloudwatch/deeplink.js?region=%[1]s#alarmsV2:alarm/%[2]s\n\n",
		s.account.Region, url.PathEscape(a.Name))
	b.WriteString("Alarm Details:\n")
	line(27, "Name", "%s", a.Name)
	line(27, "Description", "%s", a.Description)
	line(27, "State Change", "%s -> %s", c.before, a.State)
	line(27, "Reason for State Change", "%s", a.Reason)
	line(27, "Timestamp", "%s", at)
	line(27, "AWS Account", "%s", s.account.ID)
	line(27, "Alarm Arn", "%s", a.ARN)
	fmt.Fprintf(&b, "\nThreshold:\n- The alarm is in the ALARM state when the metric is %s %s for at least 1 of the last 1 period(s) of %d seconds.\n\n",
		a.Comparison, decimal(a.Threshold), int(a.Query.Period/time.Second))
	if a.Query.Expression != "" {
		b.WriteString("Monitored Metrics:\n")
		line(9, "MetricExpression", "%s", a.Query.Expression)
		line(9, "MetricLabel", "%s", a.Label)
	} else {
		b.WriteString("Monitored Metric:\n")
		line(36, "MetricNamespace", "%s", a.Query.Namespace)
		line(36, "MetricName", "%s", a.Query.Name)
		line(36, "Dimensions", "[%s]", strings.Join(a.Query.dimensionTexts(), ", "))
		line(36, "Period", "%d seconds", int(a.Query.Period/time.Second))
		line(36, "Statistic", "%s", a.Query.Statistic)
		line(36, "Unit", "not specified")
		line(36, "TreatMissingData", "%s", a.TreatMissingData)
	}
	fmt.Fprintf(&b, "\nState Change Actions:\n- OK: \n- ALARM: [%s]\n- INSUFFICIENT_DATA: \n", strings.Join(a.Actions, ", "))
	return b.String()
}

func (m Metric) dimensionTexts() []string {
	var texts []string
	for name, value := range m.Dimensions {
		texts = append(texts, name+" = "+value)
	}
	slices.Sort(texts)
	return texts
}

type dimension struct {
	Value string `json:"value"`
	Name  string `json:"name"`
}

type trigger struct {
	MetricName         string           `json:"MetricName,omitempty"`
	Namespace          string           `json:"Namespace,omitempty"`
	StatisticType      string           `json:"StatisticType,omitempty"`
	Statistic          string           `json:"Statistic,omitempty"`
	Dimensions         []dimension      `json:"Dimensions,omitempty"`
	Metrics            []map[string]any `json:"Metrics,omitempty"`
	Period             int              `json:"Period"`
	EvaluationPeriods  int              `json:"EvaluationPeriods"`
	ComparisonOperator string           `json:"ComparisonOperator"`
	Threshold          float64          `json:"Threshold"`
	TreatMissingData   string           `json:"TreatMissingData"`
}

// document is the JSON that queues and functions get.
func (s *Service) document(c stateChange) string {
	const layout = "2006-01-02T15:04:05.000-0700"
	a := c.alarm
	t := trigger{
		Period: int(a.Query.Period / time.Second), EvaluationPeriods: 1, ComparisonOperator: a.Comparison,
		Threshold: a.Threshold, TreatMissingData: a.TreatMissingData,
	}
	if a.Query.Expression != "" {
		t.Metrics = []map[string]any{{
			"Expression": a.Query.Expression, "Id": a.ID, "Label": a.Label, "Period": t.Period, "ReturnData": true,
		}}
	} else {
		t.Namespace, t.MetricName = a.Query.Namespace, a.Query.Name
		t.StatisticType, t.Statistic = "Statistic", strings.ToUpper(a.Query.Statistic)
		for name, value := range a.Query.Dimensions {
			t.Dimensions = append(t.Dimensions, dimension{value, name})
		}
	}
	b, err := json.Marshal(struct {
		AlarmName                          string
		AlarmDescription                   string
		AWSAccountID                       string `json:"AWSAccountId"`
		AlarmConfigurationUpdatedTimestamp string
		NewStateValue, NewStateReason      string
		StateChangeTime, Region            string
		AlarmARN                           string `json:"AlarmArn"`
		OldStateValue                      string
		OKActions, AlarmActions            []string
		InsufficientDataActions            []string
		Trigger                            trigger
	}{
		a.Name, a.Description, s.account.ID, a.Configured.UTC().Format(layout), a.State, a.Reason,
		a.StateUpdated.UTC().Format(layout), s.regionName(), a.ARN, c.before,
		[]string{},
		a.Actions,
		[]string{},
		t,
	})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return string(b)
}
