package resources

import (
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iam"
)

type rolePolicyProperties struct {
	PolicyDocument document `cfn:"required"`
	PolicyName     string   `cfn:"required"`
	Roles          []string `cfn:"required"`
}

type rolePolicy struct{ iam *iam.Service }

func (h rolePolicy) create(r request, p rolePolicyProperties) (result, error) {
	for _, role := range p.Roles {
		if err := h.iam.PutRolePolicy(role, p.PolicyName, string(p.PolicyDocument)); err != nil {
			return result{}, err
		}
	}
	return result{PhysicalID: r.GeneratedName(128)}, nil
}

func (h rolePolicy) remove(_ request, p rolePolicyProperties) error {
	for _, role := range p.Roles {
		if err := gone(h.iam.DeleteRolePolicy(role, p.PolicyName)); err != nil {
			return err
		}
	}
	return nil
}

func (h rolePolicy) drift(_ request, p rolePolicyProperties) (cloudformation.Drift, error) {
	for _, name := range p.Roles {
		role, err := h.iam.GetRole(name)
		if drift, err := driftOf(err, role.Policies[p.PolicyName] == string(p.PolicyDocument)); drift != "" || err != nil {
			return drift, err
		}
	}
	return "", nil
}
