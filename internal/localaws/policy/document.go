package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Limits of what Parse reads, far above AWS's own (6,144 characters for a
// managed policy) and far below what would hurt.
const maxDocumentBytes = 128 * 1024

// A Document is a parsed policy.
type Document struct {
	statements []statement
	trust      bool // of a role
}

type statement struct {
	sid          string
	effect       Decision
	principals   principals
	actions      patterns
	resources    patterns
	hasResources bool
	conditions   []condition
}

// patterns is an Action or Resource element, or its Not form.
type patterns struct {
	any    []pattern
	negate bool
}

// principals is a Principal element: type ("AWS", "Service", "*") to values.
type principals map[string][]string

// list is a string or an array of strings, as policies write them.
type list []string

func (l *list) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*l = list{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return fmt.Errorf("must be a string or an array of strings, is %.40s", b)
	}
	*l = many
	return nil
}

type statementJSON struct {
	Sid          string
	Effect       string
	Principal    json.RawMessage
	NotPrincipal json.RawMessage
	Action       list
	NotAction    list
	Resource     list
	NotResource  list
	Condition    map[string]map[string]conditionValues
}

// Size is how many characters a document has without white space, which is what
// AWS's limits count.
func Size(document string) int {
	n := 0
	for _, r := range document {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// ParseIdentity reads a policy of whoever it is attached to: a role, or a
// certificate in AWS IoT. Its statements have resources and no principals (IAM
// user guide, "Identity-based policies and resource-based policies").
func ParseIdentity(doc []byte) (*Document, error) {
	return parseWith(doc, func(s statement) error {
		switch {
		case s.principals != nil:
			return errors.New("the element Principal has no place in a policy that is attached to its principals")
		case !s.hasResources:
			return errors.New("the element Resource is missing")
		}
		return nil
	})
}

// ParseTrust reads the trust policy of a role. Its statements have principals,
// and no resources: they speak of the role itself.
func ParseTrust(doc []byte) (*Document, error) {
	d, err := parseWith(doc, func(s statement) error {
		switch {
		case s.principals == nil:
			return errors.New("the element Principal is missing")
		case s.hasResources:
			return errors.New("the element Resource has no place in a trust policy")
		}
		return nil
	})
	if err == nil {
		d.trust = true
	}
	return d, err
}

// ParseResource reads the policy of a resource, such as an SNS topic. Its statements
// have principals and resources.
func ParseResource(doc []byte) (*Document, error) {
	return parseWith(doc, func(s statement) error {
		switch {
		case s.principals == nil:
			return errors.New("the element Principal is missing")
		case !s.hasResources:
			return errors.New("the element Resource is missing")
		}
		return nil
	})
}

func parseWith(doc []byte, check func(statement) error) (*Document, error) {
	d, err := Parse(doc)
	if err != nil {
		return nil, err
	}
	for i, s := range d.statements {
		if err := check(s); err != nil {
			return nil, fmt.Errorf("policy statement %d: %w", i+1, err)
		}
	}
	return d, nil
}

// Parse reads a policy document of any kind. Its errors name the element at
// fault; elements that this package does not evaluate are errors, never ignored.
func Parse(doc []byte) (*Document, error) {
	if len(doc) > maxDocumentBytes {
		return nil, fmt.Errorf("policy has %d bytes, at most %d are read", len(doc), maxDocumentBytes)
	}
	var raw struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := strictJSON(doc, &raw); err != nil {
		return nil, fmt.Errorf("policy is not valid: %w", err)
	}
	if raw.Version != "" && raw.Version != versionWithVariables && raw.Version != "2008-10-17" {
		return nil, fmt.Errorf("policy version %q: use %s", raw.Version, versionWithVariables)
	}
	if len(raw.Statement) == 0 {
		return nil, fmt.Errorf("policy has no Statement")
	}
	var statements []json.RawMessage
	if bytes.HasPrefix(bytes.TrimSpace(raw.Statement), []byte("{")) {
		statements = []json.RawMessage{raw.Statement}
	} else if err := json.Unmarshal(raw.Statement, &statements); err != nil {
		return nil, fmt.Errorf("policy Statement must be an object or an array: %w", err)
	}
	if len(statements) == 0 {
		return nil, fmt.Errorf("policy has no Statement")
	}
	d := &Document{}
	sids := map[string]bool{}
	for i, s := range statements {
		parsed, err := parseStatement(s, raw.Version == versionWithVariables)
		if err != nil {
			return nil, fmt.Errorf("policy statement %d: %w", i+1, err)
		}
		if parsed.sid != "" && sids[parsed.sid] {
			return nil, fmt.Errorf("Statement IDs (SID) in a single policy must be unique: %q", parsed.sid) //nolint:staticcheck // AWS's words
		}
		sids[parsed.sid] = true
		d.statements = append(d.statements, parsed)
	}
	return d, nil
}

// versionWithVariables is the version of the language that has policy variables;
// in the older one, which is the default, ${...} is text (IAM user guide, "IAM
// JSON policy elements: Version").
const versionWithVariables = "2012-10-17"

func (in *statementJSON) escapeVariables() {
	lists := []list{in.Action, in.NotAction, in.Resource, in.NotResource}
	for _, keys := range in.Condition {
		for _, values := range keys {
			lists = append(lists, list(values))
		}
	}
	for _, list := range lists {
		for i := range list {
			list[i] = strings.ReplaceAll(list[i], "${", "${$}{")
		}
	}
}

func parseStatement(raw json.RawMessage, hasVariables bool) (statement, error) {
	var in statementJSON
	if err := strictJSON(raw, &in); err != nil {
		return statement{}, err
	}
	if !hasVariables {
		in.escapeVariables()
	}
	for _, actions := range []list{in.Action, in.NotAction} { // which Evaluate has in lower case, too
		for i := range actions {
			actions[i] = strings.ToLower(actions[i])
		}
	}
	s := statement{sid: in.Sid}
	switch in.Effect {
	case "Allow":
		s.effect = Allow
	case "Deny":
		s.effect = ExplicitDeny
	default:
		return s, fmt.Errorf("the Effect %q must be Allow or Deny", in.Effect)
	}
	if in.NotPrincipal != nil {
		return s, fmt.Errorf("the element NotPrincipal is not supported here")
	}
	var err error
	if s.principals, err = parsePrincipals(in.Principal); err != nil {
		return s, err
	}
	if s.actions, err = parsePatterns("Action", in.Action, in.NotAction); err != nil {
		return s, err
	}
	if in.Action == nil && in.NotAction == nil {
		return s, fmt.Errorf("the element Action is missing")
	}
	if s.resources, err = parsePatterns("Resource", in.Resource, in.NotResource); err != nil {
		return s, err
	}
	s.hasResources = in.Resource != nil || in.NotResource != nil
	for operator, keys := range in.Condition {
		for key, values := range keys {
			c, err := parseCondition(operator, key, values)
			if err != nil {
				return s, err
			}
			s.conditions = append(s.conditions, c)
		}
	}
	return s, nil
}

func parsePatterns(name string, plain, not list) (patterns, error) {
	if plain != nil && not != nil {
		return patterns{}, fmt.Errorf("the elements %s and Not%s exclude each other", name, name)
	}
	if not != nil {
		return patterns{any: newPatterns(not), negate: true}, nil
	}
	return patterns{any: newPatterns(plain)}, nil
}

func parsePrincipals(raw json.RawMessage) (principals, error) {
	if raw == nil {
		return nil, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if text != "*" {
			return nil, fmt.Errorf("the Principal %q must be \"*\" or an object", text)
		}
		return principals{"*": {"*"}}, nil
	}
	var byType map[string]list
	if err := json.Unmarshal(raw, &byType); err != nil {
		return nil, fmt.Errorf("the Principal is not valid: %w", err)
	}
	p := principals{}
	for kind, values := range byType {
		if kind != "AWS" && kind != "Service" && kind != "Federated" {
			return nil, fmt.Errorf("the principal type %q is not one of AWS, Service, Federated", kind)
		}
		p[kind] = values
	}
	return p, nil
}

// strictJSON decodes one JSON value and refuses unknown keys and what follows it.
func strictJSON(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("something follows the end of the document")
	}
	return nil
}

// matches reports whether one of the patterns covers s.
func (p patterns) matches(s string, vars vars) bool {
	for _, one := range p.any {
		if globMatch(one, s, vars) {
			return !p.negate
		}
	}
	return p.negate
}
