package policy

import "strings"

// Evaluate says what the document has to say of a request. A statement without
// a Principal element applies to whoever the policy is attached to.
func (d *Document) Evaluate(r Request) Decision {
	r.Action = strings.ToLower(r.Action)
	result := ImplicitDeny
	for i := range d.statements {
		s := &d.statements[i]
		if s.effect > result && s.applies(r) {
			result = s.effect
		}
	}
	return result
}

func (s *statement) applies(r Request) bool {
	vars := vars(r.Context)
	if s.principals != nil && !s.principals.matches(r.Principal) {
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
		if !c.holds(vars) {
			return false
		}
	}
	return true
}

func (p principals) matches(who Principal) bool {
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
				// An account, by number or as its root ARN, stands for all its principals.
				if who.ARN == value && value != "" || who.Account != "" && (value == who.Account || isRootOf(value, who.Account)) {
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
