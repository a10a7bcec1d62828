package cloudwatch

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"lastwill/internal/localaws/awsapi"
)

// States of an alarm.
const (
	stateOK           = "OK"
	stateAlarm        = "ALARM"
	stateInsufficient = "INSUFFICIENT_DATA"
)

// comparisons that an alarm may make, in the words of its reason.
var comparisons = map[string]string{
	"GreaterThanThreshold":          "greater than",
	"GreaterThanOrEqualToThreshold": "greater than or equal to",
}

// AlarmInput is what an alarm is made of.
type AlarmInput struct {
	Name, Description string
	// Actions are ARNs of SNS topics.
	Actions []string
	Query   Query
	// Label and ID of the query, if it has an expression.
	Label, ID  string
	Threshold  float64
	Comparison string
	// TreatMissingData is missing or notBreaching. Default: missing.
	TreatMissingData string
	Tags             awsapi.Tags
}

// An Alarm and its state.
type Alarm struct {
	AlarmInput
	ARN           string
	State, Reason string
	StateUpdated  time.Time
	Configured    time.Time
}

// PutAlarm creates an alarm or changes one, and evaluates it.
func (s *Service) PutAlarm(in AlarmInput) error {
	if err := in.check(); err != nil {
		return err
	}
	s.mu.Lock()
	now := s.now()
	a := &Alarm{
		AlarmInput: in, ARN: s.account.ARN("cloudwatch", "alarm:"+in.Name), Configured: now,
		State: stateInsufficient, Reason: "Unchecked: Initial alarm creation", StateUpdated: now,
	}
	if before := s.alarms[in.Name]; before != nil {
		a.State, a.Reason, a.StateUpdated = before.State, before.Reason, before.StateUpdated
	}
	a.Tags = maps.Clone(in.Tags)
	s.alarms[in.Name] = a
	s.mu.Unlock()
	s.Evaluate()
	return nil
}

func (in *AlarmInput) check() error {
	if err := in.Query.check(); err != nil {
		return err
	}
	if in.Query.Expression == "" && in.Query.Statistic != "Sum" {
		return awsapi.Errorf("ValidationError", "statistic %q of an alarm is not supported by this local endpoint: use Sum", in.Query.Statistic)
	}
	if comparisons[in.Comparison] == "" {
		return awsapi.Errorf("ValidationError", "comparison %q is not supported by this local endpoint: use GreaterThanThreshold or GreaterThanOrEqualToThreshold", in.Comparison)
	}
	switch in.TreatMissingData {
	case "", "missing", "notBreaching":
	default:
		return awsapi.Errorf("ValidationError", "TreatMissingData %q is not supported by this local endpoint: use missing or notBreaching", in.TreatMissingData)
	}
	for _, arn := range in.Actions {
		if !strings.HasPrefix(arn, "arn:aws:sns:") {
			return awsapi.Errorf("ValidationError", "action %q is not supported by this local endpoint: use the ARN of an SNS topic", arn)
		}
	}
	return nil
}

// Alarms returns all, by name.
func (s *Service) Alarms() []Alarm {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sorted(s.alarms)
}

// DeleteAlarms deletes those of the alarms that are there; it is an error if one
// is not.
func (s *Service) DeleteAlarms(names ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing error
	for _, name := range names {
		if s.alarms[name] == nil {
			missing = noAlarm(name)
		}
		delete(s.alarms, name)
	}
	return missing
}

// SetAlarmState puts an alarm into a state until it is evaluated again.
func (s *Service) SetAlarmState(name, state, reason string) error {
	switch state {
	case stateOK, stateAlarm, stateInsufficient:
	default:
		return awsapi.Errorf("ValidationError", "state %q: use OK, ALARM or INSUFFICIENT_DATA", state)
	}
	s.mu.Lock()
	a := s.alarms[name]
	if a == nil {
		s.mu.Unlock()
		return noAlarm(name)
	}
	changes := s.change(a, state, reason)
	s.mu.Unlock()
	s.tell(changes)
	return nil
}

func noAlarm(name string) error {
	return awsapi.NotFoundf("ResourceNotFound", "alarm %s does not exist", name)
}

// Evaluate evaluates all alarms at the present time.
func (s *Service) Evaluate() {
	s.mu.Lock()
	changes := s.evaluate(s.now(), func(*Alarm) bool { return true })
	s.mu.Unlock()
	s.tell(changes)
}

// evaluate evaluates some alarms and returns what there is to tell.
func (s *Service) evaluate(now time.Time, which func(*Alarm) bool) []stateChange {
	var changes []stateChange
	for _, a := range s.alarms {
		if !which(a) {
			continue
		}
		end := now.Unix()/60 + 1 // the present minute counts
		v, ok := s.value(&a.Query, end-int64(a.Query.Period/time.Minute), end)
		if state := a.stateFor(v, ok); state != a.State {
			changes = append(changes, s.change(a, state, a.reasonFor(v, ok, now))...)
		}
	}
	return changes
}

func (a *Alarm) stateFor(v float64, ok bool) string {
	switch {
	case ok && a.breaches(v):
		return stateAlarm
	case ok || a.TreatMissingData == "notBreaching":
		return stateOK
	}
	return stateInsufficient
}

func (a *Alarm) breaches(v float64) bool {
	return v > a.Threshold || v == a.Threshold && a.Comparison == "GreaterThanOrEqualToThreshold"
}

// reasonFor is in CloudWatch's words.
func (a *Alarm) reasonFor(v float64, ok bool, now time.Time) string {
	if !ok && a.TreatMissingData == "notBreaching" {
		return "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as [NonBreaching]."
	}
	if !ok {
		return "Insufficient Data: 1 datapoint was unknown."
	}
	start := now.Truncate(time.Minute).Add(time.Minute - a.Query.Period)
	not := ""
	if !a.breaches(v) {
		not = "not "
	}
	return fmt.Sprintf("Threshold Crossed: 1 out of the last 1 datapoints [%s (%s)] was %s%s the threshold (%s) (minimum 1 datapoint for OK -> ALARM transition).",
		decimal(v), start.UTC().Format("02/01/06 15:04:05"), not, comparisons[a.Comparison], decimal(a.Threshold))
}

// decimal writes a number as CloudWatch does: 1.0.
func decimal(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// change puts an alarm into a state, and returns what there is to tell: only of
// the state ALARM, as alarms have no other actions here.
func (s *Service) change(a *Alarm, state, reason string) []stateChange {
	before := a.State
	if state == before {
		return nil
	}
	a.State, a.Reason, a.StateUpdated = state, reason, s.now()
	if state != stateAlarm {
		return nil
	}
	return []stateChange{{alarm: *a, before: before}}
}
