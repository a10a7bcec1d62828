package api_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lastwill/internal/localaws/api"
	"lastwill/internal/localaws/lambda"
)

func TestFunctionsAreListedByPageAndDeleted(t *testing.T) {
	t.Parallel()
	var code bytes.Buffer
	z := zip.NewWriter(&code)
	program := &zip.FileHeader{Name: "bootstrap"}
	program.SetMode(0o755)
	_, err := z.CreateHeader(program)
	check(t, err)
	check(t, z.Close())
	functions := lambda.New(lambda.Options{
		Account: account, Object: func(string, string) ([]byte, error) { return code.Bytes(), nil },
		Assume: func(string, string) (lambda.Credentials, error) { return lambda.Credentials{}, nil },
	})
	const n = 51 // one more than a page
	for i := range n {
		_, err := functions.Create(lambda.Function{
			Name: fmt.Sprintf("f%02d", i), Runtime: lambda.Runtime, Architecture: lambda.Architecture(), Tags: map[string]string{"app": "lastwill"},
		})
		check(t, err)
	}
	client := awslambda.NewFromConfig(start(t, func(s *api.Services) { s.Lambda = functions }).config())
	found := 0
	pages := awslambda.NewListFunctionsPaginator(client, &awslambda.ListFunctionsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		check(t, err)
		if found == 0 && len(page.Functions) != n-1 {
			t.Errorf("the first page has %d functions", len(page.Functions))
		}
		for _, f := range page.Functions {
			if got := aws.ToString(f.FunctionName); got != fmt.Sprintf("f%02d", found) || *f.LoggingConfig.LogGroup != "/aws/lambda/"+got || *f.Timeout != 3 {
				t.Errorf("function %d is %s with log group %s", found, got, *f.LoggingConfig.LogGroup)
			}
			found++
		}
	}
	if found != n {
		t.Errorf("%d of %d functions were listed", found, n)
	}
	tags, err := client.ListTags(t.Context(), &awslambda.ListTagsInput{Resource: aws.String(account.ARN("lambda", "function:f07"))})
	check(t, err)
	if tags.Tags["app"] != "lastwill" {
		t.Errorf("the tags are %v", tags.Tags)
	}
	_, err = client.DeleteFunction(t.Context(), &awslambda.DeleteFunctionInput{FunctionName: aws.String("f07")})
	check(t, err)
	_, err = client.DeleteFunction(t.Context(), &awslambda.DeleteFunctionInput{FunctionName: aws.String("f07")})
	failsAs[*types.ResourceNotFoundException](t, err)
	_, err = client.ListFunctions(t.Context(), &awslambda.ListFunctionsInput{MaxItems: aws.Int32(-1)})
	failsAs[*types.InvalidParameterValueException](t, err)
}
