package resources

import (
	"reflect"

	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
)

type topicRuleProperties struct {
	RuleName         string               `cfn:"immutable"`
	TopicRulePayload iot.TopicRulePayload `cfn:"required"`
	Tags             tagList
}

type topicRule struct{ iot *iot.Service }

func (h topicRule) create(r request, p topicRuleProperties) (result, error) {
	rule, err := h.iot.CreateTopicRule(underscored(p.RuleName, r, 128), p.TopicRulePayload, p.Tags.with(r.Tags))
	return h.result(rule), err
}

func (h topicRule) update(r request, p, _ topicRuleProperties) (result, error) {
	if err := h.iot.ReplaceTopicRule(r.PhysicalID, p.TopicRulePayload); err != nil {
		return result{}, err
	}
	if err := h.iot.TagTopicRule(r.PhysicalID, p.Tags.with(r.Tags)); err != nil {
		return result{}, err
	}
	rule, err := h.iot.GetTopicRule(r.PhysicalID)
	return h.result(rule), err
}

func (h topicRule) remove(r request, _ topicRuleProperties) error {
	return h.iot.DeleteTopicRule(r.PhysicalID)
}

func (topicRule) result(r iot.TopicRule) result {
	return result{PhysicalID: r.Name, Attributes: map[string]any{"Arn": r.ARN}}
}

// drift looks the rule up in the list: to ask for one that is gone is an
// UnauthorizedException.
func (h topicRule) drift(r request, p topicRuleProperties) (cloudformation.Drift, error) {
	for _, rule := range h.iot.ListTopicRules() {
		if rule.Name == r.PhysicalID {
			return driftOf(nil, reflect.DeepEqual(rule.Payload, p.TopicRulePayload))
		}
	}
	return cloudformation.Deleted, nil
}
