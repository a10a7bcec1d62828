package resources

import (
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/sns"
)

type topicProperties struct {
	DisplayName string
	Tags        tagList
	TopicName   string `cfn:"immutable"`
}

type topic struct {
	sns     *sns.Service
	account awsapi.Account
}

func (h topic) create(r request, p topicProperties) (result, error) {
	name := named(p.TopicName, r, 256)
	if _, err := h.sns.GetTopicAttributes(h.account.ARN("sns", name)); err == nil {
		return result{}, alreadyExists("SNS topic", name)
	}
	arn, err := h.sns.CreateTopic(name, map[string]string{"DisplayName": p.DisplayName}, p.Tags.with(r.Tags))
	return h.result(arn), err
}

func (h topic) update(r request, p, _ topicProperties) (result, error) {
	if err := h.sns.SetTopicAttributes(r.PhysicalID, "DisplayName", p.DisplayName); err != nil {
		return result{}, err
	}
	return h.result(r.PhysicalID), h.sns.SetTags(r.PhysicalID, p.Tags.with(r.Tags))
}

func (h topic) remove(r request, _ topicProperties) error {
	return gone(h.sns.DeleteTopic(r.PhysicalID))
}

func (h topic) result(arn string) result {
	return result{PhysicalID: arn, Attributes: map[string]any{
		"TopicArn": arn, "TopicName": strings.TrimPrefix(arn, h.account.ARN("sns", "")),
	}}
}

func (h topic) drift(r request, p topicProperties) (cloudformation.Drift, error) {
	now, err := h.sns.GetTopicAttributes(r.PhysicalID)
	return driftOf(err, now["DisplayName"] == p.DisplayName)
}
