package localaws

import (
	"encoding/json"
	"fmt"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudwatch"
)

type alarmProperties struct {
	AlarmName, AlarmDescription string
	AlarmActions                []string
	ComparisonOperator          string
	EvaluationPeriods           int
	Threshold                   *float64
	TreatMissingData            string
	Namespace, MetricName       string
	Dimensions                  []struct{ Name, Value string }
	Statistic                   string
	Period                      int
	Metrics                     []alarmQuery
	Tags                        tagList
}

type alarmQuery struct {
	ID         string `json:"Id"`
	Label      string
	Expression string
	Period     int
	ReturnData bool
}

func (p alarmProperties) input(r request) (cloudwatch.AlarmInput, error) {
	in := cloudwatch.AlarmInput{
		Name: p.AlarmName, Description: p.AlarmDescription, Actions: p.AlarmActions, Comparison: p.ComparisonOperator,
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

func (s *Server) createAlarm(r request) (result, error) {
	p, err := decode[alarmProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	r.PhysicalID = named(p.AlarmName, r, 255)
	for _, a := range s.CloudWatch.Alarms() {
		if a.Name == r.PhysicalID {
			return result{}, alreadyExists("alarm", r.PhysicalID)
		}
	}
	return s.updateAlarm(r)
}

func (s *Server) updateAlarm(r request) (result, error) {
	p, err := decode[alarmProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	p.AlarmName = r.PhysicalID
	in, err := p.input(r)
	if err != nil {
		return result{}, err
	}
	return result{PhysicalID: in.Name, Attributes: map[string]any{"Arn": Account.ARN("cloudwatch", "alarm:"+in.Name)}}, s.CloudWatch.PutAlarm(in)
}

type dashboardProperties struct {
	DashboardName, DashboardBody string
	Tags                         tagList
}

func (s *Server) createDashboard(r request) (result, error) {
	p, err := decode[dashboardProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	r.PhysicalID = named(p.DashboardName, r, 255)
	if _, err := s.CloudWatch.GetDashboard(r.PhysicalID); err == nil {
		return result{}, alreadyExists("dashboard", r.PhysicalID)
	}
	return s.updateDashboard(r)
}

func (s *Server) updateDashboard(r request) (result, error) {
	p, err := decode[dashboardProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	if !json.Valid([]byte(p.DashboardBody)) {
		return result{}, awsapi.Errorf("InvalidParameterInput", "the dashboard's body is not JSON")
	}
	s.CloudWatch.PutDashboard(r.PhysicalID, p.DashboardBody, p.Tags.with(r.Tags))
	return result{PhysicalID: r.PhysicalID}, nil
}
