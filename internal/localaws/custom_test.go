package localaws_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-lambda-go/cfn"
	runtimeapi "github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"lastwill/internal/localaws"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/lambda"
)

// The functions of custom resources in these tests are this very program.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		serveCustomResource()
	}
	os.Exit(m.Run())
}

// serveCustomResource does what the resource's property Do says, and never returns.
func serveCustomResource() {
	handle := cfn.LambdaWrap(func(ctx context.Context, e cfn.Event) (string, map[string]any, error) {
		fmt.Printf("%s %s of %s was %s\n", e.RequestType, e.PhysicalResourceID, e.ResourceProperties["Do"], e.OldResourceProperties["Do"])
		what, _ := e.ResourceProperties["Do"].(string)
		if e.RequestType == cfn.RequestDelete {
			if what == "refuse deletion" {
				return e.PhysicalResourceID, nil, errors.New("I stay")
			}
			return e.PhysicalResourceID, nil, nil
		}
		switch what {
		case "fail":
			return "custom", nil, errors.New("the rule did not match")
		case "exit":
			os.Exit(1)
		case "hang":
			select {}
		case "hang with a child":
			child := exec.CommandContext(ctx, "sleep", "600")
			if err := child.Start(); err != nil {
				return "custom", nil, err
			}
			ask := fmt.Sprintf("%s?pids=%d,%d", e.ResourceProperties["Ask"], os.Getpid(), child.Process.Pid)
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, ask, nil)
			if err != nil {
				return "custom", nil, err
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				return "custom", nil, err
			}
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				return "custom", nil, child.Process.Kill()
			}
			select {}
		case "move":
			return "another", nil, nil
		case "create a thing":
			_, err := functionsIoT().CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String(e.ResourceProperties["Thing"].(string))})
			return "custom", nil, err
		}
		return "custom", map[string]any{"Said": fmt.Sprintf("%v %T", e.ResourceProperties["Number"], e.ResourceProperties["Number"])}, nil
	})
	runtimeapi.Start(func(ctx context.Context, e cfn.Event) (string, error) {
		if e.ResourceProperties["Do"] == "say nothing" && e.RequestType != cfn.RequestDelete {
			return "", nil
		}
		return handle(ctx, e)
	})
}

func functionsIoT() *iot.Client {
	return iot.New(iot.Options{
		Region: os.Getenv("AWS_REGION"), BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL")),
		Credentials: credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")),
	})
}

// thisProgram is a function's code with this program in it.
var thisProgram = sync.OnceValues(func() ([]byte, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return functionCode(name)
})

// functionCode is a function's code: a zip with the program in it.
func functionCode(file string) ([]byte, error) {
	program, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Store}
	header.SetMode(0o755)
	w, err := z.CreateHeader(header)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	err = z.Close()
	return b.Bytes(), err
}

