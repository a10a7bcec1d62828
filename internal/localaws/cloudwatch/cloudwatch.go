// Package cloudwatch is the local Amazon CloudWatch: it counts what the other
// services do, evaluates alarms on that, and tells SNS topics of them.
//
// Where it differs from AWS:
//   - Metrics are those that the stacks' alarms and dashboards name: AWS/IoT of
//     rules, their actions and connects, AWS/SNS of topics. Nobody can add others.
//     They are kept for three hours, by the minute.
//   - Nothing here is throttled, so RuleMessageThrottled never counts.
//   - An alarm looks at the last period up to now, whenever something is counted and
//     each minute: it tells at once what AWS tells within minutes.
//   - Alarms are of one period and compare a sum with GreaterThanThreshold or
//     GreaterThanOrEqualToThreshold. Their expressions, and those of GetMetricData,
//     are SELECT SUM(...) FROM SCHEMA(...) with WHERE; no math, no SEARCH, no
//     composite alarms.
//   - A topic is the only thing that an alarm can tell. If the topic does not let it,
//     there is a line in the log; on AWS it is in the alarm's history.
//   - A dashboard is kept, not drawn.
package cloudwatch

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
	"lastwill/internal/localaws/sns"
)

// A Publisher takes the messages of alarms; it is SNS.
type Publisher interface {
	Publish(in sns.PublishInput, caller policy.Identity, context map[string]string) (string, error)
}

// A Service holds the metrics, alarms and dashboards of one account and region.
// Its errors are *awsapi.Error.
type Service struct {
	account awsapi.Account
	topics  Publisher
	now     func() time.Time
	log     *slog.Logger

	mu         sync.Mutex
	metrics    map[string]*series // by Metric.Key
	alarms     map[string]*Alarm
	dashboards map[string]*Dashboard
}

// New returns a Service that has counted nothing. now tells the time.
func New(account awsapi.Account, topics Publisher, now func() time.Time, log *slog.Logger) *Service {
	return &Service{
		account: account, topics: topics, now: now, log: log,
		metrics: map[string]*series{}, alarms: map[string]*Alarm{}, dashboards: map[string]*Dashboard{},
	}
}

// A Dashboard is a named document.
type Dashboard struct {
	Name, ARN string
	Body      string
	Modified  time.Time
	Tags      awsapi.Tags
}

// PutDashboard creates or replaces a dashboard.
func (s *Service) PutDashboard(name, body string, tags awsapi.Tags) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dashboards[name] = &Dashboard{
		// A dashboard's ARN has no region: it is the account's (service authorization reference).
		Name: name, ARN: s.account.GlobalARN("cloudwatch", "dashboard/"+name), Body: body, Modified: s.now(), Tags: maps.Clone(tags),
	}
}

// GetDashboard returns a dashboard.
func (s *Service) GetDashboard(name string) (Dashboard, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.dashboards[name]; ok {
		return *d, nil
	}
	return Dashboard{}, noDashboard(name)
}

// Dashboards returns all, by name.
func (s *Service) Dashboards() []Dashboard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sorted(s.dashboards)
}

// DeleteDashboards deletes all of them or none.
func (s *Service) DeleteDashboards(names ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if s.dashboards[name] == nil {
			return noDashboard(name)
		}
	}
	for _, name := range names {
		delete(s.dashboards, name)
	}
	return nil
}

func noDashboard(name string) error {
	return awsapi.NotFoundf("DashboardNotFoundError", "Dashboard %s does not exist", name)
}

// Tags returns the tags of an alarm or dashboard.
func (s *Service) Tags(arn string) (awsapi.Tags, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.alarms {
		if a.ARN == arn {
			return maps.Clone(a.Tags), nil
		}
	}
	for _, d := range s.dashboards {
		if d.ARN == arn {
			return maps.Clone(d.Tags), nil
		}
	}
	return nil, awsapi.NotFoundf("ResourceNotFoundException", "%s does not exist", arn)
}

// sorted returns copies of the values of m by their keys.
func sorted[K cmp.Ordered, V any](m map[K]*V) []V {
	values := make([]V, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		values = append(values, *m[key])
	}
	return values
}
