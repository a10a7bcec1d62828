package iam

import (
	_ "embed"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/policy"
)

// Quotas of a role (IAM user guide, "IAM and AWS STS quotas"). Sizes are without
// white space.
const (
	maxTrustBytes      = 2048
	maxInlineBytes     = 10240 // of all inline policies together
	maxManagedPolicies = 10
)

func exceeded(format string, args ...any) error {
	return &awsapi.Error{Code: "LimitExceeded", Status: http.StatusConflict, Message: fmt.Sprintf(format, args...)}
}

func malformed(err error) error { return awsapi.Errorf("MalformedPolicyDocument", "%v", err) }

// parseTrust reads the trust policy of a role. Roles of this account that it names
// must exist; s.mu is held.
func (s *Service) parseTrust(document string) (*policy.Document, error) {
	if policy.Size(document) > maxTrustBytes {
		return nil, exceeded("Cannot exceed quota for ACLSizePerRole: %d", maxTrustBytes)
	}
	parsed, err := policy.ParseTrust([]byte(document))
	if err == nil {
		err = parsed.Check(policy.Rules{
			Key: policy.KnownInIAM, Service: servicePrincipal, Account: s.principal,
			Action: func(action string) string {
				if action != "*" && !strings.HasPrefix(action, "sts:") {
					return "AssumeRole policy may only specify STS AssumeRole actions"
				}
				return ""
			},
		})
	}
	if err != nil {
		return nil, malformed(err)
	}
	return parsed, nil
}

// parseInline reads a policy of a role.
func parseInline(document string) (*policy.Document, error) {
	parsed, err := policy.ParseIdentity([]byte(document))
	if err == nil {
		err = parsed.Check(policy.Rules{Key: policy.KnownInIAM, Action: vendor, Resource: isResource, ResourceWords: "Resource %s must be in ARN format or \"*\"."})
	}
	if err != nil {
		return nil, malformed(err)
	}
	return parsed, nil
}

// vendor says what is wrong with an action's form. Which actions a service has is not
// asked: AWS takes those that it does not know.
func vendor(action string) string {
	service, name, found := strings.Cut(action, ":")
	switch {
	case action == "*":
		return ""
	case !found:
		return "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
	case strings.Contains(name, ":"):
		return "Actions/Condition can contain only one colon."
	case !vendorName.MatchString(service):
		return "Vendor " + service + " is not valid"
	}
	return ""
}

var vendorName = regexp.MustCompile(`^[a-z0-9-]+$`)

// partitions are those of AWS (AWS general reference, ARNs).
var partitions = []string{"aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"}

func isResource(resource string) bool {
	parts := strings.SplitN(resource, ":", 6)
	wild := strings.ContainsAny(resource, "*?") || strings.Contains(resource, "${")
	switch {
	case resource == "*":
		return true
	case parts[0] != "arn" || len(parts) < 6 && !wild:
		return false
	}
	return len(parts) < 2 || slices.Contains(partitions, parts[1]) || strings.ContainsAny(parts[1], "*?$")
}

//go:embed principals.txt
var principalsText string

//go:embed managed.txt
var managedText string

func listed(text string) map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(text) {
		if name := strings.TrimSpace(line); !strings.HasPrefix(name, "#") {
			names[name] = true
		}
	}
	return names
}

var servicePrincipals, managedPolicies = listed(principalsText), listed(managedText)

var regionOf = regexp.MustCompile(`\.[a-z]{2}(-[a-z]+)+-\d$`)

// servicePrincipal reports whether a service principal exists: iot.amazonaws.com,
// or with a region logs.us-east-1.amazonaws.com.
func servicePrincipal(principal string) bool {
	name, ok := strings.CutSuffix(strings.TrimSuffix(principal, ".cn"), ".amazonaws.com")
	if !ok {
		return strings.HasSuffix(principal, ".amazon.com") // Alexa's, and other of Amazon's
	}
	return servicePrincipals[name] || servicePrincipals[regionOf.ReplaceAllString(name, "")]
}

var (
	accountPrincipal = regexp.MustCompile(`^(\d{12}|arn:aws[a-z-]*:(iam|sts)::\d{12}:.+|A[A-Z]{3}[A-Z0-9]{12,})$`)
	roleARN          = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(\d{12}):(role|user|root)(/.*)?$`)
)

// principal reports whether a principal of type AWS can exist: a role of this
// account must. There are no users here but whoever signs requests; s.mu is held.
func (s *Service) principal(value string) bool {
	if value == "*" {
		return true
	}
	if m := roleARN.FindStringSubmatch(value); m != nil && m[1] == s.account.ID && m[2] == "role" {
		r, ok := s.roles[value[strings.LastIndex(value, "/")+1:]]
		return ok && r.ARN == value
	}
	return accountPrincipal.MatchString(value)
}

// checkManaged returns an error for a managed policy that does not exist, or too many.
func checkManaged(arns []string) error {
	for _, arn := range arns {
		name, ok := strings.CutPrefix(arn, "arn:aws:iam::aws:policy/")
		if !ok || !managedPolicies[name] {
			return awsapi.NotFoundf("NoSuchEntity", "Policy %s does not exist or is not attachable.", arn)
		}
	}
	if len(arns) > maxManagedPolicies {
		return exceeded("Cannot exceed quota for PoliciesPerRole: %d", maxManagedPolicies)
	}
	return nil
}
