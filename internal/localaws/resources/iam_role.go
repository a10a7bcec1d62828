package resources

import (
	"errors"

	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iam"
)

type roleProperties struct {
	AssumeRolePolicyDocument document `cfn:"required"`
	Description              string
	ManagedPolicyArns        []string
	Path                     string `cfn:"immutable"`
	PermissionsBoundary      string
	Policies                 []struct {
		PolicyName     string   `cfn:"required"`
		PolicyDocument document `cfn:"required"`
	}
	RoleName string `cfn:"immutable"`
	Tags     tagList
}

func (p roleProperties) input(name string, r request) iam.RoleInput {
	return iam.RoleInput{
		Name: name, Path: p.Path, Description: p.Description, TrustPolicy: string(p.AssumeRolePolicyDocument),
		ManagedPolicies: p.ManagedPolicyArns, Tags: p.Tags.with(r.Tags),
	}
}

type role struct{ iam *iam.Service }

func (h role) create(r request, p roleProperties) (result, error) {
	created, err := h.iam.CreateRole(p.input(named(p.RoleName, r, 64), r))
	if err != nil {
		return result{}, err
	}
	if err := h.putPolicies(created.Name, p); err != nil {
		r.PhysicalID = created.Name
		return result{}, errors.Join(err, h.remove(r, p))
	}
	return h.result(created), nil
}

// update leaves policies that others put on the role: they are resources of their own.
func (h role) update(r request, p, before roleProperties) (result, error) {
	updated, err := h.iam.UpdateRole(p.input(r.PhysicalID, r))
	if err != nil {
		return result{}, err
	}
	if err := h.deletePolicies(updated.Name, before); err != nil {
		return result{}, err
	}
	return h.result(updated), h.putPolicies(updated.Name, p)
}

func (h role) remove(r request, p roleProperties) error {
	if err := h.deletePolicies(r.PhysicalID, p); err != nil {
		return err
	}
	return gone(h.iam.DeleteRole(r.PhysicalID))
}

func (h role) putPolicies(name string, p roleProperties) error {
	for _, inline := range p.Policies {
		if err := h.iam.PutRolePolicy(name, inline.PolicyName, string(inline.PolicyDocument)); err != nil {
			return err
		}
	}
	return nil
}

func (h role) deletePolicies(name string, p roleProperties) error {
	for _, inline := range p.Policies {
		if err := gone(h.iam.DeleteRolePolicy(name, inline.PolicyName)); err != nil {
			return err
		}
	}
	return nil
}

func (role) result(r iam.Role) result {
	return result{PhysicalID: r.Name, Attributes: map[string]any{"Arn": r.ARN, "RoleId": r.ID}}
}

func (h role) drift(r request, p roleProperties) (cloudformation.Drift, error) {
	now, err := h.iam.GetRole(r.PhysicalID)
	same := now.TrustPolicy == string(p.AssumeRolePolicyDocument)
	for _, inline := range p.Policies {
		same = same && now.Policies[inline.PolicyName] == string(inline.PolicyDocument)
	}
	return driftOf(err, same)
}
