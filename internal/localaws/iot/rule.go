package iot

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lastwill/internal/iotsql"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/will"
)

const maxActions = 10

// A TopicRulePayload is a topic rule as the API writes it, and CloudFormation, whose
// names have a capital; cfn:"required" is what both ask for.
type TopicRulePayload struct {
	SQL              string   `json:"sql" cfn:"required"`
	Description      string   `json:"description,omitempty"`
	AwsIotSQLVersion string   `json:"awsIotSqlVersion,omitempty"`
	RuleDisabled     bool     `json:"ruleDisabled"`
	Actions          []Action `json:"actions" cfn:"required"`
	ErrorAction      *Action  `json:"errorAction,omitempty"`
}

// An Action is one of its members.
type Action struct {
	SNS            *SNSAction            `json:"sns,omitempty"`
	Republish      *RepublishAction      `json:"republish,omitempty"`
	CloudwatchLogs *CloudwatchLogsAction `json:"cloudwatchLogs,omitempty"`
}

// An SNSAction publishes to an SNS topic. MessageFormat is RAW (the default) or JSON.
type SNSAction struct {
	TargetARN     string `json:"targetArn" cfn:"required"`
	RoleARN       string `json:"roleArn" cfn:"required"`
	MessageFormat string `json:"messageFormat,omitempty"`
}

// A RepublishAction publishes to an MQTT topic, which may hold ${...}.
type RepublishAction struct {
	RoleARN string `json:"roleArn" cfn:"required"`
	Topic   string `json:"topic" cfn:"required"`
	QoS     byte   `json:"qos"`
}

// A CloudwatchLogsAction writes to a log group.
type CloudwatchLogsAction struct {
	RoleARN      string `json:"roleArn" cfn:"required"`
	LogGroupName string `json:"logGroupName" cfn:"required"`
	BatchMode    bool   `json:"batchMode,omitempty"`
}

// ParseTopicRulePayload reads a rule. An action that this endpoint does not run
// is an error that names it, never left out.
func ParseTopicRulePayload(b []byte) (TopicRulePayload, error) {
	var p TopicRulePayload
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return p, awsapi.Errorf("InvalidRequestException", "the topic rule has something that is not valid or not supported here (actions are sns, republish, cloudwatchLogs): %v", err)
	}
	return p, nil
}

// A TopicRule as callers see it.
type TopicRule struct {
	Name, ARN string
	Created   time.Time
	Payload   TopicRulePayload
	Tags      awsapi.Tags
}

// rule is immutable but for its definition: replacing a rule makes a new one.
type rule struct {
	TopicRule
	query       *iotsql.Rule
	actions     []action
	errorAction action
	context     map[string]string // in which it assumes its roles
}

