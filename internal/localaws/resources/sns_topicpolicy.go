package resources

import (
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/sns"
)

type topicPolicyProperties struct {
	PolicyDocument document `cfn:"required"`
	Topics         []string `cfn:"required"`
}

type topicPolicy struct{ sns *sns.Service }

func (h topicPolicy) create(r request, p topicPolicyProperties) (result, error) {
	r.PhysicalID = r.GeneratedName(128)
	return h.set(r, p)
}

// update gives topics that are no longer listed their first policy back.
func (h topicPolicy) update(r request, p, before topicPolicyProperties) (result, error) {
	if err := h.remove(r, before); err != nil {
		return result{}, err
	}
	return h.set(r, p)
}

// remove gives the topics back the policy that a new topic has.
func (h topicPolicy) remove(_ request, p topicPolicyProperties) error {
	for _, topic := range p.Topics {
		if err := gone(h.sns.SetTopicAttributes(topic, "Policy", "")); err != nil {
			return err
		}
	}
	return nil
}

func (h topicPolicy) set(r request, p topicPolicyProperties) (result, error) {
	for _, topic := range p.Topics {
		if err := h.sns.SetTopicAttributes(topic, "Policy", string(p.PolicyDocument)); err != nil {
			return result{}, err
		}
	}
	return result{PhysicalID: r.PhysicalID, Attributes: map[string]any{"Id": r.PhysicalID}}, nil
}

func (h topicPolicy) drift(_ request, p topicPolicyProperties) (cloudformation.Drift, error) {
	for _, topic := range p.Topics {
		now, err := h.sns.GetTopicAttributes(topic)
		if drift, err := driftOf(err, now["Policy"] == string(p.PolicyDocument)); drift != "" || err != nil {
			return drift, err
		}
	}
	return "", nil
}
