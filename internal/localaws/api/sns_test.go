package api_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"

	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/mail"
	local "lastwill/internal/localaws/sns"
)

// An inbox keeps the mails that were sent.
type inbox struct {
	mu    sync.Mutex
	mails []mail.Message
}

func (i *inbox) Send(m mail.Message) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.mails = append(i.mails, m)
	return nil
}

func (i *inbox) last(t testing.TB) mail.Message {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.mails) == 0 {
		t.Fatal("no mail was sent")
	}
	return i.mails[len(i.mails)-1]
}

var tokenInLink = regexp.MustCompile(`Token=([0-9a-f]+)`)

func snsOf(t testing.TB) (*inbox, *sns.Client) {
	t.Helper()
	mails := &inbox{}
	e := start(t, func(s *api.Services) { s.SNS = local.New(account, mails, nil, "http://127.0.0.1") })
	return mails, sns.NewFromConfig(e.config())
}

func topicOf(t testing.TB, client *sns.Client, name string) *string {
	t.Helper()
	out, err := client.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &name})
	check(t, err)
	return out.TopicArn
}

func email(topic *string, address string) *sns.SubscribeInput {
	return &sns.SubscribeInput{TopicArn: topic, Protocol: aws.String("email"), Endpoint: &address}
}

func TestTopicIsKeptWithAttributesAndTags(t *testing.T) {
	t.Parallel()
	_, client := snsOf(t)
	created, err := client.CreateTopic(t.Context(), &sns.CreateTopicInput{
		Name: aws.String("alarms"), Attributes: map[string]string{"DisplayName": "Alarms"},
		Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("ops")}, {Key: aws.String("site"), Value: aws.String("north")}},
	})
	check(t, err)
	topic := created.TopicArn
	if want := account.ARN("sns", "alarms"); *topic != want {
		t.Errorf("the ARN is %s, not %s", *topic, want)
	}
	_, err = client.SetTopicAttributes(t.Context(), &sns.SetTopicAttributesInput{
		TopicArn: topic, AttributeName: aws.String("DisplayName"), AttributeValue: aws.String("Alarms & more"),
	})
	check(t, err)
	attributes, err := client.GetTopicAttributes(t.Context(), &sns.GetTopicAttributesInput{TopicArn: topic})
	check(t, err)
	if got := attributes.Attributes; got["DisplayName"] != "Alarms & more" || got["Owner"] != account.ID || got["SubscriptionsPending"] != "0" {
		t.Errorf("the attributes are %v", got)
	}
	tags, err := client.ListTagsForResource(t.Context(), &sns.ListTagsForResourceInput{ResourceArn: topic})
	check(t, err)
	var got []string
	for _, tag := range tags.Tags {
		got = append(got, *tag.Key+"="+*tag.Value)
	}
	if strings.Join(got, " ") != "owner=ops site=north" {
		t.Errorf("the tags are %v", got)
	}
	_, err = client.DeleteTopic(t.Context(), &sns.DeleteTopicInput{TopicArn: topic})
	check(t, err)
	_, err = client.GetTopicAttributes(t.Context(), &sns.GetTopicAttributesInput{TopicArn: topic})
	failsAs[*types.NotFoundException](t, err)
}