// customStack is a stack with a custom resource that does something.
func (c *cloud) customStack(t *testing.T, do string, more object) []byte {
	t.Helper()
	code, err := thisProgram()
	check(t, err)
	if !slices.Contains(c.S3.Buckets(), "code") {
		check(t, c.S3.CreateBucket("code"))
		_, err = c.S3.PutObject("code", "code.zip", nil, bytes.NewReader(code), int64(len(code)), nil)
		check(t, err)
	}
	properties := object{"ServiceToken": object{"Fn::GetAtt": []string{"Function", "Arn"}}, "ServiceTimeout": 300, "Do": do, "Number": 7}
	maps.Copy(properties, more)
	seconds := 20
	if do == "hang" && more == nil {
		seconds = 5
	}
	template := object{
		"Resources": object{
			"Log": object{"Type": "AWS::Logs::LogGroup"},
			"Role": object{"Type": "AWS::IAM::Role", "Properties": object{
				"AssumeRolePolicyDocument": document(object{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": object{"Service": "lambda.amazonaws.com"}}),
				"Policies": []any{object{"PolicyName": "p", "PolicyDocument": document(
					object{"Effect": "Allow", "Action": []string{"logs:CreateLogStream", "logs:PutLogEvents"}, "Resource": object{"Fn::GetAtt": []string{"Log", "Arn"}}},
					allow("iot:CreateThing", "thing/mine-*"),
				)}},
			}},
			"Function": object{"Type": "AWS::Lambda::Function", "Properties": object{
				"Code": object{"S3Bucket": "code", "S3Key": "code.zip"}, "Runtime": "provided.al2023", "Handler": "bootstrap",
				"Architectures": []string{lambda.Architecture()}, "Role": object{"Fn::GetAtt": []string{"Role", "Arn"}},
				"LoggingConfig": object{"LogGroup": object{"Ref": "Log"}}, "Timeout": seconds,
			}},
			"Check": object{"Type": "Custom::Check", "Properties": properties},
		},
		"Outputs": object{"Said": object{"Value": object{"Fn::GetAtt": []string{"Check", "Said"}}}, "Log": object{"Value": object{"Ref": "Log"}}},
	}
	if do != "answer" {
		delete(template["Outputs"].(object), "Said")
	}
	b, err := json.Marshal(template)
	check(t, err)
	return b
}

func (c *cloud) createCustom(t *testing.T, do string, more object) (*cloudformation.Stack, error) {
	t.Helper()
	id, err := c.CloudFormation.Create(cloudformation.Input{Name: "Custom", TemplateBody: c.customStack(t, do, more)})
	check(t, err)
	return c.CloudFormation.Await(deadline(t), id)
}

func (c *cloud) updateCustom(t *testing.T, do string, more object) (*cloudformation.Stack, error) {
	t.Helper()
	id, err := c.CloudFormation.Update(cloudformation.Input{Name: "Custom", TemplateBody: c.customStack(t, do, more)})
	check(t, err)
	return c.CloudFormation.Await(deadline(t), id)
}

// said returns what the function wrote, without Lambda's own lines.
func (c *cloud) said(t *testing.T, stack *cloudformation.Stack) []string {
	t.Helper()
	events, err := c.Logs.Events(stack.Output("Log"))
	check(t, err)
	var lines []string
	for _, e := range events {
		if strings.Contains(e.Message, " of ") {
			lines = append(lines, e.Message)
		}
	}
	return lines
}

func TestACustomResourceLivesAndDies(t *testing.T) {
	t.Parallel()
	c := start(t)
	stack, err := c.createCustom(t, "answer", nil)
	check(t, err)
	if got := stack.Output("Said"); got != "7 string" { // CloudFormation makes text of all values
		t.Errorf("the function answered %q", got)
	}
	if got := stack.Resources["Check"].PhysicalID; got != "custom" {
		t.Errorf("its physical id is %q", got)
	}
	_, err = c.updateCustom(t, "answer again", nil)
	check(t, err)
	stack, err = c.updateCustom(t, "move", nil)
	check(t, err)
	want := []string{
		"Create  of answer was %!s(<nil>)", "Update custom of answer again was answer",
		"Update custom of move was answer again", "Delete custom of answer again was %!s(<nil>)",
	}
	if got := c.said(t, stack); !slices.Equal(got, want) {
		t.Errorf("the function was told %q, want %q", got, want)
	}
	c.destroy(t, stack)
	if left := c.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Whatever a function does instead of answering, the stack fails with the reason
// and leaves nothing.
func TestACustomResourceThatFailsRollsBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		claim, do string
		more      object
		says      []string
	}{
		{"it says no", "fail", nil, []string{"Received response status [FAILED] from custom resource. Message returned: the rule did not match (RequestId: "}},
		{"it crashes", "exit", nil, []string{"did not receive a response", "exit status 1"}},
		{"it says nothing", "say nothing", nil, []string{"did not receive a response"}},
		{"it hangs beyond its own time", "hang", nil, []string{"did not receive a response", "Task timed out after 5.00 seconds"}},
		{"its role may not", "create a thing", object{"Thing": "yours"}, []string{"AccessDenied", "is not authorized to perform: iot:CreateThing", "thing/yours"}},
	} {
		t.Run(test.claim, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			stack, err := c.createCustom(t, test.do, test.more)
			if err == nil {
				t.Fatal("the stack was created")
			}
			for _, says := range test.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("the error is %q, want %q in it", err, says)
				}
			}
			if stack.Status != "ROLLBACK_COMPLETE" {
				t.Errorf("the stack is %s", stack.Status)
			}
			if left := c.Leftovers(); !slices.Equal(left, []string{"stack Custom"}) {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// The deletion that follows has the same time, which may be too short for it here.
func TestCloudFormationWaitsAsLongAsItIsTold(t *testing.T) {
	t.Parallel()
	_, err := start(t).createCustom(t, "hang", object{"ServiceTimeout": 1})
	if err == nil || !strings.Contains(err.Error(), "did not receive a response") || !strings.Contains(err.Error(), "deadline exceeded") {
		t.Errorf("the deployment ended with %v", err)
	}
}

func TestAFunctionActsInItsRole(t *testing.T) {
	t.Parallel()
	c := start(t)
	_, err := c.createCustom(t, "create a thing", object{"Thing": "mine-1"})
	check(t, err)
	if _, err := c.IoT.DescribeThing("mine-1"); err != nil {
		t.Error(err)
	}
}

// A resource that failed to change is changed back like all others.
func TestAFailedUpdateOfACustomResourceIsTakenBack(t *testing.T) {
	t.Parallel()
	c := start(t)
	_, err := c.createCustom(t, "answer", nil)
	check(t, err)
	stack, err := c.updateCustom(t, "fail", nil)
	if err == nil || !strings.Contains(err.Error(), "the rule did not match") || stack.Status != "UPDATE_ROLLBACK_COMPLETE" {
		t.Errorf("the stack is %s, error %v", stack.Status, err)
	}
	want := []string{"Create  of answer was %!s(<nil>)", "Update custom of fail was answer", "Update custom of answer was fail"}
	if got := c.said(t, stack); !slices.Equal(got, want) {
		t.Errorf("the function was told %q, want %q", got, want)
	}
}

// Without rollback what failed stays, and is tried again although nothing changed.
func TestACustomResourceThatFailedIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := start(t)
	body := c.customStack(t, "fail", nil)
	id, err := c.CloudFormation.Create(cloudformation.Input{Name: "Custom", TemplateBody: body, DisableRollback: true})
	check(t, err)
	stack, err := c.CloudFormation.Await(deadline(t), id)
	if err == nil || stack.Status != "CREATE_FAILED" {
		t.Fatalf("the stack is %s, error %v", stack.Status, err)
	}
	_, err = c.CloudFormation.Update(cloudformation.Input{Name: "Custom", TemplateBody: body, DisableRollback: true})
	check(t, err)
	if _, err := c.CloudFormation.Await(deadline(t), id); err == nil || !strings.Contains(err.Error(), "the rule did not match") {
		t.Errorf("the second attempt ended with %v", err)
	}
	stack, err = c.updateCustom(t, "answer", nil)
	check(t, err)
	c.destroy(t, stack)
	if left := c.Leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestACustomResourceThatRefusesItsDeletionKeepsItsFunction(t *testing.T) {
	t.Parallel()
	c := start(t)
	stack, err := c.createCustom(t, "refuse deletion", nil)
	check(t, err)
	check(t, c.CloudFormation.Delete(stack.ID))
	stack, err = c.CloudFormation.Await(deadline(t), stack.ID)
	if err == nil || !strings.Contains(err.Error(), "I stay") || stack.Status != "DELETE_FAILED" {
		t.Errorf("the stack is %s, error %v", stack.Status, err)
	}
	if len(c.Lambda.List()) != 1 {
		t.Error("the function is gone: the deletion cannot be tried again")
	}
}

// With a data folder each request waits for what it changed to be saved, and a
// function's requests must not wait for its own resource.
func TestACustomResourceDoesNotHoldUpAnEndpointThatSaves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := localaws.Start(localaws.Options{DataDir: dir})
	check(t, err)
	c := &cloud{Server: server, dir: t.TempDir()}
	stack, err := c.createCustom(t, "create a thing", object{"Thing": "mine-1"})
	check(t, err)
	check(t, server.Close(deadline(t)))
	// The function is there after a restart.
	c.Server, err = localaws.Start(localaws.Options{DataDir: dir})
	check(t, err)
	t.Cleanup(func() { check(t, c.Close(deadline(t))) })
	c.destroy(t, stack)
}

func TestAnswersOfNobodyAreForgotten(t *testing.T) {
	t.Parallel()
	c := start(t)
	for _, body := range []string{"{}", "no JSON", strings.Repeat("x", 100<<10)} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, c.URL()+"/_lwt/cloudformation/response/guess", strings.NewReader(body))
		check(t, err)
		response, err := http.DefaultClient.Do(request)
		check(t, err)
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
}
