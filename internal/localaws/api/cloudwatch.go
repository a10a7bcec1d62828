package api

import (
	"slices"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudwatch"
)

func cloudwatchFront(s Services) front {
	a := cloudwatchAPI{s.CloudWatch}
	return cborFront{service: "cloudwatch", queryCodes: map[string]string{"DashboardNotFoundError": "ResourceNotFound"}, operations: map[string]operation{
		"DeleteAlarms": do(func(in struct{ AlarmNames []string }) error { return a.service.DeleteAlarms(in.AlarmNames...) }),
		"DeleteDashboards": do(func(in struct{ DashboardNames []string }) error {
			return a.service.DeleteDashboards(in.DashboardNames...)
		}),
		"DescribeAlarms":      op(a.describeAlarms),
		"GetMetricData":       op(a.getMetricData),
		"ListDashboards":      op(a.listDashboards),
		"ListMetrics":         op(a.listMetrics),
		"ListTagsForResource": op(a.listTagsForResource),
		"SetAlarmState": do(func(in struct{ AlarmName, StateValue, StateReason string }) error {
			return a.service.SetAlarmState(in.AlarmName, in.StateValue, in.StateReason)
		}),
	}}
}

type cloudwatchAPI struct{ service *cloudwatch.Service }

// Largest pages (API reference, each operation).
const (
	maxAlarms     = 100
	maxMetrics    = 500
	maxDashboards = 1000
)

type metricDimension struct{ Name, Value string }

type metricID struct {
	Namespace  string            `json:",omitempty"`
	MetricName string            `json:",omitempty"`
	Dimensions []metricDimension `json:",omitempty"`
}

func (m metricID) metric() cloudwatch.Metric {
	dimensions := map[string]string{}
	for _, d := range m.Dimensions {
		dimensions[d.Name] = d.Value
	}
	return cloudwatch.Metric{Namespace: m.Namespace, Name: m.MetricName, Dimensions: dimensions}
}

func metricIDOf(m cloudwatch.Metric) metricID {
	out := metricID{Namespace: m.Namespace, MetricName: m.Name}
	for name, value := range m.Dimensions {
		out.Dimensions = append(out.Dimensions, metricDimension{name, value})
	}
	slices.SortFunc(out.Dimensions, func(a, b metricDimension) int { return strings.Compare(a.Name, b.Name) })
	return out
}

type metricStat struct {
	Metric metricID
	Period int
	Stat   string
}

type metricDataQuery struct {
	ID         string `json:"Id"`
	Expression string `json:",omitempty"`
	Label      string
	MetricStat *metricStat `json:",omitempty"`
	Period     int         `json:",omitempty"`
	ReturnData *bool       `json:",omitempty"`
}

func (q metricDataQuery) query() (cloudwatch.Query, error) {
	switch {
	case q.ReturnData != nil && !*q.ReturnData:
		return cloudwatch.Query{}, awsapi.Errorf("ValidationError", "query %s: ReturnData false is not supported by this local endpoint", q.ID)
	case q.MetricStat != nil && q.Expression == "":
		s := q.MetricStat
		return cloudwatch.Query{Metric: s.Metric.metric(), Statistic: s.Stat, Period: time.Duration(s.Period) * time.Second}, nil
	case q.MetricStat == nil && q.Expression != "":
		return cloudwatch.Query{Expression: q.Expression, Period: time.Duration(q.Period) * time.Second}, nil
	}
	return cloudwatch.Query{}, awsapi.Errorf("ValidationError", "query %s must have one of MetricStat and Expression", q.ID)
}

type metricDataResult struct {
	ID         string `json:"Id"`
	Label      string
	StatusCode string
	Timestamps []moment
	Values     []float64
}

// getMetricData answers with the latest first, as it does on AWS unless asked for
// the other order.
func (a cloudwatchAPI) getMetricData(_ *call, in struct {
	MetricDataQueries  []metricDataQuery
	StartTime, EndTime moment
	ScanBy             string
	MaxDatapoints      int
},
) (out struct{ MetricDataResults []metricDataResult }, err error) {
	for _, q := range in.MetricDataQueries {
		query, err := q.query()
		if err != nil {
			return out, err
		}
		points, err := a.service.Data(query, time.Time(in.StartTime), time.Time(in.EndTime))
		if err != nil {
			return out, err
		}
		if in.ScanBy != "TimestampAscending" {
			slices.Reverse(points)
		}
		r := metricDataResult{ID: q.ID, Label: q.Label, StatusCode: "Complete", Timestamps: []moment{}, Values: []float64{}}
		if r.Label == "" && q.MetricStat != nil {
			r.Label = q.MetricStat.Metric.MetricName
		}
		for _, p := range points {
			r.Timestamps, r.Values = append(r.Timestamps, moment(p.Time)), append(r.Values, p.Value)
		}
		out.MetricDataResults = append(out.MetricDataResults, r)
	}
	return out, nil
}