// CreateTopicRule creates a rule. Bad SQL is a SqlParseException; a role that
// iot.amazonaws.com cannot assume for this rule is refused, also for a rule that
// is disabled.
func (s *Service) CreateTopicRule(name string, payload TopicRulePayload, t awsapi.Tags) (TopicRule, error) {
	if err := checkTags(t); err != nil {
		return TopicRule{}, err
	}
	r, err := s.compileRule(name, payload, t)
	if err == nil {
		err = s.probeRoles(r)
	}
	if err != nil {
		return TopicRule{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.rules[name]; ok {
		return TopicRule{}, awsapi.Conflictf("ResourceAlreadyExistsException", "Rule %s already exists", name)
	}
	s.putRule(r)
	return r.TopicRule, nil
}

// ReplaceTopicRule replaces what a rule does.
func (s *Service) ReplaceTopicRule(name string, payload TopicRulePayload) error {
	r, err := s.compileRule(name, payload, nil)
	if err == nil {
		err = s.probeRoles(r)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.rule(name)
	if err != nil {
		return err
	}
	r.Created, r.Tags = old.Created, old.Tags
	s.takeRule(old)
	s.putRule(r)
	return nil
}

// TagTopicRule sets the tags of a rule.
func (s *Service) TagTopicRule(name string, t awsapi.Tags) error {
	if err := checkTags(t); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.rule(name)
	if err != nil {
		return err
	}
	r.Tags = tags(t)
	return nil
}

// SetTopicRuleDisabled disables or enables a rule.
func (s *Service) SetTopicRuleDisabled(name string, disabled bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.rule(name)
	if err != nil {
		return err
	}
	r := *old
	r.Payload.RuleDisabled = disabled
	s.takeRule(old)
	s.putRule(&r)
	return nil
}

// GetTopicRule returns a rule.
func (s *Service) GetTopicRule(name string) (TopicRule, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, err := s.rule(name)
	if err != nil {
		return TopicRule{}, err
	}
	return r.TopicRule, nil
}

// ListTopicRules returns all rules by name.
func (s *Service) ListTopicRules() []TopicRule {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]TopicRule, 0, len(s.rules))
	for _, name := range slices.Sorted(maps.Keys(s.rules)) {
		out = append(out, s.rules[name].TopicRule)
	}
	return out
}

// DeleteTopicRule removes a rule. One that does not exist is no error, as on AWS.
func (s *Service) DeleteTopicRule(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.rules[name]; ok {
		s.takeRule(r)
	}
	return nil
}

// rule finds a rule; s.mu is held. AWS answers UnauthorizedException for a rule
// that does not exist.
func (s *Service) rule(name string) (*rule, error) {
	r, ok := s.rules[name]
	if !ok {
		return nil, &awsapi.Error{Code: "UnauthorizedException", Status: 401, Message: "Access to topic rule '" + name + "' was denied: it does not exist"}
	}
	return r, nil
}

func (s *Service) putRule(r *rule) {
	s.rules[r.Name] = r
	if !r.Payload.RuleDisabled {
		s.index.Add(r.query.Filter(), r)
	}
}

func (s *Service) takeRule(r *rule) {
	delete(s.rules, r.Name)
	if !r.Payload.RuleDisabled {
		s.index.Remove(r.query.Filter(), r)
	}
}

func (s *Service) compileRule(name string, p TopicRulePayload, t awsapi.Tags) (*rule, error) {
	if err := will.CheckRuleName(name); err != nil {
		return nil, awsapi.Errorf("InvalidRequestException", "%v", err)
	}
	version := iotsql.Version(cmp.Or(p.AwsIotSQLVersion, string(iotsql.V2015)))
	query, err := iotsql.Compile(p.SQL, version)
	if err != nil {
		return nil, awsapi.Errorf("SqlParseException", "%v", err)
	}
	if len(p.Actions) > maxActions {
		return nil, awsapi.Errorf("InvalidRequestException", "rule %s has %d actions, at most %d are allowed", name, len(p.Actions), maxActions)
	}
	arn := s.options.Account.ARN("iot", "rule/"+name)
	r := &rule{
		TopicRule: TopicRule{Name: name, ARN: arn, Created: time.Now().UTC(), Payload: p, Tags: tags(t)},
		query:     query,
		context:   map[string]string{"aws:SourceAccount": s.options.Account.ID, "aws:SourceArn": arn},
	}
	for _, a := range p.Actions {
		compiled, err := s.compileAction(a, query)
		if err != nil {
			return nil, err
		}
		r.actions = append(r.actions, compiled)
	}
	if p.ErrorAction != nil {
		if r.errorAction, err = s.compileAction(*p.ErrorAction, query); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// probeRoles makes sure that the rule may assume the role of each action.
func (s *Service) probeRoles(r *rule) error {
	actions := r.actions
	if r.errorAction != nil {
		actions = append(slices.Clip(actions), r.errorAction)
	}
	for _, a := range actions {
		if _, err := s.assume(r, a.role()); err != nil {
			return awsapi.Errorf("InvalidRequestException", "%v", err)
		}
	}
	return nil
}

func (s *Service) compileAction(a Action, query *iotsql.Rule) (action, error) {
	switch {
	case a.SNS != nil && a.Republish == nil && a.CloudwatchLogs == nil:
		if a.SNS.TargetARN == "" || a.SNS.RoleARN == "" {
			return nil, awsapi.Errorf("InvalidRequestException", "an sns action must have targetArn and roleArn")
		}
		if format := a.SNS.MessageFormat; format != "" && format != "RAW" && format != "JSON" {
			return nil, awsapi.Errorf("InvalidRequestException", "message format %q must be RAW or JSON", format)
		}
		if strings.HasSuffix(a.SNS.TargetARN, ".fifo") {
			return nil, awsapi.Errorf("InvalidRequestException", "SNS topic %s is a FIFO topic, which the SNS action does not take", a.SNS.TargetARN)
		}
		return snsAction{*a.SNS, s}, nil
	case a.Republish != nil && a.SNS == nil && a.CloudwatchLogs == nil:
		if a.Republish.Topic == "" || a.Republish.RoleARN == "" {
			return nil, awsapi.Errorf("InvalidRequestException", "a republish action must have topic and roleArn")
		}
		if a.Republish.QoS > 1 {
			return nil, awsapi.Errorf("InvalidRequestException", "republish QoS %d must be 0 or 1", a.Republish.QoS)
		}
		topic, err := query.CompileTemplate(a.Republish.Topic)
		if err != nil {
			return nil, awsapi.Errorf("InvalidRequestException", "republish topic %q: %v", a.Republish.Topic, err)
		}
		return republishAction{*a.Republish, topic, s}, nil
	case a.CloudwatchLogs != nil && a.SNS == nil && a.Republish == nil:
		if a.CloudwatchLogs.LogGroupName == "" || a.CloudwatchLogs.RoleARN == "" {
			return nil, awsapi.Errorf("InvalidRequestException", "a cloudwatchLogs action must have logGroupName and roleArn")
		}
		return logsAction{*a.CloudwatchLogs, s}, nil
	}
	return nil, awsapi.Errorf("InvalidRequestException", "an action must be exactly one of sns, republish, cloudwatchLogs")
}

// String shows an action as error messages name it.
func (a Action) String() string {
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Sprintf("%+v", struct{ Action }{a})
	}
	return string(b)
}
