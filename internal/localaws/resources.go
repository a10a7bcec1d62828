package localaws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iam"
	"lastwill/internal/localaws/iot"
)

// resourceTypes is the table of what can be deployed. Attributes and the meaning
// of Ref are those of the CloudFormation template reference, one page per type.
func (s *Server) resourceTypes() map[string]cloudformation.Type {
	return map[string]cloudformation.Type{
		"AWS::IoT::Thing": {
			Properties: []string{"ThingName", "AttributePayload"},
			Create:     s.createThing,
			Delete: func(r cloudformation.Request) error {
				return gone(s.IoT.DeleteThing(r.PhysicalID))
			},
		},
		"AWS::IoT::Certificate": {
			Properties: []string{"CertificateSigningRequest", "Status"},
			Required:   []string{"CertificateSigningRequest", "Status"},
			Create:     s.createCertificate,
			Delete:     s.deleteCertificate,
		},
		"AWS::IoT::Policy": {
			Properties: []string{"PolicyDocument", "PolicyName", "Tags"},
			Required:   []string{"PolicyDocument"},
			Create:     s.createIoTPolicy,
			Delete: func(r cloudformation.Request) error {
				return gone(s.IoT.DeletePolicy(r.PhysicalID))
			},
		},
		"AWS::IoT::PolicyPrincipalAttachment": {
			Properties: []string{"PolicyName", "Principal"},
			Required:   []string{"PolicyName", "Principal"},
			Create: func(r cloudformation.Request) (cloudformation.Result, error) {
				p, err := decode[struct{ PolicyName, Principal string }](r)
				if err != nil {
					return cloudformation.Result{}, err
				}
				return cloudformation.Result{PhysicalID: r.GeneratedName(128)}, s.IoT.AttachPolicy(p.PolicyName, p.Principal)
			},
			Delete: func(r cloudformation.Request) error {
				p, err := decode[struct{ PolicyName, Principal string }](r)
				return errors.Join(err, gone(s.IoT.DetachPolicy(p.PolicyName, p.Principal)))
			},
		},
		"AWS::IoT::ThingPrincipalAttachment": {
			Properties: []string{"ThingName", "Principal"},
			Required:   []string{"ThingName", "Principal"},
			Create: func(r cloudformation.Request) (cloudformation.Result, error) {
				p, err := decode[struct{ ThingName, Principal string }](r)
				if err != nil {
					return cloudformation.Result{}, err
				}
				return cloudformation.Result{PhysicalID: r.GeneratedName(128)}, s.IoT.AttachThingPrincipal(p.ThingName, p.Principal)
			},
			Delete: func(r cloudformation.Request) error {
				p, err := decode[struct{ ThingName, Principal string }](r)
				return errors.Join(err, gone(s.IoT.DetachThingPrincipal(p.ThingName, p.Principal)))
			},
		},
		"AWS::IoT::TopicRule": {
			Properties: []string{"RuleName", "TopicRulePayload", "Tags"},
			Required:   []string{"TopicRulePayload"},
			Create:     s.createTopicRule,
			Delete: func(r cloudformation.Request) error {
				return s.IoT.DeleteTopicRule(r.PhysicalID)
			},
		},
		"AWS::IAM::Role": {
			Properties: []string{"AssumeRolePolicyDocument", "Description", "Path", "Policies", "RoleName", "Tags"},
			Required:   []string{"AssumeRolePolicyDocument"},
			Create:     s.createRole,
			Delete:     s.deleteRole,
		},
		"AWS::Logs::LogGroup": {
			Properties: []string{"LogGroupName", "RetentionInDays", "Tags"},
			Create:     s.createLogGroup,
			Delete: func(r cloudformation.Request) error {
				return gone(s.Logs.Delete(r.PhysicalID))
			},
		},
		"AWS::SNS::Topic": {
			Properties: []string{"TopicName", "DisplayName", "Tags"},
			Create:     s.createTopic,
			Delete: func(r cloudformation.Request) error {
				return gone(s.SNS.DeleteTopic(r.PhysicalID))
			},
		},
		"AWS::SNS::TopicPolicy": {
			Properties: []string{"PolicyDocument", "Topics"},
			Required:   []string{"PolicyDocument", "Topics"},
			Create:     s.createTopicPolicy,
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

func (s *Server) createThing(r cloudformation.Request) (cloudformation.Result, error) {
	p, err := decode[struct {
		ThingName        string
		AttributePayload struct{ Attributes map[string]string }
	}](r)
	if err != nil {
		return cloudformation.Result{}, err
	}
	if p.ThingName == "" {
		p.ThingName = r.GeneratedName(128)
	}
	// The API returns a thing that exists already; CloudFormation must not adopt it.
	if _, err := s.IoT.DescribeThing(p.ThingName); err == nil {
		return cloudformation.Result{}, awsapi.Conflictf("AlreadyExists", "thing %s already exists", p.ThingName)
	}
	t, err := s.IoT.CreateThing(p.ThingName, p.AttributePayload.Attributes)
	return cloudformation.Result{PhysicalID: t.Name, Attributes: map[string]any{"Arn": t.ARN, "Id": t.ID}}, err
}

func (s *Server) createCertificate(r cloudformation.Request) (cloudformation.Result, error) {
	p, err := decode[struct{ CertificateSigningRequest, Status string }](r)
	if err != nil {
		return cloudformation.Result{}, err
	}
	if p.Status != "ACTIVE" && p.Status != "INACTIVE" {
		return cloudformation.Result{}, fmt.Errorf("certificate status %q must be ACTIVE or INACTIVE", p.Status)
	}
	c, err := s.IoT.CreateCertificateFromCSR(p.CertificateSigningRequest, p.Status == "ACTIVE")
	return cloudformation.Result{PhysicalID: c.ID, Attributes: map[string]any{"Arn": c.ARN, "Id": c.ID}}, err
}

// deleteCertificate deactivates the certificate first, as CloudFormation's own
// handler does; what is still attached to it makes the deletion fail.
func (s *Server) deleteCertificate(r cloudformation.Request) error {
	if err := s.IoT.UpdateCertificate(r.PhysicalID, "INACTIVE"); err != nil {
		return gone(err)
	}
	return gone(s.IoT.DeleteCertificate(r.PhysicalID))
}

func (s *Server) createIoTPolicy(r cloudformation.Request) (cloudformation.Result, error) {
	p, err := decode[struct {
		PolicyDocument json.RawMessage
		PolicyName     string
		Tags           tagList
	}](r)
	if err != nil {
		return cloudformation.Result{}, err
	}
	if p.PolicyName == "" {
		p.PolicyName = r.GeneratedName(128)
	}
	created, err := s.IoT.CreatePolicy(p.PolicyName, string(p.PolicyDocument), p.Tags.with(r.Tags))
	return cloudformation.Result{PhysicalID: created.Name, Attributes: map[string]any{"Arn": created.ARN, "Id": created.Name}}, err
}

func (s *Server) createTopicRule(r cloudformation.Request) (cloudformation.Result, error) {
	p, err := decode[struct {
		RuleName         string
		TopicRulePayload json.RawMessage
		Tags             tagList
	}](r)
	if err != nil {
		return cloudformation.Result{}, err
	}
	if p.RuleName == "" {
		p.RuleName = strings.ReplaceAll(r.GeneratedName(128), "-", "_")
	}
	payload, err := iot.ParseTopicRulePayload(p.TopicRulePayload)
	if err != nil {
		return cloudformation.Result{}, err
	}
	rule, err := s.IoT.CreateTopicRule(p.RuleName, payload, p.Tags.with(r.Tags))
	return cloudformation.Result{PhysicalID: rule.Name, Attributes: map[string]any{"Arn": rule.ARN}}, err
}

type rolePolicies []struct {
	PolicyName     string
	PolicyDocument json.RawMessage
}

func (s *Server) createRole(r cloudformation.Request) (cloudformation.Result, error) {
	p, err := decode[struct {
		AssumeRolePolicyDocument    json.RawMessage
		Description, Path, RoleName string
		Policies                    rolePolicies
		Tags                        tagList
	}](r)
	if err != nil {
		return cloudformation.Result{}, err
	}
	if p.RoleName == "" {
		p.RoleName = r.GeneratedName(64)
	}
	role, err := s.IAM.CreateRole(iam.RoleInput{
		Name: p.RoleName, Path: p.Path, Description: p.Description,
		TrustPolicy: string(p.AssumeRolePolicyDocument), Tags: p.Tags.with(r.Tags),
	})
	if err != nil {
		return cloudformation.Result{}, err
	}
	for _, inline := range p.Policies {
		if err := s.IAM.PutRolePolicy(role.Name, inline.PolicyName, string(inline.PolicyDocument)); err != nil {
			r.PhysicalID = role.Name
			return cloudformation.Result{}, errors.Join(err, s.deleteRole(r))
		}
	}
	return cloudformation.Result{PhysicalID: role.Name, Attributes: map[string]any{"Arn": role.ARN, "RoleId": role.ID}}, nil
}

func (s *Server) deleteRole(r cloudformation.Request) error {
	p, err := decode[struct{ Policies rolePolicies }](r)
	if err != nil {
		return err
	}
	for _, inline := range p.Policies {
		if err := gone(s.IAM.DeleteRolePolicy(r.PhysicalID, inline.PolicyName)); err != nil {
			return err
		}
	}
	return gone(s.IAM.DeleteRole(r.PhysicalID))
}

func (s *Server) createLogGroup(r cloudformation.Request) (cloudformation.Result, error) {
	p, err := decode[struct {
		LogGroupName    string
		RetentionInDays int
		Tags            tagList
	}](r)
	if err != nil {
		return cloudformation.Result{}, err
	}
	if p.LogGroupName == "" {
		p.LogGroupName = r.GeneratedName(512)
	}
	g, err := s.Logs.Create(p.LogGroupName, p.RetentionInDays, p.Tags.with(r.Tags))
	return cloudformation.Result{PhysicalID: g.Name, Attributes: map[string]any{"Arn": g.ARN + ":*"}}, err
}

func (s *Server) createTopic(r cloudformation.Request) (cloudformation.Result, error) {
	p, err := decode[struct {
		TopicName, DisplayName string
		Tags                   tagList
	}](r)
	if err != nil {
		return cloudformation.Result{}, err
	}
	if p.TopicName == "" {
		p.TopicName = r.GeneratedName(256)
	}
	// The API returns a topic that exists already; CloudFormation must not adopt it.
	if _, err := s.SNS.GetTopicAttributes(Account.ARN("sns", p.TopicName)); err == nil {
		return cloudformation.Result{}, awsapi.Conflictf("AlreadyExists", "SNS topic %s already exists", p.TopicName)
	}
	arn, err := s.SNS.CreateTopic(p.TopicName, map[string]string{"DisplayName": p.DisplayName}, p.Tags.with(r.Tags))
	return cloudformation.Result{PhysicalID: arn, Attributes: map[string]any{"TopicArn": arn, "TopicName": p.TopicName}}, err
}

type topicPolicy struct {
	PolicyDocument json.RawMessage
	Topics         []string
}

func (s *Server) createTopicPolicy(r cloudformation.Request) (cloudformation.Result, error) {
	p, err := decode[topicPolicy](r)
	if err != nil {
		return cloudformation.Result{}, err
	}
	for _, topic := range p.Topics {
		if err := s.SNS.SetTopicAttributes(topic, "Policy", string(p.PolicyDocument)); err != nil {
			return cloudformation.Result{}, err
		}
	}
	name := r.GeneratedName(128)
	return cloudformation.Result{PhysicalID: name, Attributes: map[string]any{"Id": name}}, nil
}

// deleteTopicPolicy gives the topics back the policy that a new topic has.
func (s *Server) deleteTopicPolicy(r cloudformation.Request) error {
	p, err := decode[topicPolicy](r)
	if err != nil {
		return err
	}
	for _, topic := range p.Topics {
		if err := gone(s.SNS.SetTopicAttributes(topic, "Policy", "")); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) createSubscription(r cloudformation.Request) (cloudformation.Result, error) {
	p, err := decode[struct{ TopicArn, Protocol, Endpoint string }](r)
	if err != nil {
		return cloudformation.Result{}, err
	}
	arn, err := s.SNS.Subscribe(p.TopicArn, p.Protocol, p.Endpoint, nil)
	return cloudformation.Result{PhysicalID: arn, Attributes: map[string]any{"Arn": arn}}, err
}

// deleteSubscription leaves a subscription that nobody confirmed where it is, as
// AWS does: it goes away by itself after some days (CloudFormation template
// reference, AWS::SNS::Subscription).
func (s *Server) deleteSubscription(r cloudformation.Request) error {
	attributes, err := s.SNS.GetSubscriptionAttributes(r.PhysicalID)
	if err != nil {
		return gone(err)
	}
	if attributes["PendingConfirmation"] == "true" {
		return nil
	}
	return gone(s.SNS.Unsubscribe(r.PhysicalID))
}

// decode reads the resolved properties of a resource into T, in which numbers
// and Booleans may come as strings, as CloudFormation takes them.
func decode[T any](r cloudformation.Request) (T, error) {
	var out T
	b, err := json.Marshal(r.Properties)
	if err != nil {
		return out, fmt.Errorf("properties: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&out); err != nil {
		return out, fmt.Errorf("properties: %w", err)
	}
	return out, nil
}

// gone takes "it does not exist" for success: a deletion wants nothing else.
func gone(err error) error {
	var e *awsapi.Error
	if errors.As(err, &e) {
		switch e.Code {
		case "ResourceNotFoundException", "NoSuchEntity", "NotFound", "NotFoundException":
			return nil
		}
	}
	return err
}

// tagList is how most CloudFormation resources write tags.
type tagList []struct{ Key, Value string }

func (l tagList) with(stack awsapi.Tags) awsapi.Tags {
	all := awsapi.Tags{}
	for key, value := range stack {
		all[key] = value
	}
	for _, tag := range l {
		all[tag.Key] = tag.Value
	}
	return all
}
