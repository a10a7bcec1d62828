package sns

import (
	"encoding/json"

	"lastwill/internal/localaws/policy"
)

// snsPrincipal is who delivers to queues.
const snsPrincipal = "sns.amazonaws.com"

// notification is what a queue gets unless it asks for raw delivery (developer
// guide, "Parsing Amazon SNS messages", notification JSON format).
type notification struct {
	Type           string
	MessageID      string `json:"MessageId"`
	TopicARN       string `json:"TopicArn"`
	Subject        string `json:",omitempty"`
	Message        string
	Timestamp      string
	UnsubscribeURL string
}

// toQueue delivers a message to a queue. A queue that is gone, or whose policy
// does not let SNS in, does not fail the publish: AWS only counts it.
func (s *Service) toQueue(id string, sub subscription, subject, text string) func() error {
	return func() error {
		if !sub.Raw {
			wrapped, err := json.Marshal(notification{
				Type: "Notification", MessageID: id, TopicARN: sub.TopicARN, Subject: subject, Message: text,
				Timestamp: s.now().UTC().Format("2006-01-02T15:04:05.000Z"), UnsubscribeURL: s.unsubscribeLink(&sub),
			})
			if err != nil {
				return err
			}
			text = string(wrapped)
		}
		_ = s.queues.Send(sub.Endpoint, text, policy.Principal{Service: snsPrincipal}, map[string]string{
			"aws:SourceArn": sub.TopicARN, "aws:SourceAccount": s.account.ID, "aws:SecureTransport": "true",
		})
		return nil
	}
}
