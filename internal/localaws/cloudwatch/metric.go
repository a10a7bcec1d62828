package cloudwatch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// kept is how long data points are.
const kept = 3 * time.Hour

// A Metric is something that is counted.
type Metric struct {
	Namespace, Name string
	Dimensions      map[string]string
}

// Key is the same for equal metrics only. As each message is counted several
// times, what it needs for a metric's few dimensions stays on the stack.
func (m Metric) Key() string {
	names := slices.AppendSeq(make([]string, 0, 4), maps.Keys(m.Dimensions))
	slices.Sort(names)
	parts := append(make([]string, 0, 8), m.Namespace, m.Name)
	for _, name := range names {
		parts = append(parts, name, m.Dimensions[name])
	}
	return strings.Join(parts, "\x00")
}

// A series is a metric and how often it was counted, by the minute.
type series struct {
	Metric
	Minutes map[int64]int
}

// Count counts a metric once, and tells the alarms on it.
func (s *Service) Count(m Metric) {
	now := s.now()
	minute := now.Unix() / 60
	key := m.Key()
	s.mu.Lock()
	found := s.metrics[key]
	if found == nil {
		m.Dimensions = maps.Clone(m.Dimensions)
		found = &series{Metric: m, Minutes: map[int64]int{}}
		s.metrics[key] = found
	}
	found.Minutes[minute]++
	if found.Minutes[minute] == 1 {
		oldest := now.Add(-kept).Unix() / 60
		maps.DeleteFunc(found.Minutes, func(m int64, _ int) bool { return m < oldest })
	}
	changes := s.evaluate(now, func(a *Alarm) bool { return a.Query.selects(key, m) })
	s.mu.Unlock()
	s.tell(changes)
}

// Metrics returns all that was counted.
func (s *Service) Metrics() []Metric {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Metric
	for _, key := range slices.Sorted(maps.Keys(s.metrics)) {
		all = append(all, s.metrics[key].Metric)
	}
	return all
}

// A Query asks for a metric, or with an Expression for the sum of several.
type Query struct {
	Metric
	// Statistic of the Metric. Each count is a value of 1.
	Statistic string
	// Expression is a query of Metrics Insights instead.
	Expression string
	// Period that a data point covers.
	Period time.Duration

	// What check makes of the Metric or the Expression.
	metricKey string
	insight   *insight
}

// check refuses what Value could not answer.
func (q *Query) check() error {
	if q.Period < time.Minute || q.Period%time.Minute != 0 {
		return awsapi.Errorf("InvalidParameterValue", "period of %s: use whole minutes", q.Period)
	}
	if q.Expression != "" {
		var err error
		q.insight, err = parseInsight(q.Expression)
		return err
	}
	q.metricKey = q.Key()
	switch q.Statistic {
	case "Sum", "SampleCount", "Average", "Minimum", "Maximum":
		return nil
	}
	return awsapi.Errorf("InvalidParameterValue", "statistic %q is not supported by this local endpoint: use Sum, SampleCount, Average, Minimum or Maximum", q.Statistic)
}

// selects tells whether the query asks for a metric, whose key is given too.
func (q *Query) selects(key string, m Metric) bool {
	if q.insight != nil {
		return q.insight.selects(m)
	}
	return key == q.metricKey
}

// value is the statistic over the minutes from the first to before the last;
// without data there is none. Each count being a 1, sums are counts.
func (s *Service) value(q *Query, first, end int64) (value float64, ok bool) {
	for key, m := range s.metrics {
		if !q.selects(key, m.Metric) {
			continue
		}
		for minute := first; minute < end; minute++ {
			value += float64(m.Minutes[minute])
		}
	}
	if value > 0 && q.insight == nil && (q.Statistic == "Average" || q.Statistic == "Minimum" || q.Statistic == "Maximum") {
		return 1, true
	}
	return value, value > 0
}

// maxDatapoints is how many one query may ask for (API reference, GetMetricData).
const maxDatapoints = 100_800

// A Datapoint is a value for the period that begins at Time.
type Datapoint struct {
	Time  time.Time
	Value float64
}

// Data returns the data points of a query, first come first. Periods without
// data have none.
func (s *Service) Data(q Query, from, to time.Time) ([]Datapoint, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	period := int64(q.Period / time.Minute)
	first, end := from.Unix()/60/period*period, (to.Unix()+59)/60
	if !from.Before(to) || (end-first)/period > maxDatapoints {
		return nil, awsapi.Errorf("ValidationError", "%s", fmt.Sprintf("StartTime must be before EndTime, with at most %d data points between", maxDatapoints))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first = max(first, s.now().Add(-kept).Unix()/60/period*period)
	var points []Datapoint
	for at := first; at < end; at += period {
		if v, ok := s.value(&q, at, min(at+period, end)); ok {
			points = append(points, Datapoint{time.Unix(at*60, 0).UTC(), v})
		}
	}
	return points, nil
}
