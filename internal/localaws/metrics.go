package localaws

import (
	"errors"
	"strings"
	"time"

	"lastwill/internal/iotsql"
	"lastwill/internal/localaws/cloudwatch"
	"lastwill/internal/localaws/iot"
)

// countIoT counts what AWS IoT counts (developer guide, "AWS IoT metrics and
// dimensions"). Which values ActionType has on AWS is not documented; here it is
// the action's name.
func (s *Server) countIoT(e iot.Event) {
	count := func(metric string, dimensions map[string]string) {
		s.CloudWatch.Count(cloudwatch.Metric{Namespace: "AWS/IoT", Name: metric, Dimensions: dimensions})
	}
	switch e.Kind {
	case iot.Connected:
		count("Connect.Success", map[string]string{"Protocol": "MQTT"})
	case iot.Matched, iot.NotMatched:
		rule := map[string]string{"RuleName": e.Rule}
		count("TopicMatch", rule)
		if errors.Is(e.Err, iotsql.ErrPayload) {
			count("ParseError", rule)
		}
	case iot.ActionDone, iot.ActionFailed:
		metric := "Success"
		if e.Kind == iot.ActionFailed {
			metric = "Failure"
		}
		if e.ErrorAction {
			metric = "ErrorAction" + metric
		}
		count(metric, map[string]string{"RuleName": e.Rule, "ActionType": strings.TrimSuffix(e.Action, "Action")})
	}
}

func (s *Server) countSNS(metric, topic string) {
	s.CloudWatch.Count(cloudwatch.Metric{Namespace: "AWS/SNS", Name: metric, Dimensions: map[string]string{"TopicName": topic}})
}

// evaluateAlarms lets alarms end when their period is over.
func (s *Server) evaluateAlarms() {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.CloudWatch.Evaluate()
		case <-s.state.done:
			return
		}
	}
}
