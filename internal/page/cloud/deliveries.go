package cloud

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"lastwill/internal/page"
)

const (
	// countEvery is how often SNS's counters are read, which are kept by the minute.
	countEvery = time.Minute
	// countLate is how long a minute's count may still grow.
	countLate = 15 * time.Minute
)

// The counters of an SNS topic (SNS developer guide, "Monitoring Amazon SNS topics
// using CloudWatch").
var counters = []struct {
	name string
	kind page.Kind
	says string
}{
	{"NumberOfNotificationsDelivered", page.Mail, "SNS counts %d as delivered in the minute of %s"},
	{"NumberOfNotificationsFailed", page.Failed, "SNS counts %d as not delivered in the minute of %s"},
}

// counts remembers what was told of which counter and minute.
type counts struct {
	told   map[string]float64
	failed bool // to be read the last time
}

// deliveries returns what SNS has counted since the last call: all that AWS tells
// of e-mails. What keeps that from being read is told once.
func (p *Page) deliveries(ctx context.Context) (out []page.Event) {
	topic := p.target.SNSTopic[strings.LastIndex(p.target.SNSTopic, ":")+1:]
	now := time.Now()
	in := &cloudwatch.GetMetricDataInput{StartTime: aws.Time(now.Add(-countLate).Truncate(time.Minute)), EndTime: aws.Time(now.Add(time.Minute))}
	for i, c := range counters {
		in.MetricDataQueries = append(in.MetricDataQueries, types.MetricDataQuery{
			Id: aws.String(fmt.Sprintf("m%d", i)),
			MetricStat: &types.MetricStat{
				Metric: &types.Metric{
					Namespace: aws.String("AWS/SNS"), MetricName: &c.name,
					Dimensions: []types.Dimension{{Name: aws.String("TopicName"), Value: &topic}},
				},
				Period: aws.Int32(60), Stat: aws.String("Sum"),
			},
		})
	}
	found, err := p.cloudwatch.GetMetricData(ctx, in)
	if err != nil {
		if ctx.Err() == nil && !p.counted.failed {
			p.Log(fmt.Errorf("deliveries are not shown: %w", err))
		}
		p.counted.failed = true
		return nil
	}
	p.counted.failed = false
	told := map[string]float64{} // of minutes that may still grow
	for i, c := range counters {
		for _, r := range found.MetricDataResults {
			if aws.ToString(r.Id) != fmt.Sprintf("m%d", i) {
				continue
			}
			for j, minute := range r.Timestamps {
				key := c.name + " " + topic + " " + minute.UTC().Format(time.RFC3339)
				told[key] = r.Values[j]
				if more := int(r.Values[j] - p.counted.told[key]); more > 0 {
					out = append(out, page.Event{Kind: c.kind, Time: now, Detail: fmt.Sprintf(c.says, more, minute.Local().Format("15:04"))})
				}
			}
		}
	}
	p.counted.told = told
	return out
}
