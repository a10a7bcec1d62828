package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// scenario is the scenario's template, without what needs cdk bootstrap.
func scenario(t *testing.T) *string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "infra/monitoring/testdata/default.template.json"))
	check(t, err)
	var template map[string]any
	check(t, json.Unmarshal(b, &template))
	delete(template, "Parameters")
	delete(template, "Rules")
	b, err = json.Marshal(template)
	check(t, err)
	return aws.String(string(b))
}

// Whenever the endpoint dies, what it had taken on is there after a restart, ends
// as it would have, and can be deleted without a trace.
func TestAStackOutlivesAKilledEndpoint(t *testing.T) {
	t.Parallel()
	body := scenario(t)
	for events := 0; events <= 24; events += 3 { // die once there are so many; the whole deployment has 24
		data := filepath.Join(t.TempDir(), "data")
		c := startCloud(t, data)
		client := cloudformation.NewFromConfig(c.config())
		created, err := client.CreateStack(t.Context(), &cloudformation.CreateStackInput{
			StackName: aws.String("Lastwill"), TemplateBody: body, Capabilities: []types.Capability{types.CapabilityCapabilityIam},
		})
		check(t, err)
		c.killAfter(client, created.StackId, events)

		c = startCloud(t, data)
		client = cloudformation.NewFromConfig(c.config())
		if status := c.ended(client, created.StackId); status != types.StackStatusCreateComplete {
			t.Fatalf("killed after %d events, the stack is %s", events, status)
		}
		if things, err := iot.NewFromConfig(c.config()).ListThings(t.Context(), nil); err != nil || len(things.Things) != 1 {
			t.Fatalf("killed after %d events, there are things %+v, %v", events, things, err)
		}
		// A mail that was under way is lost; who subscribes again gets another.
		_, err = sns.NewFromConfig(c.config()).Subscribe(t.Context(), &sns.SubscribeInput{
			TopicArn: aws.String(topicOf(c)), Protocol: aws.String("email"), Endpoint: aws.String("ops@example.com"),
		})
		check(t, err)
		c.confirm("ops@example.com")
		before := c.events(client, created.StackId)
		_, err = client.DeleteStack(t.Context(), &cloudformation.DeleteStackInput{StackName: created.StackId})
		check(t, err)
		c.killAfter(client, created.StackId, before+events)

		c = startCloud(t, data)
		client = cloudformation.NewFromConfig(c.config())
		if status := c.ended(client, created.StackId); status != types.StackStatusDeleteComplete {
			t.Fatalf("killed after %d events of its deletion, the stack is %s", events, status)
		}
		c.nothingLeft("Lastwill")
		c.kill()
	}
}

func (c *cloud) events(client *cloudformation.Client, stack *string) int {
	c.t.Helper()
	out, err := client.DescribeStackEvents(c.t.Context(), &cloudformation.DescribeStackEventsInput{StackName: stack})
	check(c.t, err)
	return len(out.StackEvents)
}

func (c *cloud) ended(client *cloudformation.Client, stack *string) types.StackStatus {
	c.t.Helper()
	for {
		out, err := client.DescribeStacks(c.t.Context(), &cloudformation.DescribeStacksInput{StackName: stack})
		check(c.t, err)
		if status := out.Stacks[0].StackStatus; !strings.HasSuffix(string(status), "_IN_PROGRESS") {
			return status
		}
	}
}

// killAfter kills the endpoint once a stack has so many events, or has ended.
func (c *cloud) killAfter(client *cloudformation.Client, stack *string, events int) {
	c.t.Helper()
	for {
		out, err := client.DescribeStackEvents(c.t.Context(), &cloudformation.DescribeStackEventsInput{StackName: stack})
		check(c.t, err)
		newest := out.StackEvents[0]
		ended := *newest.ResourceType == "AWS::CloudFormation::Stack" && !strings.HasSuffix(string(newest.ResourceStatus), "_IN_PROGRESS")
		if ended || len(out.StackEvents) >= events {
			c.kill()
			return
		}
	}
}

// What was answered is done, also if the endpoint dies while it writes.
func TestAKilledEndpointLosesNothingThatItAnswered(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	c := startCloud(t, data)
	_, err := s3.NewFromConfig(c.config(), pathStyle).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("kept")})
	check(t, err)
	var mu sync.Mutex
	done := map[string]bool{}
	for round := range 5 {
		topics, objects := sns.NewFromConfig(c.config()), s3.NewFromConfig(c.config(), pathStyle)
		var answered atomic.Int32
		var writers sync.WaitGroup
		for writer := range 4 {
			writers.Go(func() {
				for i := 0; ; i++ {
					name := fmt.Sprintf("r%dw%dn%d", round, writer, i)
					_, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &name})
					if err == nil {
						_, err = objects.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("kept"), Key: &name, Body: strings.NewReader(name)})
					}
					if err != nil {
						return // it is dead
					}
					mu.Lock()
					done[name] = true
					mu.Unlock()
					answered.Add(1)
				}
			})
		}
		for answered.Load() < int32(10*(round+1)) {
			c.turn()
		}
		c.kill()
		writers.Wait()
		c = startCloud(t, data)
		for name := range done {
			_, err := sns.NewFromConfig(c.config()).GetTopicAttributes(t.Context(), &sns.GetTopicAttributesInput{
				TopicArn: aws.String("arn:aws:sns:" + c.status.Region + ":" + c.status.Account + ":" + name),
			})
			check(t, err)
			object, err := s3.NewFromConfig(c.config(), pathStyle).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("kept"), Key: &name})
			check(t, err)
			if content, err := io.ReadAll(object.Body); err != nil || string(content) != name {
				t.Fatalf("the object %s is %q, %v", name, content, err)
			}
		}
	}
	outside, err := filepath.Glob(filepath.Join(data, "..", "*"))
	check(t, err)
	for _, file := range outside {
		if name := filepath.Base(file); name != "data" && name != "ca.pem" { // the test's own
			t.Errorf("there is a file %s beside the data folder", name)
		}
	}
}

func pathStyle(o *s3.Options) { o.UsePathStyle = true }

func topicOf(c *cloud) string {
	_, outputs := c.stack("Lastwill")
	return outputs["SNSTopicArn"]
}
