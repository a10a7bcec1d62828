package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"lastwill/internal/localaws/api"
)

func TestMissingOperationIsNamed(t *testing.T) {
	t.Parallel()
	e := start(t)
	for operation, call := range map[string]func() error{
		"GetFederationToken of sts": func() error {
			_, err := sts.NewFromConfig(e.config()).GetFederationToken(t.Context(), &sts.GetFederationTokenInput{Name: aws.String("x")})
			return err
		},
		"PutParameter of ssm": func() error {
			_, err := ssm.NewFromConfig(e.config()).PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("x"), Value: aws.String("y")})
			return err
		},
	} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			err := call()
			refused := fails(t, err, "NotImplemented")
			if status(err) != http.StatusNotImplemented || !strings.Contains(refused.ErrorMessage(), operation) {
				t.Errorf("the answer is %d: %s", status(err), refused.ErrorMessage())
			}
		})
	}
}

func TestMissingServiceAnswersInItsOwnProtocol(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, test := range []struct {
		service, method, path, body string
		header                      http.Header
		answer                      string
	}{
		{
			"dynamodb", "POST", "/", "{}",
			http.Header{"X-Amz-Target": {"DynamoDB_20120810.ListTables"}},
			`{"__type":"NotImplemented","message":"ListTables of dynamodb is not available: this local endpoint does not have it"}`,
		},
		{
			"elasticloadbalancing", "POST", "/", "Action=DescribeLoadBalancers&Version=2015-12-01",
			http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			`<Message>DescribeLoadBalancers of elasticloadbalancing is not available: this local endpoint does not have it</Message>`,
		},
		{
			"apigateway", "GET", "/restapis", "", nil,
			`"message":"GET /restapis of apigateway is not available: this local endpoint does not have it"`,
		},
	} {
		t.Run(test.service, func(t *testing.T) {
			t.Parallel()
			status, got := e.signed(t, test.service, test.method, test.path, test.body, test.header)
			if status != http.StatusNotImplemented || !strings.Contains(got, test.answer) {
				t.Errorf("the answer is %d: %s", status, got)
			}
		})
	}
}

// signed makes a request that no SDK would make.
func (e *endpoint) signed(t *testing.T, service, method, path, body string, header http.Header) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, e.url+path, strings.NewReader(body))
	check(t, err)
	if header != nil {
		r.Header = header
	}
	sum := sha256.Sum256([]byte(body))
	credentials := aws.Credentials{AccessKeyID: api.TestAccessKeyID, SecretAccessKey: api.TestSecretAccessKey}
	check(t, v4.NewSigner().SignHTTP(t.Context(), credentials, r, hex.EncodeToString(sum[:]), service, account.Region, time.Now()))
	response, err := http.DefaultClient.Do(r)
	check(t, err)
	defer response.Body.Close()
	return response.StatusCode, readAll(response.Body)
}
