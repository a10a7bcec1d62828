package resources

import (
	"fmt"

	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/sns"
)

type subscriptionProperties struct {
	Endpoint string `cfn:"required"`
	Protocol string `cfn:"required"`
	TopicArn string `cfn:"required"`
}

type subscription struct{ sns *sns.Service }

func (h subscription) create(_ request, p subscriptionProperties) (result, error) {
	arn, err := h.sns.Subscribe(p.TopicArn, p.Protocol, p.Endpoint, nil)
	return result{PhysicalID: arn, Attributes: map[string]any{"Arn": arn}}, err
}

// remove leaves a subscription that nobody confirmed where it is, as AWS does: it
// goes away by itself after some days (CloudFormation template reference,
// AWS::SNS::Subscription).
func (h subscription) remove(r request, _ subscriptionProperties) error {
	attributes, err := h.sns.GetSubscriptionAttributes(r.PhysicalID)
	if err != nil {
		return gone(err)
	}
	if attributes["PendingConfirmation"] == "true" {
		return &cloudformation.LeftError{Reason: fmt.Sprintf(
			"nobody confirmed the subscription of %s: it stays, as on AWS, and goes away by itself three days after it was made", attributes["Endpoint"],
		)}
	}
	return gone(h.sns.Unsubscribe(r.PhysicalID))
}

func (h subscription) drift(r request, _ subscriptionProperties) (cloudformation.Drift, error) {
	_, err := h.sns.GetSubscriptionAttributes(r.PhysicalID)
	return driftOf(err, true)
}
