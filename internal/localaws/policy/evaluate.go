package policy

import (
	"maps"
	"strconv"
	"strings"
	"time"
)

// Evaluate says what the document has to say of a request. A statement without
// a Principal element applies to whoever the policy is attached to.
func (d *Document) Evaluate(r Request) Decision {
	r.Action = strings.ToLower(r.Action)
	r.Context = r.context()
	result := ImplicitDeny
	for i := range d.statements {
		s := &d.statements[i]
		if s.effect > result && s.applies(&r, d.trust) {
			result = s.effect
		}
	}
	return result
}

// context is all that the request, its principal and the clock have to say.
func (r *Request) context() map[string]string {
	at := time.Now().UTC()
	context := map[string]string{"aws:CurrentTime": at.Format(time.RFC3339), "aws:EpochTime": strconv.FormatInt(at.Unix(), 10)}
	maps.Copy(context, r.Principal.Context)
	maps.Copy(context, r.Context)
	return context
}

func (s *statement) applies(r *Request, trust bool) bool {
	vars := vars(r.Context)
	// That a resource's policy allows it to the account leaves it to the policies of
	// the account's principals (IAM user guide, "Policy evaluation logic").
	account := trust || s.effect == ExplicitDeny
	if s.principals != nil && !s.principals.matches(r.Principal, account) {
		return false
	}
	if !s.actions.matches(r.Action, vars) {
		return false
	}
	// Trust policies have no Resource: they speak of the role itself.
	if s.hasResources && !s.resources.matches(r.Resource, vars) {
		return false
	}
	for _, c := range s.conditions {
		if !c.holds(r) {
			return false
		}
	}
	return true
}

// matches reports whether the principals are who asks; account tells that their
// account stands for them.
func (p principals) matches(who Principal, account bool) bool {
	for kind, values := range p {
		for _, value := range values {
			switch {
			case value == "*":
				if kind != "Service" {
					return true
				}
			case kind == "Service":
				if who.Service == value {
					return true
				}
			case kind == "AWS":
				if value != "" && (value == who.ARN || value == who.Role) {
					return true
				}
				// An account, by number or as its root ARN, stands for all its principals.
				if account && who.Account != "" && (value == who.Account || isRootOf(value, who.Account)) {
					return true
				}
			}
		}
	}
	return false
}

func isRootOf(arn, account string) bool {
	rest, ok := strings.CutSuffix(arn, ":iam::"+account+":root")
	return ok && strings.HasPrefix(rest, "arn:")
}
