package api

import (
	"crypto/md5" //nolint:gosec // SQS's checksum, not a secret's
	"encoding/hex"
	"net/http"
	"slices"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/sqs"
)

// sqsFront adds to the JSON protocol the header in which SQS repeats an error's
// code under the name that the older Query protocol had for it. SDKs show that one.
type sqsFront struct{ jsonFront }

// sqsQueryCodes are those names (API reference, errors of each action).
var sqsQueryCodes = map[string]string{
	"QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
	"QueueNameExists":   "QueueAlreadyExists",
}

func (f sqsFront) fail(w http.ResponseWriter, c *call, err *awsapi.Error) {
	if code, ok := sqsQueryCodes[err.Code]; ok {
		w.Header().Set("X-Amzn-Query-Error", code+";Sender")
	}
	f.jsonFront.fail(w, c, err)
}

func newSQSFront(s Services) front {
	a := sqsAPI{s.SQS}
	return sqsFront{jsonFront{service: "sqs", operations: map[string]operation{
		"CreateQueue":        op(a.createQueue),
		"GetQueueUrl":        op(a.getQueueURL),
		"GetQueueAttributes": op(a.getQueueAttributes),
		"SetQueueAttributes": do(func(in queueAttributes) error { return a.service.SetQueueAttributes(in.QueueURL, in.Attributes) }),
		"ListQueues":         op(a.listQueues),
		"ReceiveMessage":     op(a.receiveMessage),
		"DeleteMessage":      op(a.deleteMessage),
		"DeleteQueue":        do(func(in queueURL) error { return a.service.DeleteQueue(in.QueueURL) }),
	}}}
}

type sqsAPI struct{ service *sqs.Service }

// maxSQSPage is the largest page (API reference, ListQueues, MaxResults).
const maxSQSPage = 1000

type queueURL struct {
	QueueURL string `json:"QueueUrl"`
}

type queueAttributes struct {
	queueURL
	Attributes map[string]string
}

func (a sqsAPI) createQueue(_ *call, in struct {
	QueueName  string
	Attributes map[string]string
},
) (out queueURL, err error) {
	out.QueueURL, err = a.service.CreateQueue(in.QueueName, in.Attributes)
	return out, err
}

func (a sqsAPI) getQueueURL(_ *call, in struct{ QueueName string }) (out queueURL, err error) {
	out.QueueURL, err = a.service.GetQueueURL(in.QueueName)
	return out, err
}

// optionalAttributes are those that a queue need not have (API reference,
// GetQueueAttributes).
var optionalAttributes = []string{
	"All", "Policy", "DelaySeconds", "MaximumMessageSize", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId",
	"KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled", "ApproximateNumberOfMessagesDelayed", "FifoQueue",
	"ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit",
}

func (a sqsAPI) getQueueAttributes(_ *call, in struct {
	queueURL
	AttributeNames []string
},
) (out struct{ Attributes map[string]string }, err error) {
	out.Attributes, err = a.service.GetQueueAttributes(in.QueueURL)
	for _, name := range in.AttributeNames {
		if _, known := out.Attributes[name]; err == nil && !known && !slices.Contains(optionalAttributes, name) {
			return out, awsapi.Errorf("InvalidAttributeName", "Unknown Attribute %s.", name)
		}
	}
	for name := range out.Attributes {
		if !slices.Contains(in.AttributeNames, "All") && !slices.Contains(in.AttributeNames, name) {
			delete(out.Attributes, name)
		}
	}
	return out, err
}

func (a sqsAPI) listQueues(_ *call, in struct {
	QueueNamePrefix, NextToken string
	MaxResults                 int
},
) (out struct {
	QueueUrls []string
	NextToken string `json:",omitempty"`
}, err error,
) {
	found, err := paginate(a.service.ListQueues(in.QueueNamePrefix), itself, in.NextToken, in.MaxResults, maxSQSPage)
	out.QueueUrls, out.NextToken = found.items, found.next
	return out, err
}

type sqsMessage struct {
	MessageID     string `json:"MessageId"`
	ReceiptHandle string
	MD5OfBody     string
	Body          string
}

func (a sqsAPI) receiveMessage(c *call, in struct {
	queueURL
	MaxNumberOfMessages *int
	WaitTimeSeconds     *int
	VisibilityTimeout   *int
},
) (out struct{ Messages []sqsMessage }, err error) {
	messages, err := a.service.Receive(c.Context(), sqs.ReceiveInput{
		QueueURL: in.QueueURL, Max: in.MaxNumberOfMessages, Wait: in.WaitTimeSeconds, Visibility: in.VisibilityTimeout,
	})
	for _, m := range messages {
		sum := md5.Sum([]byte(m.Body)) //nolint:gosec // as above
		out.Messages = append(out.Messages, sqsMessage{m.ID, m.Receipt, hex.EncodeToString(sum[:]), m.Body})
	}
	return out, err
}

func (a sqsAPI) deleteMessage(_ *call, in struct {
	queueURL
	ReceiptHandle string
},
) (nothing, error) {
	return nothing{}, a.service.DeleteMessage(in.QueueURL, in.ReceiptHandle)
}
