package resources

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/cloudwatch"
)

type alarmProperties struct {
	AlarmActions       []string
	AlarmDescription   string
	AlarmName          string `cfn:"immutable"`
	ComparisonOperator string `cfn:"required"`
	Dimensions         []struct {
		Name  string `cfn:"required"`
		Value string `cfn:"required"`
	}
	EvaluationPeriods int `cfn:"required"`
	MetricName        string
	Metrics           []struct {
		ID         string `json:"Id" cfn:"required"`
		Label      string
		Expression string
		Period     int
		ReturnData bool
	}
	Namespace        string
	Period           int
	Statistic        string
	Tags             tagList
	Threshold        *float64
	TreatMissingData string
}

func (p alarmProperties) input(name string, r request) (cloudwatch.AlarmInput, error) {
	in := cloudwatch.AlarmInput{
		Name: name, Description: p.AlarmDescription, Actions: p.AlarmActions, Comparison: p.ComparisonOperator,
		TreatMissingData: p.TreatMissingData, Tags: p.Tags.with(r.Tags),
	}
	switch {
	case p.EvaluationPeriods != 1:
		return in, fmt.Errorf("EvaluationPeriods %d is not supported here: use 1", p.EvaluationPeriods)
	case p.Threshold == nil:
		return in, awsapi.Errorf("ValidationError", "Threshold is missing")
	case len(p.Metrics) > 1:
		return in, fmt.Errorf("%d Metrics are not supported here: use one with an Expression", len(p.Metrics))
	case len(p.Metrics) == 1:
		q := p.Metrics[0]
		in.ID, in.Label = q.ID, q.Label
		in.Query = cloudwatch.Query{Expression: q.Expression, Period: time.Duration(q.Period) * time.Second}
	default:
		dimensions := map[string]string{}
		for _, d := range p.Dimensions {
			dimensions[d.Name] = d.Value
		}
		in.Query = cloudwatch.Query{
			Metric:    cloudwatch.Metric{Namespace: p.Namespace, Name: p.MetricName, Dimensions: dimensions},
			Statistic: p.Statistic, Period: time.Duration(p.Period) * time.Second,
		}
	}
	in.Threshold = *p.Threshold
	return in, nil
}

type alarm struct {
	cloudwatch *cloudwatch.Service
	account    awsapi.Account
}

func (h alarm) create(r request, p alarmProperties) (result, error) {
	name := named(p.AlarmName, r, 255)
	if slices.ContainsFunc(h.cloudwatch.Alarms(), func(a cloudwatch.Alarm) bool { return a.Name == name }) {
		return result{}, alreadyExists("alarm", name)
	}
	return h.put(name, r, p)
}

func (h alarm) update(r request, p, _ alarmProperties) (result, error) {
	return h.put(r.PhysicalID, r, p)
}

func (h alarm) remove(r request, _ alarmProperties) error {
	return gone(h.cloudwatch.DeleteAlarms(r.PhysicalID))
}

func (h alarm) put(name string, r request, p alarmProperties) (result, error) {
	in, err := p.input(name, r)
	if err != nil {
		return result{}, err
	}
	return result{PhysicalID: name, Attributes: map[string]any{"Arn": h.account.ARN("cloudwatch", "alarm:"+name)}}, h.cloudwatch.PutAlarm(in)
}

func (h alarm) drift(r request, p alarmProperties) (cloudformation.Drift, error) {
	wanted, err := p.input(r.PhysicalID, r)
	for _, a := range h.cloudwatch.Alarms() {
		if a.Name == r.PhysicalID {
			a.Tags = wanted.Tags
			return driftOf(err, reflect.DeepEqual(raw(a.AlarmInput), raw(wanted)))
		}
	}
	return cloudformation.Deleted, err
}
