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

// The counters of an SNS topic (SNS developer guide, "Monitoring Amazon SNS topics
// using CloudWatch"). They are of all its subscriptions and all its messages.
var counters = []struct{ name, says string }{
	{"NumberOfNotificationsDelivered", "SNS counts %d notifications as delivered in the minute of %s"},
	{"NumberOfNotificationsFailed", "SNS counts %d notifications as not delivered in the minute of %s"},
}

// counts remembers what was told.
type counts struct {
	begun bool
	told  map[counted]float64
}

// A counted is a minute of a counter.
type counted struct {
	topic, counter string
	minute         time.Time
}

// deliveries tells what SNS has counted since the last call, which is all that AWS
// says of e-mails. What was there at the first is nobody's news.
func (p *Page) deliveries(ctx context.Context) {
	topic := p.target.SNSTopic[strings.LastIndex(p.target.SNSTopic, ":")+1:]
	now := time.Now()
	from := now.Add(-countLate).Truncate(time.Minute)
	in := &cloudwatch.GetMetricDataInput{StartTime: &from, EndTime: aws.Time(now.Add(time.Minute))}
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
	p.trouble("counters", "deliveries of e-mails are not counted", err)
	if err != nil {
		return
	}
	told := map[counted]float64{}
	for c, n := range p.counted.told {
		if !c.minute.Before(from) {
			told[c] = n
		}
	}
	for i, c := range counters {
		for _, r := range found.MetricDataResults {
			if aws.ToString(r.Id) != fmt.Sprintf("m%d", i) {
				continue
			}
			for j, minute := range r.Timestamps {
				key := counted{topic, c.name, minute.UTC()}
				more := int(r.Values[j] - told[key])
				told[key] = max(told[key], r.Values[j])
				if more > 0 && p.counted.begun {
					p.history.Record(page.Event{Kind: page.Note, Time: now, Detail: fmt.Sprintf(c.says, more, minute.Local().Format("15:04"))})
				}
			}
		}
	}
	p.counted = counts{true, told}
}
