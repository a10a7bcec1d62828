package api

import (
	"cmp"
	"slices"
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/sns"
)

func snsFront(s Services) front {
	a := snsAPI{s.SNS}
	return queryFront{
		service: "sns", namespace: "http://sns.amazonaws.com/doc/2010-03-31/",
		operations: map[string]operation{
			"CreateTopic":        op(a.createTopic),
			"DeleteTopic":        do(func(in topicARN) error { return a.service.DeleteTopic(in.TopicArn) }),
			"ListTopics":         op(a.listTopics),
			"GetTopicAttributes": op(a.getTopicAttributes),
			"SetTopicAttributes": do(func(in struct{ TopicArn, AttributeName, AttributeValue string }) error {
				return a.service.SetTopicAttributes(in.TopicArn, in.AttributeName, in.AttributeValue)
			}),
			"Subscribe":                 op(a.subscribe),
			"ConfirmSubscription":       op(a.confirmSubscription),
			"Unsubscribe":               do(func(in subscriptionARN) error { return a.service.Unsubscribe(in.SubscriptionArn) }),
			"ListSubscriptions":         op(a.listSubscriptions),
			"ListSubscriptionsByTopic":  op(a.listSubscriptionsByTopic),
			"GetSubscriptionAttributes": op(a.getSubscriptionAttributes),
			"Publish":                   op(a.publish),
			"ListTagsForResource":       op(a.listTagsForResource),
		},
	}
}

type snsAPI struct{ service *sns.Service }

// maxSNSPage is how many entries a page has (API reference, ListTopics).
const maxSNSPage = 100

type topicARN struct{ TopicArn string }

func (a snsAPI) createTopic(_ *call, in struct {
	Name       string
	Attributes map[string]string
	Tags       []tag
},
) (out topicARN, err error) {
	tags, err := snsTags(in.Tags)
	if err != nil {
		return out, err
	}
	out.TopicArn, err = a.service.CreateTopic(in.Name, in.Attributes, tags)
	return out, err
}

// snsTags returns nil for no tags: a topic that exists is not compared by them then.
func snsTags(list []tag) (awsapi.Tags, error) {
	if len(list) == 0 {
		return nil, nil
	}
	tags, err := tagsOf(list)
	if err != nil {
		return nil, awsapi.Errorf("InvalidParameter", "Invalid parameter: Tags Reason: %v", err)
	}
	return tags, nil
}

func (a snsAPI) listTopics(_ *call, in struct{ NextToken string }) (out struct {
	Topics    []topicARN `xml:"Topics>member"`
	NextToken string     `xml:",omitempty"`
}, err error,
) {
	found, err := paginate(a.service.ListTopics(), func(arn string) string { return arn }, in.NextToken, 0, maxSNSPage)
	out.Topics = transform(found.items, func(arn string) topicARN { return topicARN{arn} })
	out.NextToken = found.next
	return out, snsPage(err)
}

// snsPage gives the error of a token the code that SNS has for it.
func snsPage(err error) error {
	if err == nil {
		return nil
	}
	return awsapi.Errorf("InvalidParameter", "Invalid parameter: NextToken Reason: %v", err)
}

// attributes are a map, sorted by name.
type attributes struct {
	Entries []entry `xml:"Attributes>entry"`
}

