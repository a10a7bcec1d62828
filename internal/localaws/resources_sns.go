package localaws

import (
	"encoding/json"
	"fmt"

	"lastwill/internal/localaws/cloudformation"
)

type topicProperties struct {
	TopicName, DisplayName string
	Tags                   tagList
}

func (s *Server) createTopic(r request) (result, error) {
	p, err := decode[topicProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	p.TopicName = named(p.TopicName, r, 256)
	if _, err := s.SNS.GetTopicAttributes(Account.ARN("sns", p.TopicName)); err == nil {
		return result{}, alreadyExists("SNS topic", p.TopicName)
	}
	arn, err := s.SNS.CreateTopic(p.TopicName, map[string]string{"DisplayName": p.DisplayName}, p.Tags.with(r.Tags))
	return topicResult(arn, p.TopicName), err
}

func (s *Server) updateTopic(r request) (result, error) {
	p, err := decode[topicProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	if err := s.SNS.SetTopicAttributes(r.PhysicalID, "DisplayName", p.DisplayName); err != nil {
		return result{}, err
	}
	before, err := s.SNS.ListTagsForResource(r.PhysicalID)
	if err != nil {
		return result{}, err
	}
	var keys []string
	for key := range before {
		keys = append(keys, key)
	}
	if err := s.SNS.UntagResource(r.PhysicalID, keys); err != nil {
		return result{}, err
	}
	name := r.PhysicalID[len(Account.ARN("sns", "")):]
	return topicResult(r.PhysicalID, name), s.SNS.TagResource(r.PhysicalID, p.Tags.with(r.Tags))
}

func topicResult(arn, name string) result {
	return result{PhysicalID: arn, Attributes: map[string]any{"TopicArn": arn, "TopicName": name}}
}

type topicPolicy struct {
	PolicyDocument json.RawMessage
	Topics         []string
}

func (s *Server) createTopicPolicy(r request) (result, error) {
	r.PhysicalID = r.GeneratedName(128)
	return s.setTopicPolicy(r)
}

// updateTopicPolicy gives topics that are no longer listed their first policy back.
func (s *Server) updateTopicPolicy(r request) (result, error) {
	before := r
	before.Properties = r.Previous
	if err := s.deleteTopicPolicy(before); err != nil {
		return result{}, err
	}
	return s.setTopicPolicy(r)
}

func (s *Server) setTopicPolicy(r request) (result, error) {
	p, err := decode[topicPolicy](r.Properties)
	if err != nil {
		return result{}, err
	}
	for _, topic := range p.Topics {
		if err := s.SNS.SetTopicAttributes(topic, "Policy", string(p.PolicyDocument)); err != nil {
			return result{}, err
		}
	}
	return result{PhysicalID: r.PhysicalID, Attributes: map[string]any{"Id": r.PhysicalID}}, nil
}

// deleteTopicPolicy gives the topics back the policy that a new topic has.
func (s *Server) deleteTopicPolicy(r request) error {
	p, err := decode[topicPolicy](r.Properties)
	if err != nil {
		return err
	}
	for _, topic := range p.Topics {
		if err := gone(s.SNS.SetTopicAttributes(topic, "Policy", "")); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) createSubscription(r request) (result, error) {
	p, err := decode[struct{ TopicArn, Protocol, Endpoint string }](r.Properties)
	if err != nil {
		return result{}, err
	}
	arn, err := s.SNS.Subscribe(p.TopicArn, p.Protocol, p.Endpoint, nil)
	return result{PhysicalID: arn, Attributes: map[string]any{"Arn": arn}}, err
}

// deleteSubscription leaves a subscription that nobody confirmed where it is, as
// AWS does: it goes away by itself after some days (CloudFormation template
// reference, AWS::SNS::Subscription).
func (s *Server) deleteSubscription(r request) error {
	attributes, err := s.SNS.GetSubscriptionAttributes(r.PhysicalID)
	if err != nil {
		return gone(err)
	}
	if attributes["PendingConfirmation"] == "true" {
		return &cloudformation.LeftError{Reason: fmt.Sprintf(
			"nobody confirmed the subscription of %s: it stays, as on AWS, and goes away by itself three days after it was made", attributes["Endpoint"],
		)}
	}
	return gone(s.SNS.Unsubscribe(r.PhysicalID))
}