func (a cloudwatchAPI) listMetrics(_ *call, in struct {
	Namespace, MetricName, NextToken string
	Dimensions                       []struct{ Name, Value string }
},
) (out struct {
	Metrics   []metricID
	NextToken string `json:",omitempty"`
}, err error,
) {
	all := slices.DeleteFunc(a.service.Metrics(), func(m cloudwatch.Metric) bool {
		for _, d := range in.Dimensions {
			if value, ok := m.Dimensions[d.Name]; !ok || d.Value != "" && d.Value != value {
				return true
			}
		}
		return in.Namespace != "" && m.Namespace != in.Namespace || in.MetricName != "" && m.Name != in.MetricName
	})
	found, err := paginate(all, cloudwatch.Metric.Key, in.NextToken, 0, maxMetrics)
	out.Metrics, out.NextToken = transform(found.items, metricIDOf), found.next
	return out, err
}

type metricAlarm struct {
	AlarmName                          string
	AlarmArn                           string
	AlarmDescription                   string
	AlarmConfigurationUpdatedTimestamp moment
	ActionsEnabled                     bool
	OKActions                          []string
	AlarmActions                       []string
	InsufficientDataActions            []string
	StateValue                         string
	StateReason                        string
	StateUpdatedTimestamp              moment
	MetricName                         string            `json:",omitempty"`
	Namespace                          string            `json:",omitempty"`
	Statistic                          string            `json:",omitempty"`
	Dimensions                         []metricDimension `json:",omitempty"`
	Metrics                            []metricDataQuery `json:",omitempty"`
	Period                             int               `json:",omitempty"`
	EvaluationPeriods                  int
	Threshold                          float64
	ComparisonOperator                 string
	TreatMissingData                   string `json:",omitempty"`
}

func metricAlarmOf(a cloudwatch.Alarm) metricAlarm {
	out := metricAlarm{
		AlarmName: a.Name, AlarmArn: a.ARN, AlarmDescription: a.Description, AlarmConfigurationUpdatedTimestamp: moment(a.Configured),
		ActionsEnabled: true, OKActions: []string{}, AlarmActions: a.Actions, InsufficientDataActions: []string{},
		StateValue: a.State, StateReason: a.Reason, StateUpdatedTimestamp: moment(a.StateUpdated),
		EvaluationPeriods: 1, Threshold: a.Threshold, ComparisonOperator: a.Comparison, TreatMissingData: a.TreatMissingData,
	}
	period, yes := int(a.Query.Period/time.Second), true
	if a.Query.Expression != "" {
		out.Metrics = []metricDataQuery{{ID: a.ID, Expression: a.Query.Expression, Label: a.Label, Period: period, ReturnData: &yes}}
		return out
	}
	id := metricIDOf(a.Query.Metric)
	out.Namespace, out.MetricName, out.Dimensions = id.Namespace, id.MetricName, id.Dimensions
	out.Statistic, out.Period = a.Query.Statistic, period
	return out
}

func (a cloudwatchAPI) describeAlarms(_ *call, in struct {
	AlarmNames                             []string
	AlarmTypes                             []string
	AlarmNamePrefix, StateValue, NextToken string
	MaxRecords                             int
},
) (out struct {
	MetricAlarms []metricAlarm
	NextToken    string `json:",omitempty"`
}, err error,
) {
	all := slices.DeleteFunc(a.service.Alarms(), func(found cloudwatch.Alarm) bool {
		return len(in.AlarmNames) > 0 && !slices.Contains(in.AlarmNames, found.Name) ||
			len(in.AlarmTypes) > 0 && !slices.Contains(in.AlarmTypes, "MetricAlarm") ||
			!strings.HasPrefix(found.Name, in.AlarmNamePrefix) || in.StateValue != "" && found.State != in.StateValue
	})
	found, err := paginate(all, func(a cloudwatch.Alarm) string { return a.Name }, in.NextToken, in.MaxRecords, maxAlarms)
	out.MetricAlarms, out.NextToken = transform(found.items, metricAlarmOf), found.next
	return out, err
}

type dashboardEntry struct {
	DashboardName, DashboardArn string
	LastModified                moment
	Size                        int
}

func (a cloudwatchAPI) listDashboards(_ *call, in struct{ DashboardNamePrefix, NextToken string }) (out struct {
	DashboardEntries []dashboardEntry
	NextToken        string `json:",omitempty"`
}, err error,
) {
	all := slices.DeleteFunc(a.service.Dashboards(), func(d cloudwatch.Dashboard) bool {
		return !strings.HasPrefix(d.Name, in.DashboardNamePrefix)
	})
	found, err := paginate(all, func(d cloudwatch.Dashboard) string { return d.Name }, in.NextToken, 0, maxDashboards)
	out.NextToken = found.next
	out.DashboardEntries = transform(found.items, func(d cloudwatch.Dashboard) dashboardEntry {
		return dashboardEntry{d.Name, d.ARN, moment(d.Modified), len(d.Body)}
	})
	return out, err
}

func (a cloudwatchAPI) listTagsForResource(_ *call, in struct{ ResourceARN string }) (out struct{ Tags []tag }, err error) {
	tags, err := a.service.Tags(in.ResourceARN)
	out.Tags = tagList(tags)
	return out, err
}
