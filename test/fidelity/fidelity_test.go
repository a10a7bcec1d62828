// Package fidelity puts requests to the local endpoint, through AWS's SDK, whose answers
// on AWS are known: recorded there, or said by AWS's own documentation or source. The
// files in testdata hold them, one case a line.
package fidelity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"lastwill/internal/localaws"
)

// A testCase is a line of a file.
type testCase struct {
	Claim string
	// Before are calls that must succeed. $0.Name in a later input is the member Name of
	// the first one's output.
	Before []call
	call
	Want want
	// AWS is what AWS answers where Want is not that: the endpoint uses other words, or
	// names what it does not support.
	AWS string `json:"aws"`
	// Verdict is words or stricter where there is AWS. Default: equal.
	Verdict string
	// Source says where AWS's answer is from. Required.
	Source string
}

// A call is an operation of a service with its input in the SDK's names, such as
// sns.CreateTopic; or deploy, whose input is a template, and waits for the end of the
// stack Case; or await, which waits for another stack.
type call struct {
	Call  string
	Input json.RawMessage
}

// want is an answer: an error, an output with at least these members, or the end of a
// deployment. A text with ... at an end may go on there.
type want struct {
	Error, Message string
	Output         any
	Status, Reason string
}

const patience = time.Minute

func TestFidelity(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	counts := map[string]int{}
	for _, file := range files {
		for i, c := range read(t, file) {
			counts[c.Verdict]++
			t.Run(fmt.Sprintf("%s:%d %s", strings.TrimSuffix(filepath.Base(file), ".jsonl"), i+1, c.Claim), func(t *testing.T) {
				t.Parallel()
				c.run(t)
			})
		}
	}
	t.Logf("%d equal, %d in other words, %d stricter by name", counts[""], counts["words"], counts["stricter"])
}

func read(t *testing.T, file string) (all []testCase) {
	t.Helper()
	content, err := os.ReadFile(file)
	check(t, err)
	for i, line := range bytes.Split(bytes.TrimSpace(content), []byte("\n")) {
		var c testCase
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&c); err != nil {
			t.Fatalf("%s:%d: %v", file, i+1, err)
		}
		if c.Claim == "" || c.Call == "" || c.Source == "" || (c.Verdict == "") != (c.AWS == "") || !slices.Contains([]string{"", "words", "stricter"}, c.Verdict) {
			t.Fatalf("%s:%d: a case has a claim, a call, a source, and AWS's answer where the verdict is words or stricter", file, i+1)
		}
		all = append(all, c)
	}
	return all
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c testCase) run(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, err := localaws.Start(localaws.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, server.Close(context.Background())) })
	e := endpoint{server, aws.Config{
		Region: localaws.Account.Region, BaseEndpoint: aws.String(server.URL()), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		RetryMaxAttempts: 1,
	}}
	var outputs []any
	for i, before := range c.Before {
		out, err := e.do(ctx, before, outputs)
		if err != nil {
			t.Fatalf("step %d, %s: %v", i, before.Call, err)
		}
		outputs = append(outputs, out)
	}
	out, err := e.do(ctx, c.call, outputs)
	c.Want.compare(t, out, err)
}

type endpoint struct {
	*localaws.Server
	config aws.Config
}

func (e endpoint) client(service string) any {
	switch service {
	case "cloudformation":
		return cloudformation.NewFromConfig(e.config)
	case "cloudwatch":
		return cloudwatch.NewFromConfig(e.config)
	case "iam":
		return iam.NewFromConfig(e.config)
	case "iot":
		return iot.NewFromConfig(e.config)
	case "iotdata":
		return iotdataplane.NewFromConfig(e.config)
	case "lambda":
		return lambda.NewFromConfig(e.config)
	case "logs":
		return cloudwatchlogs.NewFromConfig(e.config)
	case "s3":
		return s3.NewFromConfig(e.config, func(o *s3.Options) { o.UsePathStyle = true })
	case "sns":
		return sns.NewFromConfig(e.config)
	case "sqs":
		return sqs.NewFromConfig(e.config)
	case "ssm":
		return ssm.NewFromConfig(e.config)
	case "sts":
		return sts.NewFromConfig(e.config)
	}
	return nil
}

// do calls an operation and returns its output as JSON reads it.
func (e endpoint) do(ctx context.Context, c call, outputs []any) (any, error) {
	input, err := fillIn(c.Input, outputs)
	if err != nil {
		return nil, err
	}
	switch c.Call {
	case "deploy":
		return e.deploy(ctx, input)
	case "await":
		return nil, e.await(ctx, input)
	}
	service, operation, _ := strings.Cut(c.Call, ".")
	method := reflect.ValueOf(e.client(service))
	if method.IsValid() {
		method = method.MethodByName(operation)
	}
	if !method.IsValid() {
		return nil, fmt.Errorf("the SDK has no %s", c.Call)
	}
	in := reflect.New(method.Type().In(1).Elem())
	if len(input) > 0 {
		dec := json.NewDecoder(bytes.NewReader(input))
		dec.DisallowUnknownFields()
		if err := dec.Decode(in.Interface()); err != nil {
			return nil, fmt.Errorf("input of %s: %w", c.Call, err)
		}
	}
	results := method.Call([]reflect.Value{reflect.ValueOf(ctx), in})
	if err, ok := results[1].Interface().(error); ok {
		return nil, err
	}
	return asJSON(results[0].Interface())
}

