// Package iam keeps roles and their inline policies, lets services assume the
// roles that trust them, and decides what an assumed role may do.
//
// Known differences from AWS: roles are made by stacks only; there are no users,
// groups or managed policies of the account's own, what AWS's managed policies
// allow is not known (they allow nothing), and permissions boundaries are not asked.
package iam

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

// A Role as callers see it: a copy.
type Role struct {
	Name, Path, ARN, ID, Description string
	// TrustPolicy says who may assume the role.
	TrustPolicy string
	// Policies are the inline policies by name.
	Policies map[string]string
	// ManagedPolicies are ARNs of AWS's own policies. What they allow is not known
	// here, so they allow nothing.
	ManagedPolicies []string
	Tags            awsapi.Tags
	Created         time.Time
}

type role struct {
	Role
	trust    *policy.Document
	policies map[string]*policy.Document
}

// A Service holds the roles of one account.
type Service struct {
	account awsapi.Account

	mu    sync.RWMutex
	roles map[string]*role // by name
}

// New returns a Service without roles.
func New(account awsapi.Account) *Service {
	return &Service{account: account, roles: map[string]*role{}}
}

// RoleInput describes a role to create.
type RoleInput struct {
	Name, Path, Description, TrustPolicy string
	ManagedPolicies                      []string
	Tags                                 awsapi.Tags
}

var (
	roleName = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	rolePath = regexp.MustCompile(`^/([!-~]+/)?$`)
)

