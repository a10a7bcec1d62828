// Package policy writes IAM's policy documents and the ARNs in them.
package policy

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// Document is a policy of statements.
func Document(statements ...any) map[string]any {
	return map[string]any{"Version": "2012-10-17", "Statement": statements}
}

// Allow is a statement. A resource is an ARN, or a list of them.
func Allow(resource any, actions ...string) map[string]any {
	return map[string]any{"Effect": "Allow", "Action": actions, "Resource": resource}
}

// Prefix begins the ARNs of a service's resources in the account and region of the
// scope's stack.
func Prefix(scope constructs.Construct, service string) string { return PrefixIn(scope, service, nil) }

// PrefixIn is Prefix for another region.
func PrefixIn(scope constructs.Construct, service string, region *string) string {
	return *awscdk.Stack_Of(scope).FormatArn(&awscdk.ArnComponents{
		Service: &service, Region: region, Resource: jsii.String(""), ArnFormat: awscdk.ArnFormat_NO_RESOURCE_NAME,
	})
}