func (e endpoint) await(ctx context.Context, input []byte) error {
	var in struct{ StackName string }
	if err := json.Unmarshal(input, &in); err != nil {
		return err
	}
	stack, err := e.CloudFormation.Describe(in.StackName)
	if err == nil {
		_, err = e.CloudFormation.Await(ctx, stack.ID)
	}
	return err
}

// deploy creates a stack from a template, or updates it, and waits for the end.
func (e endpoint) deploy(ctx context.Context, input []byte) (any, error) {
	client := cloudformation.NewFromConfig(e.config)
	var in struct{ Template, Parameters json.RawMessage }
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, err
	}
	body := string(in.Template)
	if text, err := strconv.Unquote(body); err == nil { // YAML
		body = text
	}
	create := cloudformation.CreateStackInput{StackName: aws.String("Case"), TemplateBody: &body, Capabilities: capabilities}
	if in.Parameters != nil {
		if err := json.Unmarshal(in.Parameters, &create.Parameters); err != nil {
			return nil, err
		}
	}
	var id string
	if _, err := e.CloudFormation.Describe("Case"); err != nil {
		out, err := client.CreateStack(ctx, &create)
		if err != nil {
			return nil, err
		}
		id = *out.StackId
	} else {
		out, err := client.UpdateStack(ctx, &cloudformation.UpdateStackInput{
			StackName: create.StackName, TemplateBody: &body, Parameters: create.Parameters, Capabilities: capabilities,
		})
		if err != nil {
			return nil, err
		}
		id = *out.StackId
	}
	stack, _ := e.CloudFormation.Await(ctx, id) // its status is what counts
	if stack == nil {
		return nil, fmt.Errorf("stack %s: %w", id, ctx.Err())
	}
	result := map[string]any{"Status": stack.Status, "StackId": id}
	reasons := []string{}
	for _, event := range stack.Events {
		if strings.HasSuffix(event.Status, "_FAILED") {
			reasons = append(reasons, event.StatusReason)
		}
	}
	if len(reasons) > 0 {
		result["Reason"] = reasons[len(reasons)-1]
	}
	for id, r := range stack.Resources {
		result[id] = map[string]any{"PhysicalId": r.PhysicalID, "Attributes": r.Attributes}
	}
	return result, nil
}

var capabilities = []types.Capability{types.CapabilityCapabilityNamedIam}

// reference is to a member of an earlier output.
var reference = regexp.MustCompile(`\$(\d+)\.([\w.]+)`)

func fillIn(input []byte, outputs []any) (filled []byte, err error) {
	filled = reference.ReplaceAllFunc(input, func(found []byte) []byte {
		parts := reference.FindSubmatch(found)
		i, _ := strconv.Atoi(string(parts[1]))
		if i >= len(outputs) {
			err = fmt.Errorf("%s: there is no such step", found)
			return nil
		}
		v := outputs[i]
		for name := range strings.SplitSeq(string(parts[2]), ".") {
			object, _ := v.(map[string]any)
			v = object[name]
		}
		text, ok := v.(string)
		if !ok {
			err = fmt.Errorf("%s is not a text in %v", found, outputs[i])
		}
		return []byte(text)
	})
	return filled, err
}

func asJSON(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(b, &out)
}

func (w want) compare(t *testing.T, out any, err error) {
	t.Helper()
	if w.Error != "" {
		var refusal smithy.APIError
		if !errors.As(err, &refusal) {
			t.Fatalf("the answer is %v, %v, want the error %s", out, err, w.Error)
		}
		if refusal.ErrorCode() != w.Error || !reads(refusal.ErrorMessage(), w.Message) {
			t.Errorf("the error is %s: %s\nwant         %s: %s", refusal.ErrorCode(), refusal.ErrorMessage(), w.Error, w.Message)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	result, _ := out.(map[string]any)
	if w.Status != "" {
		reason, _ := result["Reason"].(string)
		if result["Status"] != w.Status || !reads(reason, w.Reason) {
			t.Errorf("the stack is %v: %s\nwant         %s: %s", result["Status"], reason, w.Status, w.Reason)
		}
	}
	if problem := contains("", out, w.Output); problem != "" {
		t.Error(problem)
	}
}

// reads compares a text; nothing wanted fits all.
func reads(got, wanted string) bool {
	middle, end := strings.CutSuffix(wanted, "...")
	middle, start := strings.CutPrefix(middle, "...")
	switch {
	case wanted == "" || start && end:
		return strings.Contains(got, middle)
	case end:
		return strings.HasPrefix(got, middle)
	case start:
		return strings.HasSuffix(got, middle)
	}
	return got == wanted
}

// contains says where an output lacks what is wanted.
func contains(path string, got, wanted any) string {
	switch wanted := wanted.(type) {
	case nil:
		return ""
	case map[string]any:
		object, _ := got.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			if problem := contains(path+"/"+name, object[name], wanted[name]); problem != "" {
				return problem
			}
		}
		return ""
	case []any:
		list, _ := got.([]any)
		if len(list) != len(wanted) {
			return fmt.Sprintf("%s is %v, want %v", path, got, wanted)
		}
		for i := range wanted {
			if problem := contains(fmt.Sprintf("%s/%d", path, i), list[i], wanted[i]); problem != "" {
				return problem
			}
		}
		return ""
	case string:
		if text, ok := got.(string); ok && reads(text, wanted) {
			return ""
		}
	}
	if !reflect.DeepEqual(got, wanted) {
		return fmt.Sprintf("%s is %v, want %v", path, got, wanted)
	}
	return ""
}