// CreateRole creates a role.
func (s *Service) CreateRole(in RoleInput) (Role, error) {
	if !roleName.MatchString(in.Name) {
		return Role{}, awsapi.Errorf("ValidationError", "role name %q must have 1 to 64 characters out of letters, digits and _+=,.@-", in.Name)
	}
	if err := checkManaged(in.ManagedPolicies); err != nil {
		return Role{}, err
	}
	in.Path = cmp.Or(in.Path, "/")
	if !rolePath.MatchString(in.Path) {
		return Role{}, awsapi.Errorf("ValidationError", "path %q must begin and end with a slash", in.Path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	trust, err := s.parseTrust(in.TrustPolicy)
	if err != nil {
		return Role{}, err
	}
	if _, ok := s.roles[in.Name]; ok {
		return Role{}, awsapi.Conflictf("EntityAlreadyExists", "Role with name %s already exists.", in.Name)
	}
	r := &role{
		Role: Role{
			Name: in.Name, Path: in.Path, Description: in.Description, TrustPolicy: in.TrustPolicy,
			ARN: s.account.GlobalARN("iam", "role"+in.Path+in.Name), ID: "AROA" + strings.ToUpper(awsapi.NewHex(8)),
			ManagedPolicies: slices.Clone(in.ManagedPolicies), Tags: maps.Clone(in.Tags), Created: time.Now().UTC(),
		},
		trust: trust, policies: map[string]*policy.Document{},
	}
	s.roles[in.Name] = r
	return r.copy(), nil
}

// UpdateRole changes all of a role but its name, path and inline policies.
func (s *Service) UpdateRole(in RoleInput) (updated Role, err error) {
	if err := checkManaged(in.ManagedPolicies); err != nil {
		return Role{}, err
	}
	err = s.change(in.Name, func(r *role) error {
		trust, err := s.parseTrust(in.TrustPolicy)
		if err != nil {
			return err
		}
		r.trust, r.TrustPolicy, r.Description = trust, in.TrustPolicy, in.Description
		r.ManagedPolicies, r.Tags = slices.Clone(in.ManagedPolicies), maps.Clone(in.Tags)
		updated = r.copy()
		return nil
	})
	return updated, err
}

// PutRolePolicy sets an inline policy of a role.
func (s *Service) PutRolePolicy(roleName, name, document string) error {
	inline, err := parseInline(document)
	if err != nil {
		return err
	}
	return s.change(roleName, func(r *role) error {
		size := policy.Size(document)
		for other, text := range r.Policies {
			if other != name {
				size += policy.Size(text)
			}
		}
		if size > maxInlineBytes {
			return exceeded("Maximum policy size of %d bytes exceeded for role %s", maxInlineBytes, roleName)
		}
		r.policies[name] = inline
		if r.Policies == nil {
			r.Policies = map[string]string{}
		}
		r.Policies[name] = document
		return nil
	})
}

// DeleteRolePolicy removes an inline policy of a role.
func (s *Service) DeleteRolePolicy(roleName, name string) error {
	return s.change(roleName, func(r *role) error {
		if _, ok := r.policies[name]; !ok {
			return awsapi.NotFoundf("NoSuchEntity", "The role policy with name %s cannot be found.", name)
		}
		delete(r.policies, name)
		delete(r.Policies, name)
		return nil
	})
}

// DeleteRole removes a role that has no inline policies left.
func (s *Service) DeleteRole(name string) error {
	return s.change(name, func(r *role) error {
		if len(r.policies) > 0 {
			return awsapi.Conflictf("DeleteConflict", "Cannot delete entity, must delete policies first.")
		}
		delete(s.roles, name)
		return nil
	})
}

// GetRole returns a role.
func (s *Service) GetRole(name string) (Role, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, err := s.get(name)
	if err != nil {
		return Role{}, err
	}
	return r.copy(), nil
}

// ListRoles returns all roles by name.
func (s *Service) ListRoles() []Role {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Role, 0, len(s.roles))
	for _, name := range slices.Sorted(maps.Keys(s.roles)) {
		out = append(out, s.roles[name].copy())
	}
	return out
}

// Assume lets a service act as a role. The role's trust policy is asked with
// the given context keys, such as aws:SourceArn.
func (s *Service) Assume(arn, service string, context map[string]string) (policy.Identity, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, err := s.trusting(arn, policy.Principal{Service: service}, context)
	if err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(service, ".")
	return &session{service: s, role: r.Name, arn: s.sessionARN(r, name)}, nil
}

// Session is the identity of credentials that were given out for a role.
func (s *Service) Session(roleName, sessionARN string) policy.Identity {
	return &session{service: s, role: roleName, arn: sessionARN}
}

// AssumeAs lets somebody act as a role under a session name, and returns the
// session's ARN and unique id.
func (s *Service) AssumeAs(arn string, who policy.Principal, sessionName string, context map[string]string) (sessionARN, id string, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, err := s.trusting(arn, who, context)
	if err != nil {
		return "", "", err
	}
	return s.sessionARN(r, sessionName), r.ID + ":" + sessionName, nil
}

// trusting finds a role that somebody may assume; s.mu is held.
func (s *Service) trusting(arn string, who policy.Principal, context map[string]string) (*role, error) {
	refused := func(because string) error {
		return &awsapi.Error{
			Code: "AccessDenied", Status: http.StatusForbidden,
			Message: fmt.Sprintf("%s is not authorized to perform: sts:AssumeRole on resource: %s because %s", cmp.Or(who.ARN, who.Service), arn, because),
		}
	}
	name := arn[strings.LastIndex(arn, "/")+1:]
	r, ok := s.roles[name]
	if !ok || r.ARN != arn {
		return nil, refused("the role does not exist")
	}
	if who.Context == nil {
		who.Context = s.account.Context()
	}
	request := policy.Request{Principal: who, Action: "sts:AssumeRole", Resource: arn, Context: context}
	if r.trust.Evaluate(request) != policy.Allow {
		return nil, refused("its trust policy does not allow it")
	}
	return r, nil
}

func (s *Service) sessionARN(r *role, name string) string {
	return s.account.GlobalARN("sts", "assumed-role/"+r.Name+"/"+name)
}

// A session is an assumed role. It asks the role's policies as they are when it
// acts, not as they were when it began.
type session struct {
	service   *Service
	role, arn string
}

func (s *session) Principal() policy.Principal {
	s.service.mu.RLock()
	defer s.service.mu.RUnlock()
	return s.principal()
}

// principal is the session with its role's condition keys; service.mu is held.
func (s *session) principal() policy.Principal {
	account := s.service.account
	p := policy.Principal{ARN: s.arn, Account: account.ID, Context: account.Context()}
	r, ok := s.service.roles[s.role]
	if !ok {
		return p
	}
	p.Role = r.ARN
	maps.Copy(p.Context, map[string]string{
		"aws:PrincipalAccount": account.ID, "aws:PrincipalArn": r.ARN, "aws:PrincipalType": "AssumedRole",
		"aws:userid": r.ID + ":" + s.arn[strings.LastIndex(s.arn, "/")+1:],
	})
	for key, value := range r.Tags {
		p.Context["aws:PrincipalTag/"+key] = value
	}
	return p
}

func (s *session) Decide(r policy.Request) policy.Decision {
	s.service.mu.RLock()
	defer s.service.mu.RUnlock()
	r.Principal = s.principal()
	role, ok := s.service.roles[s.role]
	if !ok {
		return policy.ImplicitDeny
	}
	decision := policy.ImplicitDeny
	for _, p := range role.policies {
		decision = policy.Combine(decision, p.Evaluate(r))
	}
	return decision
}

func (s *Service) change(name string, f func(*role) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.get(name)
	if err != nil {
		return err
	}
	return f(r)
}

func (s *Service) get(name string) (*role, error) {
	r, ok := s.roles[name]
	if !ok {
		return nil, awsapi.NotFoundf("NoSuchEntity", "The role with name %s cannot be found.", name)
	}
	return r, nil
}

func (r *role) copy() Role {
	c := r.Role
	c.Policies = maps.Clone(r.Policies)
	c.Tags, c.ManagedPolicies = maps.Clone(r.Tags), slices.Clone(r.ManagedPolicies)
	return c
}