type entry struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func attributesOf(m map[string]string) (out attributes) {
	for key, value := range m {
		out.Entries = append(out.Entries, entry{key, value})
	}
	slices.SortFunc(out.Entries, func(a, b entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func (a snsAPI) getTopicAttributes(_ *call, in topicARN) (attributes, error) {
	m, err := a.service.GetTopicAttributes(in.TopicArn)
	return attributesOf(m), err
}

type subscriptionARN struct{ SubscriptionArn string }

// subscribe tells the ARN of a pending subscription only to those who ask for it
// (API reference, Subscribe, ReturnSubscriptionArn).
func (a snsAPI) subscribe(_ *call, in struct {
	TopicArn, Protocol, Endpoint string
	Attributes                   map[string]string
	ReturnSubscriptionArn        bool
},
) (out subscriptionARN, err error) {
	out.SubscriptionArn, err = a.service.Subscribe(in.TopicArn, in.Protocol, in.Endpoint, in.Attributes)
	if err != nil || in.ReturnSubscriptionArn {
		return out, err
	}
	m, err := a.service.GetSubscriptionAttributes(out.SubscriptionArn)
	if m["PendingConfirmation"] == "true" {
		out.SubscriptionArn = "pending confirmation"
	}
	return out, err
}

func (a snsAPI) confirmSubscription(_ *call, in struct{ TopicArn, Token string }) (out subscriptionARN, err error) {
	out.SubscriptionArn, err = a.service.ConfirmSubscription(in.TopicArn, in.Token)
	return out, err
}

type subscription struct{ SubscriptionArn, Owner, Protocol, Endpoint, TopicArn string }

type subscriptions struct {
	Subscriptions []subscription `xml:"Subscriptions>member"`
	NextToken     string         `xml:",omitempty"`
}

// pageOfSubscriptions sorts by topic and endpoint: a pending subscription has no
// ARN to show.
func pageOfSubscriptions(all []sns.Subscription, token string) (out subscriptions, err error) {
	key := func(s sns.Subscription) string { return s.TopicARN + " " + s.Endpoint }
	slices.SortFunc(all, func(a, b sns.Subscription) int { return strings.Compare(key(a), key(b)) })
	found, err := paginate(all, key, token, 0, maxSNSPage)
	out.NextToken = found.next
	out.Subscriptions = transform(found.items, func(s sns.Subscription) subscription {
		return subscription{s.ARN, s.Owner, s.Protocol, s.Endpoint, s.TopicARN}
	})
	return out, snsPage(err)
}

func (a snsAPI) listSubscriptions(_ *call, in struct{ NextToken string }) (subscriptions, error) {
	return pageOfSubscriptions(a.service.ListSubscriptions(), in.NextToken)
}

func (a snsAPI) listSubscriptionsByTopic(_ *call, in struct{ TopicArn, NextToken string }) (subscriptions, error) {
	all, err := a.service.ListSubscriptionsByTopic(in.TopicArn)
	if err != nil {
		return subscriptions{}, err
	}
	return pageOfSubscriptions(all, in.NextToken)
}

func (a snsAPI) getSubscriptionAttributes(_ *call, in subscriptionARN) (attributes, error) {
	m, err := a.service.GetSubscriptionAttributes(in.SubscriptionArn)
	return attributesOf(m), err
}

// publish counts as secure transport: the endpoint is on loopback only, and a
// topic whose policy wants TLS would be out of reach.
func (a snsAPI) publish(_ *call, in struct {
	TopicArn, TargetArn, Message, MessageStructure string
	Subject                                        *string
},
) (out struct {
	MessageID string `xml:"MessageId"`
}, err error,
) {
	subject := ""
	if in.Subject != nil {
		if subject = *in.Subject; subject == "" {
			return out, awsapi.Errorf("InvalidParameter", "Invalid parameter: Subject")
		}
	}
	out.MessageID, err = a.service.Publish(sns.PublishInput{
		TopicARN: cmp.Or(in.TopicArn, in.TargetArn), Message: in.Message, Subject: subject, MessageStructure: in.MessageStructure,
	}, nil, map[string]string{"aws:SecureTransport": "true"})
	return out, err
}

func (a snsAPI) listTagsForResource(_ *call, in struct{ ResourceArn string }) (out struct {
	Tags []tag `xml:"Tags>member"`
}, err error,
) {
	tags, err := a.service.ListTagsForResource(in.ResourceArn)
	out.Tags = tagList(tags)
	return out, err
}