func TestSubscriptionIsPendingUntilItsOwnerConfirms(t *testing.T) {
	t.Parallel()
	mails, client := snsOf(t)
	topic := topicOf(t, client, "alarms")
	subscribed, err := client.Subscribe(t.Context(), email(topic, "ops@example.com"))
	check(t, err)
	if *subscribed.SubscriptionArn != "pending confirmation" {
		t.Errorf("who subscribes is told %q", *subscribed.SubscriptionArn)
	}
	again := email(topic, "ops@example.com")
	again.ReturnSubscriptionArn = true
	subscribed, err = client.Subscribe(t.Context(), again)
	check(t, err)
	arn := subscribed.SubscriptionArn
	if !strings.HasPrefix(*arn, *topic+":") {
		t.Errorf("who asks for the ARN is told %q", *arn)
	}
	listed, err := client.ListSubscriptions(t.Context(), nil)
	check(t, err)
	if len(listed.Subscriptions) != 1 || *listed.Subscriptions[0].SubscriptionArn != "PendingConfirmation" {
		t.Errorf("the list has %+v", listed.Subscriptions)
	}
	_, err = client.Unsubscribe(t.Context(), &sns.UnsubscribeInput{SubscriptionArn: arn})
	failsAs[*types.InvalidParameterException](t, err)
	publish := &sns.PublishInput{TopicArn: topic, Message: aws.String("too early")}
	_, err = client.Publish(t.Context(), publish)
	check(t, err)
	if got := mails.last(t); strings.Contains(got.Body, "too early") {
		t.Error("somebody got a mail who had not confirmed")
	}

	token := tokenInLink.FindStringSubmatch(mails.last(t).Body)
	if token == nil {
		t.Fatalf("the mail has no token:\n%s", mails.last(t).Body)
	}
	_, err = client.ConfirmSubscription(t.Context(), &sns.ConfirmSubscriptionInput{TopicArn: topic, Token: aws.String("0" + token[1])})
	failsAs[*types.InvalidParameterException](t, err)
	confirmed, err := client.ConfirmSubscription(t.Context(), &sns.ConfirmSubscriptionInput{TopicArn: topic, Token: &token[1]})
	check(t, err)
	if *confirmed.SubscriptionArn != *arn {
		t.Errorf("confirmed was %s, not %s", *confirmed.SubscriptionArn, *arn)
	}
	attributes, err := client.GetSubscriptionAttributes(t.Context(), &sns.GetSubscriptionAttributesInput{SubscriptionArn: arn})
	check(t, err)
	if got := attributes.Attributes; got["PendingConfirmation"] != "false" || got["Endpoint"] != "ops@example.com" || got["Protocol"] != "email" {
		t.Errorf("the attributes are %v", got)
	}
	publish.Message, publish.Subject = aws.String("pump 7 is gone"), aws.String("Alarm")
	published, err := client.Publish(t.Context(), publish)
	check(t, err)
	if got := mails.last(t); got.To.Address != "ops@example.com" || got.Subject != "Alarm" || !strings.HasPrefix(got.Body, "pump 7 is gone\n") || *published.MessageId == "" {
		t.Errorf("the mail is %+v", got)
	}
	_, err = client.Unsubscribe(t.Context(), &sns.UnsubscribeInput{SubscriptionArn: arn})
	check(t, err)
	byTopic, err := client.ListSubscriptionsByTopic(t.Context(), &sns.ListSubscriptionsByTopicInput{TopicArn: topic})
	check(t, err)
	if len(byTopic.Subscriptions) != 0 {
		t.Errorf("the list still has %+v", byTopic.Subscriptions)
	}
}

func TestTopicsAndSubscriptionsAreListedInPages(t *testing.T) {
	t.Parallel()
	_, client := snsOf(t)
	for i := range 101 {
		topicOf(t, client, fmt.Sprintf("topic%03d", i))
	}
	topic := aws.String(account.ARN("sns", "topic000"))
	for i := range 101 {
		_, err := client.Subscribe(t.Context(), email(topic, fmt.Sprintf("ops%03d@example.com", i)))
		check(t, err)
	}
	var got []int
	topics := sns.NewListTopicsPaginator(client, nil)
	for topics.HasMorePages() {
		page, err := topics.NextPage(t.Context())
		check(t, err)
		got = append(got, len(page.Topics))
	}
	all := sns.NewListSubscriptionsPaginator(client, nil)
	for all.HasMorePages() {
		page, err := all.NextPage(t.Context())
		check(t, err)
		got = append(got, len(page.Subscriptions))
	}
	byTopic := sns.NewListSubscriptionsByTopicPaginator(client, &sns.ListSubscriptionsByTopicInput{TopicArn: topic})
	for byTopic.HasMorePages() {
		page, err := byTopic.NextPage(t.Context())
		check(t, err)
		got = append(got, len(page.Subscriptions))
	}
	if fmt.Sprint(got) != "[100 1 100 1 100 1]" {
		t.Errorf("the pages have %v", got)
	}
}

