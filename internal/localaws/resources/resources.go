// Package resources is what CloudFormation makes, changes and deletes here: a table
// of resource types, and a file for each. A type is a struct of its properties and a
// handler with create and remove, and update where AWS changes the resource in
// place. Which properties a type has, which are required and which need a
// replacement is read from the struct.
//
// Properties, attributes, the meaning of Ref and what needs replacement are those of
// the CloudFormation template reference, one page per type.
package resources

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/cloudwatch"
	"lastwill/internal/localaws/ecr"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/iot"
	"lastwill/internal/localaws/lambda"
	"lastwill/internal/localaws/logs"
	"lastwill/internal/localaws/s3"
	"lastwill/internal/localaws/sns"
	"lastwill/internal/localaws/ssm"
)

// Services are where resources are made.
type Services struct {
	Account    awsapi.Account
	IoT        *iot.Service
	IAM        *iam.Service
	SNS        *sns.Service
	Lambda     *lambda.Service
	CloudWatch *cloudwatch.Service
	Logs       *logs.Service
	SSM        *ssm.Service
	ECR        *ecr.Service
	S3         *s3.Service
	// Answers are those of the functions of custom resources.
	Answers *Answers
}

// Types is the table of what can be deployed.
func Types(s Services) map[string]cloudformation.Type {
	return map[string]cloudformation.Type{
		"AWS::CloudWatch::Alarm":              of(alarm{s.CloudWatch, s.Account}),
		"AWS::CloudWatch::Dashboard":          of(dashboard{s.CloudWatch}),
		"AWS::ECR::Repository":                of(repository{s.ECR}),
		"AWS::IAM::Policy":                    of(rolePolicy{s.IAM}),
		"AWS::IAM::Role":                      of(role{s.IAM}),
		"AWS::IoT::Certificate":               of(certificate{s.IoT}),
		"AWS::IoT::Policy":                    of(iotPolicy{s.IoT}),
		"AWS::IoT::PolicyPrincipalAttachment": of(policyAttachment{s.IoT}),
		"AWS::IoT::Thing":                     of(thing{s.IoT}),
		"AWS::IoT::ThingPrincipalAttachment":  of(thingAttachment{s.IoT}),
		"AWS::IoT::TopicRule":                 of(topicRule{s.IoT}),
		"AWS::Lambda::Function":               of(function{s.Lambda}),
		"AWS::Logs::LogGroup":                 of(logGroup{s.Logs}),
		"AWS::S3::Bucket":                     of(bucket{s.S3, s.Account}),
		"AWS::S3::BucketPolicy":               of(bucketPolicy{}),
		"AWS::SNS::Subscription":              of(subscription{s.SNS}),
		"AWS::SNS::Topic":                     of(topic{s.SNS, s.Account}),
		"AWS::SNS::TopicPolicy":               of(topicPolicy{s.SNS}),
		"AWS::SSM::Parameter":                 of(parameter{s.SSM}),
		cloudformation.CustomResourceType:     custom(s.Lambda, s.Answers),
	}
}

type (
	request = cloudformation.Request
	result  = cloudformation.Result
)

// A handler makes and deletes resources whose properties are a P. remove does not
// mind a resource that is gone.
type handler[P any] interface {
	create(r request, p P) (result, error)
	remove(r request, p P) error
}

// An updater changes them in place too. Without it, any change is a replacement.
type updater[P any] interface {
	update(r request, p, before P) (result, error)
}

// A drifter tells what became of them behind CloudFormation's back.
type drifter[P any] interface {
	drift(r request, p P) (cloudformation.Drift, error)
}

// of makes a resource type of a handler.
func of[P any](h handler[P]) cloudformation.Type {
	t := cloudformation.Type{
		Create: func(r request) (result, error) {
			p, err := decode[P](r.Properties)
			if err != nil {
				return result{}, err
			}
			return h.create(r, p)
		},
		Delete: func(r request) error {
			p, err := decode[P](r.Properties)
			if err != nil {
				return err
			}
			return h.remove(r, p)
		},
	}
	t.Properties, t.Replacement = listed[P]()
	if u, ok := h.(updater[P]); ok {
		t.Update = func(r request) (result, error) {
			p, err := decode[P](r.Properties)
			if err != nil {
				return result{}, err
			}
			before, err := decode[P](r.Previous)
			if err != nil {
				return result{}, err
			}
			return u.update(r, p, before)
		}
	}
	if d, ok := h.(drifter[P]); ok {
		t.Drift = func(r request) (cloudformation.Drift, error) {
			p, err := decode[P](r.Properties)
			if err != nil {
				return "", err
			}
			return d.drift(r, p)
		}
	}
	return t
}

// driftOf is that of a resource that was asked for: gone, or the same or not.
func driftOf(err error, same bool) (cloudformation.Drift, error) {
	switch {
	case err != nil && gone(err) == nil:
		return cloudformation.Deleted, nil
	case err != nil || same:
		return "", err
	}
	return cloudformation.Modified, nil
}

// driftIn is that of a resource which is either on a list or gone.
func driftIn(list []string, name string, err error) (cloudformation.Drift, error) {
	if err == nil && !slices.Contains(list, name) {
		return cloudformation.Deleted, nil
	}
	return driftOf(err, true)
}

// gone takes "it does not exist" for success: a deletion wants nothing else.
func gone(err error) error {
	var e *awsapi.Error
	if errors.As(err, &e) {
		switch e.Code {
		case "ResourceNotFoundException", "NoSuchEntity", "NotFound", "NotFoundException", "ResourceNotFound", "DashboardNotFoundError", "ParameterNotFound":
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
type tagList []struct {
	Key   string `cfn:"required"`
	Value string `cfn:"required"`
}

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
