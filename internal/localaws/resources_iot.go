package localaws

import (
	"encoding/json"
	"errors"
	"fmt"

	"lastwill/internal/localaws/iot"
)

type thingProperties struct {
	ThingName        string
	AttributePayload struct{ Attributes map[string]string }
}

func (s *Server) createThing(r request) (result, error) {
	p, err := decode[thingProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	p.ThingName = named(p.ThingName, r, 128)
	if _, err := s.IoT.DescribeThing(p.ThingName); err == nil {
		return result{}, alreadyExists("thing", p.ThingName)
	}
	t, err := s.IoT.CreateThing(p.ThingName, p.AttributePayload.Attributes)
	return thingResult(t), err
}

func (s *Server) updateThing(r request) (result, error) {
	p, err := decode[thingProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	t, err := s.IoT.UpdateThing(r.PhysicalID, p.AttributePayload.Attributes)
	return thingResult(t), err
}

func thingResult(t iot.Thing) result {
	return result{PhysicalID: t.Name, Attributes: map[string]any{"Arn": t.ARN, "Id": t.ID}}
}

type certificateProperties struct{ CertificateSigningRequest, Status string }

func (s *Server) createCertificate(r request) (result, error) {
	p, err := decode[certificateProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	if p.Status != "ACTIVE" && p.Status != "INACTIVE" {
		return result{}, fmt.Errorf("certificate status %q must be ACTIVE or INACTIVE", p.Status)
	}
	c, err := s.IoT.CreateCertificateFromCSR(p.CertificateSigningRequest, p.Status == "ACTIVE")
	return certificateResult(c), err
}

func (s *Server) updateCertificate(r request) (result, error) {
	p, err := decode[certificateProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	if err := s.IoT.UpdateCertificate(r.PhysicalID, p.Status); err != nil {
		return result{}, err
	}
	c, err := s.IoT.DescribeCertificate(r.PhysicalID)
	return certificateResult(c), err
}

func certificateResult(c iot.Certificate) result {
	return result{PhysicalID: c.ID, Attributes: map[string]any{"Arn": c.ARN, "Id": c.ID}}
}

// deleteCertificate deactivates the certificate first, as CloudFormation's own
// handler does; what is still attached to it makes the deletion fail.
func (s *Server) deleteCertificate(r request) error {
	if err := s.IoT.UpdateCertificate(r.PhysicalID, "INACTIVE"); err != nil {
		return gone(err)
	}
	return gone(s.IoT.DeleteCertificate(r.PhysicalID))
}

type policyProperties struct {
	PolicyDocument json.RawMessage
	PolicyName     string
	Tags           tagList
}

func (s *Server) createIoTPolicy(r request) (result, error) {
	p, err := decode[policyProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	created, err := s.IoT.CreatePolicy(named(p.PolicyName, r, 128), string(p.PolicyDocument), p.Tags.with(r.Tags))
	return policyResult(created), err
}

// updateIoTPolicy makes a new default version and removes the one before, as
// CloudFormation's handler does: a policy keeps five versions at most.
func (s *Server) updateIoTPolicy(r request) (result, error) {
	p, err := decode[policyProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	before, err := s.IoT.GetPolicy(r.PhysicalID)
	if err != nil {
		return result{}, err
	}
	if before.Document != string(p.PolicyDocument) {
		if _, err := s.IoT.CreatePolicyVersion(r.PhysicalID, string(p.PolicyDocument), true); err != nil {
			return result{}, err
		}
		if err := s.IoT.DeletePolicyVersion(r.PhysicalID, before.DefaultVersion); err != nil {
			return result{}, err
		}
	}
	if err := s.IoT.TagPolicy(r.PhysicalID, p.Tags.with(r.Tags)); err != nil {
		return result{}, err
	}
	after, err := s.IoT.GetPolicy(r.PhysicalID)
	return policyResult(after), err
}

func policyResult(p iot.Policy) result {
	return result{PhysicalID: p.Name, Attributes: map[string]any{"Arn": p.ARN, "Id": p.Name}}
}

// deleteIoTPolicy first deletes the versions that others added, whether or not the
// policy is attached, as CloudFormation's handler does
// (aws-cloudformation-resource-providers-iot, aws-iot-policy). AWS's error names the
// policy only; here it also says what is attached, and what detaches it.
func (s *Server) deleteIoTPolicy(r request) error {
	versions, err := s.IoT.ListPolicyVersions(r.PhysicalID)
	if err != nil {
		return gone(err)
	}
	for _, v := range versions {
		if v.IsDefault {
			continue
		}
		if err := gone(s.IoT.DeletePolicyVersion(r.PhysicalID, v.ID)); err != nil {
			return err
		}
	}
	err = gone(s.IoT.DeletePolicy(r.PhysicalID))
	if err == nil {
		return nil
	}
	targets, problem := s.IoT.ListTargetsForPolicy(r.PhysicalID)
	for _, target := range targets {
		err = fmt.Errorf("%w; attached is %[2]s: aws iot detach-policy --policy-name %[3]s --target %[2]s", err, target, r.PhysicalID)
	}
	return errors.Join(err, problem)
}

type policyAttachment struct{ PolicyName, Principal string }

func (s *Server) createPolicyAttachment(r request) (result, error) {
	p, err := decode[policyAttachment](r.Properties)
	if err != nil {
		return result{}, err
	}
	return result{PhysicalID: r.GeneratedName(128)}, s.IoT.AttachPolicy(p.PolicyName, p.Principal)
}

func (s *Server) deletePolicyAttachment(r request) error {
	p, err := decode[policyAttachment](r.Properties)
	return errors.Join(err, gone(s.IoT.DetachPolicy(p.PolicyName, p.Principal)))
}

type thingAttachment struct{ ThingName, Principal string }

func (s *Server) createThingAttachment(r request) (result, error) {
	p, err := decode[thingAttachment](r.Properties)
	if err != nil {
		return result{}, err
	}
	return result{PhysicalID: r.GeneratedName(128)}, s.IoT.AttachThingPrincipal(p.ThingName, p.Principal)
}

func (s *Server) deleteThingAttachment(r request) error {
	p, err := decode[thingAttachment](r.Properties)
	return errors.Join(err, gone(s.IoT.DetachThingPrincipal(p.ThingName, p.Principal)))
}

type ruleProperties struct {
	RuleName         string
	TopicRulePayload json.RawMessage
	Tags             tagList
}

func (s *Server) createTopicRule(r request) (result, error) {
	p, err := decode[ruleProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	payload, err := iot.ParseTopicRulePayload(p.TopicRulePayload)
	if err != nil {
		return result{}, err
	}
	rule, err := s.IoT.CreateTopicRule(underscored(p.RuleName, r, 128), payload, p.Tags.with(r.Tags))
	return ruleResult(rule), err
}

func (s *Server) updateTopicRule(r request) (result, error) {
	p, err := decode[ruleProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	payload, err := iot.ParseTopicRulePayload(p.TopicRulePayload)
	if err != nil {
		return result{}, err
	}
	if err := s.IoT.ReplaceTopicRule(r.PhysicalID, payload); err != nil {
		return result{}, err
	}
	if err := s.IoT.TagTopicRule(r.PhysicalID, p.Tags.with(r.Tags)); err != nil {
		return result{}, err
	}
	rule, err := s.IoT.GetTopicRule(r.PhysicalID)
	return ruleResult(rule), err
}

func ruleResult(r iot.TopicRule) result {
	return result{PhysicalID: r.Name, Attributes: map[string]any{"Arn": r.ARN}}
}
