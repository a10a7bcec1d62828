package policy

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// Rules are what one service asks of a document beyond the language.
type Rules struct {
	// Key reports whether requests have a condition key or variable, given in lower
	// case, or can truly not have it. Any other is refused by name: a Deny that asks
	// for it would silently never hold.
	Key func(key string) bool
	// Action returns what is wrong with an action in lower case, or "". Default:
	// nothing is.
	Action func(action string) string
	// Resource reports whether a resource is one; ResourceWords say that some, %s, are
	// not. Default: each is.
	Resource      func(resource string) bool
	ResourceWords string
	// Service reports whether a service principal exists. Default: each does.
	Service func(principal string) bool
	// Account reports whether a principal of type AWS can exist. Default: each can.
	Account func(principal string) bool
}

// Check returns the first thing in the document that a service does not take.
func (d *Document) Check(rules Rules) error {
	for i := range d.statements {
		if err := d.statements[i].check(rules); err != nil {
			return err
		}
	}
	return nil
}

func (s *statement) check(rules Rules) error {
	for _, a := range s.actions.any {
		if rules.Action != nil {
			if wrong := rules.Action(a.text); wrong != "" {
				return fmt.Errorf("%s: %q", wrong, a.text)
			}
		}
	}
	var invalid []string
	for _, r := range s.resources.any {
		if rules.Resource != nil && !rules.Resource(r.text) {
			invalid = append(invalid, r.text)
		}
	}
	if len(invalid) > 0 {
		return fmt.Errorf(rules.ResourceWords, strings.Join(invalid, ", "))
	}
	for _, value := range s.principals["Service"] {
		if rules.Service != nil && !rules.Service(value) {
			return fmt.Errorf("Invalid principal in policy: \"SERVICE\":%q", value) //nolint:staticcheck // AWS's words
		}
	}
	for _, value := range s.principals["AWS"] {
		if rules.Account != nil && !rules.Account(value) {
			return fmt.Errorf("Invalid principal in policy: \"AWS\":%q", value) //nolint:staticcheck // AWS's words
		}
	}
	patterns := slices.Clone(s.resources.any)
	for _, c := range s.conditions {
		if !rules.Key(strings.ToLower(c.key)) {
			return fmt.Errorf("the condition key %q does not exist or is not supported here", c.key)
		}
		patterns = append(patterns, c.values...)
	}
	return checkVariables(patterns, rules.Key)
}

func checkVariables(patterns []pattern, known func(string) bool) error {
	for _, p := range patterns {
		for _, rest, ok := strings.Cut(p.text, "${"); ok; _, rest, ok = strings.Cut(rest, "${") {
			name, _, closed := strings.Cut(rest, "}")
			key, _, _ := strings.Cut(name, ",")
			key = strings.TrimSpace(key)
			if !closed || key != "*" && key != "?" && key != "$" && !known(strings.ToLower(key)) {
				return fmt.Errorf("the policy variable ${%s} in %q does not exist or is not supported here", key, p.text)
			}
		}
	}
	return nil
}

// here are the services whose requests this endpoint decides on: it must have
// the values of their condition keys.
var here = []string{"aws", "iot", "iotjobsdata", "sns", "sqs", "s3", "sts", "iam", "logs", "cloudwatch", "lambda", "ssm", "cloudformation", "ecr"}

//go:embed services.txt
var servicesText string

var services = func() map[string]bool {
	names := map[string]bool{"cognito-identity.amazonaws.com": true, "saml": true, "accounts.google.com": true, "graph.facebook.com": true, "www.amazon.com": true}
	for line := range strings.Lines(servicesText) {
		if name := strings.TrimSpace(line); !strings.HasPrefix(name, "#") {
			names[name] = true
		}
	}
	return names
}()

// Elsewhere reports whether a condition key, in lower case, belongs to a service
// that is not here. Requests that are decided here do not have it, as they would
// not on AWS.
func Elsewhere(key string) bool {
	service, name, _ := strings.Cut(key, ":")
	return name != "" && services[service] && !slices.Contains(here, service)
}

// iamKeys are the condition keys that requests have here, and those that no request
// of this endpoint has on AWS either: it knows no VPC, organization or federation.
// Those that end in a slash stand for all that begin so (IAM user guide, "AWS global
// condition context keys").
var iamKeys = []string{
	"aws:currenttime", "aws:epochtime", "aws:requestedregion", "aws:securetransport",
	"aws:principalaccount", "aws:principalarn", "aws:principaltype", "aws:principaltag/", "aws:userid",
	"aws:resourceaccount", "s3:resourceaccount", "aws:sourceaccount", "aws:sourcearn", "aws:sourceowner",
	"sts:externalid", "sts:rolesessionname",
	"aws:username", "aws:principalorgid", "aws:principalorgpaths", "aws:resourceorgid", "aws:resourceorgpaths",
	"aws:sourceorgid", "aws:sourceorgpaths", "aws:sourcevpc", "aws:sourcevpce", "aws:sourcevpcarn", "aws:vpcsourceip",
	"aws:vpceaccount", "aws:vpceorgid", "aws:vpceorgpaths", "aws:federatedprovider", "aws:ec2instancesourcevpc", "aws:ec2instancesourceprivateipv4",
	"aws:referer",
}

// KnownInIAM reports whether a condition key of IAM policies, trust policies and
// policies of resources, in lower case, can be decided on here.
func KnownInIAM(key string) bool { return has(iamKeys, key) || Elsewhere(key) }

func has(keys []string, key string) bool {
	return slices.ContainsFunc(keys, func(known string) bool {
		if strings.HasSuffix(known, "/") {
			return strings.HasPrefix(key, known) && key != known
		}
		return key == known
	})
}
