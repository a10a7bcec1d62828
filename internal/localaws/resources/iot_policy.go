package resources

import (
	"errors"
	"fmt"

	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
)

type iotPolicyProperties struct {
	PolicyDocument document `cfn:"required"`
	PolicyName     string   `cfn:"immutable"`
	Tags           tagList
}

type iotPolicy struct{ iot *iot.Service }

func (h iotPolicy) create(r request, p iotPolicyProperties) (result, error) {
	created, err := h.iot.CreatePolicy(named(p.PolicyName, r, 128), string(p.PolicyDocument), p.Tags.with(r.Tags))
	return h.result(created), err
}

// update makes a new default version. It removes the oldest of the others only where
// there is no room, as CloudFormation's handler does
// (aws-cloudformation-resource-providers-iot, aws-iot-policy).
func (h iotPolicy) update(r request, p, _ iotPolicyProperties) (result, error) {
	before, err := h.iot.GetPolicy(r.PhysicalID)
	if err != nil {
		return result{}, err
	}
	if before.Document != string(p.PolicyDocument) {
		if err := h.makeRoom(r.PhysicalID); err != nil {
			return result{}, err
		}
		if _, err := h.iot.CreatePolicyVersion(r.PhysicalID, string(p.PolicyDocument), true); err != nil {
			return result{}, err
		}
	}
	if err := h.iot.TagPolicy(r.PhysicalID, p.Tags.with(r.Tags)); err != nil {
		return result{}, err
	}
	after, err := h.iot.GetPolicy(r.PhysicalID)
	return h.result(after), err
}

// makeRoom deletes the oldest version that is not in force if there are as many
// versions as a policy may have.
func (h iotPolicy) makeRoom(name string) error {
	versions, err := h.iot.ListPolicyVersions(name)
	if err != nil || len(versions) < iot.MaxPolicyVersions {
		return err
	}
	oldest := versions[len(versions)-1]
	if oldest.IsDefault {
		oldest = versions[len(versions)-2]
	}
	return h.iot.DeletePolicyVersion(name, oldest.ID)
}

// remove first deletes the versions that are not in force, whether or not the policy
// is attached, as CloudFormation's handler does. AWS's error names the policy only;
// here it also says what is attached, and what detaches it.
func (h iotPolicy) remove(r request, _ iotPolicyProperties) error {
	versions, err := h.iot.ListPolicyVersions(r.PhysicalID)
	if err != nil {
		return gone(err)
	}
	for _, v := range versions {
		if v.IsDefault {
			continue
		}
		if err := gone(h.iot.DeletePolicyVersion(r.PhysicalID, v.ID)); err != nil {
			return err
		}
	}
	err = gone(h.iot.DeletePolicy(r.PhysicalID))
	if err == nil {
		return nil
	}
	targets, problem := h.iot.ListTargetsForPolicy(r.PhysicalID)
	for _, target := range targets {
		err = fmt.Errorf("%w; attached is %[2]s: aws iot detach-policy --policy-name %[3]s --target %[2]s", err, target, r.PhysicalID)
	}
	return errors.Join(err, problem)
}

func (iotPolicy) result(p iot.Policy) result {
	return result{PhysicalID: p.Name, Attributes: map[string]any{"Arn": p.ARN, "Id": p.Name}}
}

func (h iotPolicy) drift(r request, p iotPolicyProperties) (cloudformation.Drift, error) {
	now, err := h.iot.GetPolicy(r.PhysicalID)
	return driftOf(err, now.Document == string(p.PolicyDocument))
}
