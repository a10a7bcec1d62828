package localaws

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
)

// resourceTypes is the table of what can be deployed: one file for each service
// has the functions. Properties, attributes, the meaning of Ref and what needs
// replacement are those of the CloudFormation template reference, one page per
// type.
func (s *Server) resourceTypes() map[string]cloudformation.Type {
	return map[string]cloudformation.Type{
		"AWS::IoT::Thing": {
			Properties:  []string{"ThingName", "AttributePayload"},
			Replacement: []string{"ThingName"},
			Create:      s.createThing,
			Update:      s.updateThing,
			Delete:      func(r request) error { return gone(s.IoT.DeleteThing(r.PhysicalID)) },
		},
		"AWS::IoT::Certificate": {
			Properties:  []string{"CertificateSigningRequest", "Status"},
			Required:    []string{"CertificateSigningRequest", "Status"},
			Replacement: []string{"CertificateSigningRequest"},
			Create:      s.createCertificate,
			Update:      s.updateCertificate,
			Delete:      s.deleteCertificate,
		},
		"AWS::IoT::Policy": {
			Properties:  []string{"PolicyDocument", "PolicyName", "Tags"},
			Required:    []string{"PolicyDocument"},
			Replacement: []string{"PolicyName"},
			Create:      s.createIoTPolicy,
			Update:      s.updateIoTPolicy,
			Delete:      s.deleteIoTPolicy,
		},
		"AWS::IoT::PolicyPrincipalAttachment": {
			Properties: []string{"PolicyName", "Principal"},
			Required:   []string{"PolicyName", "Principal"},
			Create:     s.createPolicyAttachment,
			Delete:     s.deletePolicyAttachment,
		},
		"AWS::IoT::ThingPrincipalAttachment": {
			Properties: []string{"ThingName", "Principal"},
			Required:   []string{"ThingName", "Principal"},
			Create:     s.createThingAttachment,
			Delete:     s.deleteThingAttachment,
		},
		"AWS::IoT::TopicRule": {
			Properties:  []string{"RuleName", "TopicRulePayload", "Tags"},
			Required:    []string{"TopicRulePayload"},
			Replacement: []string{"RuleName"},
			Create:      s.createTopicRule,
			Update:      s.updateTopicRule,
			Delete:      func(r request) error { return s.IoT.DeleteTopicRule(r.PhysicalID) },
		},
		"AWS::IAM::Role": {
			Properties: []string{
				"AssumeRolePolicyDocument", "Description", "ManagedPolicyArns", "Path", "PermissionsBoundary", "Policies", "RoleName", "Tags",
			},
			Required:    []string{"AssumeRolePolicyDocument"},
			Replacement: []string{"RoleName", "Path"},
			Create:      s.createRole,
			Update:      s.updateRole,
			Delete:      s.deleteRole,
		},
		"AWS::IAM::Policy": {
			Properties: []string{"PolicyDocument", "PolicyName", "Roles"},
			Required:   []string{"PolicyDocument", "PolicyName", "Roles"},
			Create:     s.createRolePolicy,
			Delete:     s.deleteRolePolicy,
		},
		"AWS::Logs::LogGroup": {
			Properties:  []string{"LogGroupName", "RetentionInDays", "Tags"},
			Replacement: []string{"LogGroupName"},
			Create:      s.createLogGroup,
			Update:      s.updateLogGroup,
			Delete:      func(r request) error { return gone(s.Logs.Delete(r.PhysicalID)) },
		},
		"AWS::Lambda::Function": {
			Properties: []string{
				"Architectures", "Code", "Description", "Environment", "FunctionName", "Handler", "LoggingConfig",
				"MemorySize", "Role", "Runtime", "Tags", "Timeout",
			},
			Required:    []string{"Code", "Role"},
			Replacement: []string{"FunctionName"},
			Create:      s.createFunction,
			Update:      s.updateFunction,
			Delete:      func(r request) error { return gone(s.Lambda.Delete(r.PhysicalID)) },
		},
		cloudformation.CustomResourceType: {
			AnyProperties: true,
			Required:      []string{"ServiceToken"},
			Replacement:   []string{"ServiceToken"},
			Slow:          true,
			Create:        s.createCustom,
			Update:        s.updateCustom,
			Delete:        s.deleteCustom,
		},
		"AWS::SSM::Parameter": {
			Properties:  []string{"Name", "Type", "Value"},
			Required:    []string{"Type", "Value"},
			Replacement: []string{"Name", "Type"},
			Create:      s.createParameter,
			Update:      s.updateParameter,
			Delete: func(r request) error {
				s.SSM.Delete(r.PhysicalID)
				return nil
			},
		},
		"AWS::ECR::Repository": {
			Properties:  []string{"ImageTagMutability", "LifecyclePolicy", "RepositoryName", "RepositoryPolicyText"},
			Replacement: []string{"RepositoryName"},
			Create:      s.createRepository,
			Update:      s.updateRepository,
			Delete: func(r request) error {
				s.ECR.Delete(r.PhysicalID)
				return nil
			},
		},
		"AWS::S3::Bucket": {
			Properties: []string{
				"AccessControl", "BucketEncryption", "BucketName", "LifecycleConfiguration",
				"PublicAccessBlockConfiguration", "Tags", "VersioningConfiguration",
			},
			Replacement: []string{"BucketName"},
			Create:      s.createBucket,
			Update:      func(r request) (result, error) { return bucketResult(r.PhysicalID), nil },
			Delete:      func(r request) error { return s.deleteBucket(r.PhysicalID) },
		},
		"AWS::S3::BucketPolicy": {
			Properties: []string{"Bucket", "PolicyDocument"},
			Required:   []string{"Bucket", "PolicyDocument"},
			Create:     createBucketPolicy,
			Delete:     func(request) error { return nil },
		},
		"AWS::CloudWatch::Alarm": {
			Properties: []string{
				"AlarmActions", "AlarmDescription", "AlarmName", "ComparisonOperator", "Dimensions", "EvaluationPeriods", "MetricName",
				"Metrics", "Namespace", "Period", "Statistic", "Tags", "Threshold", "TreatMissingData",
			},
			Required:    []string{"ComparisonOperator", "EvaluationPeriods"},
			Replacement: []string{"AlarmName"},
			Create:      s.createAlarm,
			Update:      s.updateAlarm,
			Delete:      func(r request) error { return gone(s.CloudWatch.DeleteAlarms(r.PhysicalID)) },
		},
		"AWS::CloudWatch::Dashboard": {
			Properties:  []string{"DashboardBody", "DashboardName", "Tags"},
			Required:    []string{"DashboardBody"},
			Replacement: []string{"DashboardName"},
			Create:      s.createDashboard,
			Update:      s.updateDashboard,
			Delete:      func(r request) error { return gone(s.CloudWatch.DeleteDashboards(r.PhysicalID)) },
		},
		"AWS::SNS::Topic": {
			Properties:  []string{"TopicName", "DisplayName", "Tags"},
			Replacement: []string{"TopicName"},
			Create:      s.createTopic,
			Update:      s.updateTopic,
			Delete:      func(r request) error { return gone(s.SNS.DeleteTopic(r.PhysicalID)) },
		},
		"AWS::SNS::TopicPolicy": {
			Properties: []string{"PolicyDocument", "Topics"},
			Required:   []string{"PolicyDocument", "Topics"},
			Create:     s.createTopicPolicy,
			Update:     s.updateTopicPolicy,
			Delete:     s.deleteTopicPolicy,
		},
		"AWS::SNS::Subscription": {
			Properties: []string{"TopicArn", "Protocol", "Endpoint"},
			Required:   []string{"TopicArn", "Protocol", "Endpoint"},
			Create:     s.createSubscription,
			Delete:     s.deleteSubscription,
		},
	}
}