func TestSNSRefusesWithItsOwnErrors(t *testing.T) {
	t.Parallel()
	_, client := snsOf(t)
	topic, gone := topicOf(t, client, "alarms"), aws.String(account.ARN("sns", "gone"))
	many := make([]types.Tag, 51)
	for i := range many {
		many[i] = types.Tag{Key: aws.String(fmt.Sprint("k", i)), Value: aws.String("")}
	}
	for _, test := range []struct {
		claim, code string
		call        func() error
	}{
		{"a topic that does not exist", "NotFound", func() error {
			_, err := client.Publish(t.Context(), &sns.PublishInput{TopicArn: gone, Message: aws.String("x")})
			return err
		}},
		{"a subscription to a topic that does not exist", "NotFound", func() error {
			_, err := client.Subscribe(t.Context(), email(gone, "ops@example.com"))
			return err
		}},
		{"subscriptions of a topic that does not exist", "NotFound", func() error {
			_, err := client.ListSubscriptionsByTopic(t.Context(), &sns.ListSubscriptionsByTopicInput{TopicArn: gone})
			return err
		}},
		{"tags of a topic that does not exist", "ResourceNotFound", func() error {
			_, err := client.ListTagsForResource(t.Context(), &sns.ListTagsForResourceInput{ResourceArn: gone})
			return err
		}},
		{"an ARN that is none", "InvalidParameter", func() error {
			_, err := client.GetTopicAttributes(t.Context(), &sns.GetTopicAttributesInput{TopicArn: aws.String("alarms")})
			return err
		}},
		{"an address that is none", "InvalidParameter", func() error {
			_, err := client.Subscribe(t.Context(), email(topic, "nobody"))
			return err
		}},
		{"a protocol that is not here", "InvalidParameter", func() error {
			_, err := client.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: topic, Protocol: aws.String("sms"), Endpoint: aws.String("+100")})
			return err
		}},
		{"a topic with other attributes", "InvalidParameter", func() error {
			_, err := client.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("alarms"), Attributes: map[string]string{"DisplayName": "other"}})
			return err
		}},
		{"a FIFO topic", "InvalidParameter", func() error {
			_, err := client.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("alarms.fifo"), Attributes: map[string]string{"FifoTopic": "true"}})
			return err
		}},
		{"too many tags", "TagLimitExceeded", func() error {
			_, err := client.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("tagged"), Tags: many})
			return err
		}},
		{"a page of another list", "InvalidParameter", func() error {
			_, err := client.ListTopics(t.Context(), &sns.ListTopicsInput{NextToken: aws.String("!")})
			return err
		}},
		{"JSON without a default", "InvalidParameter", func() error {
			_, err := client.Publish(t.Context(), &sns.PublishInput{TopicArn: topic, Message: aws.String("{}"), MessageStructure: aws.String("json")})
			return err
		}},
		{"a parameter that is not here", "ValidationError", func() error {
			_, err := client.Publish(t.Context(), &sns.PublishInput{TopicArn: topic, Message: aws.String("x"), MessageGroupId: aws.String("g")})
			return err
		}},
		{"an operation that is not here", "NotImplemented", func() error {
			_, err := client.PublishBatch(t.Context(), &sns.PublishBatchInput{
				TopicArn: topic, PublishBatchRequestEntries: []types.PublishBatchRequestEntry{{Id: aws.String("1"), Message: aws.String("x")}},
			})
			return err
		}},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			fails(t, test.call(), test.code)
		})
	}
}
