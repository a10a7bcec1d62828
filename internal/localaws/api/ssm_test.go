package api_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

func TestParametersAreReadByName(t *testing.T) {
	t.Parallel()
	e := start(t)
	const name = "/cdk-bootstrap/hnb659fds/version"
	e.SSM.Put(name, "31")
	client := ssm.NewFromConfig(e.config())

	one, err := client.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String(name)})
	check(t, err)
	p := one.Parameter
	if *p.Value != "31" || *p.Name != name || *p.ARN != "arn:aws:ssm:us-east-1:123456789012:parameter"+name || p.Type != types.ParameterTypeString {
		t.Errorf("the parameter is %s = %s (%s, %s)", *p.Name, *p.Value, *p.ARN, p.Type)
	}

	_, err = client.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/none")})
	failsAs[*types.ParameterNotFound](t, err)
}