type (
	request = cloudformation.Request
	result  = cloudformation.Result
)

// decode reads resolved properties into T.
func decode[T any](properties map[string]any) (T, error) {
	var out T
	b, err := json.Marshal(properties)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		return out, fmt.Errorf("properties: %w", err)
	}
	return out, nil
}

// gone takes "it does not exist" for success: a deletion wants nothing else.
func gone(err error) error {
	var e *awsapi.Error
	if errors.As(err, &e) {
		switch e.Code {
		case "ResourceNotFoundException", "NoSuchEntity", "NotFound", "NotFoundException", "ResourceNotFound", "DashboardNotFoundError":
			return nil
		}
	}
	return err
}

// alreadyExists refuses a resource that exists. Some APIs return the existing
// one, which CloudFormation must not adopt.
func alreadyExists(kind, name string) error {
	return awsapi.Conflictf("AlreadyExists", "%s %s already exists", kind, name)
}

// tagList is how most CloudFormation resources write tags.
type tagList []struct{ Key, Value string }

func (l tagList) with(stack awsapi.Tags) awsapi.Tags {
	all := maps.Clone(stack)
	if all == nil {
		all = awsapi.Tags{}
	}
	for _, tag := range l {
		all[tag.Key] = tag.Value
	}
	return all
}

// named is the name that the template gives, or a generated one.
func named(name string, r request, limit int) string {
	if name != "" {
		return name
	}
	return r.GeneratedName(limit)
}

// underscored is a generated name where hyphens are not allowed.
func underscored(name string, r request, limit int) string {
	if name != "" {
		return name
	}
	return strings.ReplaceAll(r.GeneratedName(limit), "-", "_")
}
