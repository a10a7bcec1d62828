package localaws

import (
	"encoding/json"
	"errors"

	"lastwill/internal/localaws/iam"
)

type roleProperties struct {
	AssumeRolePolicyDocument    json.RawMessage
	Description, Path, RoleName string
	ManagedPolicyArns           []string
	Policies                    []struct {
		PolicyName     string
		PolicyDocument json.RawMessage
	}
	Tags tagList
}

func (p roleProperties) input(r request) iam.RoleInput {
	return iam.RoleInput{
		Name: p.RoleName, Path: p.Path, Description: p.Description, TrustPolicy: string(p.AssumeRolePolicyDocument),
		ManagedPolicies: p.ManagedPolicyArns, Tags: p.Tags.with(r.Tags),
	}
}

func (s *Server) createRole(r request) (result, error) {
	p, err := decode[roleProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	p.RoleName = named(p.RoleName, r, 64)
	role, err := s.IAM.CreateRole(p.input(r))
	if err != nil {
		return result{}, err
	}
	for _, inline := range p.Policies {
		if err := s.IAM.PutRolePolicy(role.Name, inline.PolicyName, string(inline.PolicyDocument)); err != nil {
			r.PhysicalID = role.Name
			return result{}, errors.Join(err, s.deleteRole(r))
		}
	}
	return roleResult(role), nil
}

func (s *Server) updateRole(r request) (result, error) {
	p, err := decode[roleProperties](r.Properties)
	if err != nil {
		return result{}, err
	}
	before, err := decode[roleProperties](r.Previous)
	if err != nil {
		return result{}, err
	}
	p.RoleName = r.PhysicalID
	role, err := s.IAM.UpdateRole(p.input(r))
	if err != nil {
		return result{}, err
	}
	// Policies that others put on the role stay: they are resources of their own.
	for _, inline := range before.Policies {
		if err := gone(s.IAM.DeleteRolePolicy(role.Name, inline.PolicyName)); err != nil {
			return result{}, err
		}
	}
	for _, inline := range p.Policies {
		if err := s.IAM.PutRolePolicy(role.Name, inline.PolicyName, string(inline.PolicyDocument)); err != nil {
			return result{}, err
		}
	}
	return roleResult(role), nil
}

func roleResult(r iam.Role) result {
	return result{PhysicalID: r.Name, Attributes: map[string]any{"Arn": r.ARN, "RoleId": r.ID}}
}

func (s *Server) deleteRole(r request) error {
	p, err := decode[roleProperties](r.Properties)
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

type rolePolicy struct {
	PolicyDocument json.RawMessage
	PolicyName     string
	Roles          []string
}

func (s *Server) createRolePolicy(r request) (result, error) {
	p, err := decode[rolePolicy](r.Properties)
	if err != nil {
		return result{}, err
	}
	for _, role := range p.Roles {
		if err := s.IAM.PutRolePolicy(role, p.PolicyName, string(p.PolicyDocument)); err != nil {
			return result{}, err
		}
	}
	return result{PhysicalID: r.GeneratedName(128)}, nil
}

func (s *Server) deleteRolePolicy(r request) error {
	p, err := decode[rolePolicy](r.Properties)
	if err != nil {
		return err
	}
	for _, role := range p.Roles {
		if err := gone(s.IAM.DeleteRolePolicy(role, p.PolicyName)); err != nil {
			return err
		}
	}
	return nil
}
