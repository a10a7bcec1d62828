package api

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"lastwill/internal/iotsql"
	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/iot"
)

func iotFront(s Services) front {
	a := iotAPI{s.IoT}
	const principal = "X-Amzn-Principal"
	return restFront{service: "iot", routes: []route{
		{method: "GET", path: "/endpoint", name: "DescribeEndpoint", run: op(a.describeEndpoint)},

		{method: "POST", path: "/things/{thingName}", name: "CreateThing", run: op(a.createThing)},
		{method: "GET", path: "/things/{thingName}", name: "DescribeThing", run: op(a.describeThing)},
		{method: "GET", path: "/things", name: "ListThings", run: op(a.listThings)},
		{method: "DELETE", path: "/things/{thingName}", name: "DeleteThing", run: do(func(in namedThing) error { return a.service.DeleteThing(in.ThingName) })},
		{method: "PUT", path: "/things/{thingName}/principals", name: "AttachThingPrincipal", run: do(func(in thingPrincipal) error { return a.service.AttachThingPrincipal(in.ThingName, in.Principal) }), principalHeader: principal},
		{method: "DELETE", path: "/things/{thingName}/principals", name: "DetachThingPrincipal", run: do(func(in thingPrincipal) error { return a.service.DetachThingPrincipal(in.ThingName, in.Principal) }), principalHeader: principal},
		{method: "GET", path: "/things/{thingName}/principals", name: "ListThingPrincipals", run: op(a.listThingPrincipals)},

		{method: "POST", path: "/certificates", name: "CreateCertificateFromCsr", run: op(a.createCertificateFromCSR)},
		{method: "GET", path: "/certificates/{certificateId}", name: "DescribeCertificate", run: op(a.describeCertificate)},
		{method: "GET", path: "/certificates", name: "ListCertificates", run: op(a.listCertificates)},
		{method: "PUT", path: "/certificates/{certificateId}", name: "UpdateCertificate", run: do(func(in struct{ CertificateID, NewStatus string }) error {
			return a.service.UpdateCertificate(in.CertificateID, in.NewStatus)
		})},
		{method: "DELETE", path: "/certificates/{certificateId}", name: "DeleteCertificate", run: op(a.deleteCertificate)},

		{method: "POST", path: "/policies/{policyName}", name: "CreatePolicy", run: op(a.createPolicy)},
		{method: "GET", path: "/policies/{policyName}", name: "GetPolicy", run: op(a.getPolicy)},
		{method: "GET", path: "/policies", name: "ListPolicies", run: op(a.listPolicies)},
		{method: "DELETE", path: "/policies/{policyName}", name: "DeletePolicy", run: do(func(in namedPolicy) error { return a.service.DeletePolicy(in.PolicyName) })},
		{method: "POST", path: "/policies/{policyName}/version", name: "CreatePolicyVersion", run: op(a.createPolicyVersion)},
		{method: "GET", path: "/policies/{policyName}/version", name: "ListPolicyVersions", run: op(a.listPolicyVersions)},
		{method: "DELETE", path: "/policies/{policyName}/version/{policyVersionId}", name: "DeletePolicyVersion", run: do(func(in namedPolicyVersion) error {
			return a.service.DeletePolicyVersion(in.PolicyName, in.PolicyVersionID)
		})},
		{method: "PUT", path: "/target-policies/{policyName}", name: "AttachPolicy", run: do(func(in policyTarget) error { return a.service.AttachPolicy(in.PolicyName, in.Target) })},
		{method: "POST", path: "/target-policies/{policyName}", name: "DetachPolicy", run: do(func(in policyTarget) error { return a.service.DetachPolicy(in.PolicyName, in.Target) })},
		{method: "POST", path: "/policy-targets/{policyName}", name: "ListTargetsForPolicy", run: op(a.listTargetsForPolicy)},

		{method: "POST", path: "/rules/{ruleName}", name: "CreateTopicRule", run: op(a.createTopicRule), payload: true},
		{method: "GET", path: "/rules/{ruleName}", name: "GetTopicRule", run: op(a.getTopicRule)},
		{method: "GET", path: "/rules", name: "ListTopicRules", run: op(a.listTopicRules)},
		{method: "PATCH", path: "/rules/{ruleName}", name: "ReplaceTopicRule", run: op(a.replaceTopicRule), payload: true},
		{method: "POST", path: "/rules/{ruleName}/enable", name: "EnableTopicRule", run: do(func(in namedRule) error { return a.service.SetTopicRuleDisabled(in.RuleName, false) })},
		{method: "POST", path: "/rules/{ruleName}/disable", name: "DisableTopicRule", run: do(func(in namedRule) error { return a.service.SetTopicRuleDisabled(in.RuleName, true) })},
		{method: "DELETE", path: "/rules/{ruleName}", name: "DeleteTopicRule", run: do(func(in namedRule) error { return a.service.DeleteTopicRule(in.RuleName) })},

		{method: "GET", path: "/tags", name: "ListTagsForResource", run: op(a.listTagsForResource)},
	}}
}

type iotAPI struct{ service *iot.Service }

// maxIoTPage is the largest page of IoT's lists (API reference, maxResults and pageSize).
const maxIoTPage = 250

// describeEndpoint answers with host and port, as there is no port 8883 that is
// always free here; on AWS it is a bare host name.
func (a iotAPI) describeEndpoint(_ *call, in struct{ EndpointType string }) (out struct {
	EndpointAddress string `json:"endpointAddress"`
}, err error,
) {
	if !slices.Contains([]string{"", "iot:Data", "iot:Data-ATS"}, in.EndpointType) {
		return out, awsapi.Errorf("InvalidRequestException", "endpoint type %.100q is not supported by this local endpoint: it has iot:Data and iot:Data-ATS", in.EndpointType)
	}
	out.EndpointAddress = a.service.Address()
	return out, nil
}

// tagsOf makes tags of a list.
func tagsOf(list []tag) (awsapi.Tags, error) {
	tags := awsapi.Tags{}
	for _, t := range list {
		if _, twice := tags[t.Key]; twice || t.Key == "" {
			return nil, awsapi.Errorf("InvalidRequestException", "tag key %.200q is empty or there twice", t.Key)
		}
		tags[t.Key] = t.Value
	}
	return tags, nil
}

func (a iotAPI) listTagsForResource(_ *call, in struct{ ResourceArn, NextToken string }) (out struct {
	Tags []tag `json:"tags"`
}, err error,
) {
	tags, err := a.service.ListTagsForResource(in.ResourceArn)
	out.Tags = tagList(tags)
	return out, err
}

type attributePayload struct {
	Attributes map[string]string
	Merge      bool
}

func (a iotAPI) createThing(_ *call, in struct {
	ThingName        string
	AttributePayload attributePayload
},
) (out struct {
	ThingName string `json:"thingName"`
	ThingARN  string `json:"thingArn"`
	ThingID   string `json:"thingId"`
}, err error,
) {
	t, err := a.service.CreateThing(in.ThingName, in.AttributePayload.Attributes)
	out.ThingName, out.ThingARN, out.ThingID = t.Name, t.ARN, t.ID
	return out, err
}

type namedThing struct{ ThingName string }

func (a iotAPI) describeThing(_ *call, in namedThing) (out struct {
	DefaultClientID string            `json:"defaultClientId"`
	ThingName       string            `json:"thingName"`
	ThingID         string            `json:"thingId"`
	ThingARN        string            `json:"thingArn"`
	Attributes      map[string]string `json:"attributes"`
	Version         int               `json:"version"`
}, err error,
) {
	t, err := a.service.DescribeThing(in.ThingName)
	out.DefaultClientID, out.ThingName, out.ThingID, out.ThingARN = t.Name, t.Name, t.ID, t.ARN
	out.Attributes, out.Version = t.Attributes, t.Version
	return out, err
}

type listedThing struct {
	ThingName  string            `json:"thingName"`
	ThingARN   string            `json:"thingArn"`
	Attributes map[string]string `json:"attributes"`
	Version    int               `json:"version"`
}

func (a iotAPI) listThings(_ *call, in struct {
	AttributeName, AttributeValue, NextToken string
	MaxResults                               number
},
) (out struct {
	Things    []listedThing `json:"things"`
	NextToken string        `json:"nextToken,omitempty"`
}, err error,
) {
	things := slices.DeleteFunc(a.service.ListThings(), func(t iot.Thing) bool {
		return in.AttributeName != "" && t.Attributes[in.AttributeName] != in.AttributeValue
	})
	found, err := paginate(things, func(t iot.Thing) string { return t.Name }, in.NextToken, int(in.MaxResults), maxIoTPage)
	out.NextToken = found.next
	out.Things = transform(found.items, func(t iot.Thing) listedThing { return listedThing{t.Name, t.ARN, t.Attributes, t.Version} })
	return out, err
}

type thingPrincipal struct{ ThingName, Principal string }

// itself is the key of a list of texts.
func itself(s string) string { return s }

func (a iotAPI) listThingPrincipals(_ *call, in struct {
	ThingName, NextToken string
	MaxResults           number
},
) (out struct {
	Principals []string `json:"principals"`
	NextToken  string   `json:"nextToken,omitempty"`
}, err error,
) {
	principals, err := a.service.ListThingPrincipals(in.ThingName)
	if err != nil {
		return out, err
	}
	found, err := paginate(principals, itself, in.NextToken, int(in.MaxResults), maxIoTPage)
	out.Principals, out.NextToken = transform(found.items, itself), found.next
	return out, err
}

type createdCertificate struct {
	CertificateARN string `json:"certificateArn"`
	CertificateID  string `json:"certificateId"`
	CertificatePEM string `json:"certificatePem"`
}

func (a iotAPI) createCertificateFromCSR(_ *call, in struct {
	CertificateSigningRequest string
	SetAsActive               flag
},
) (createdCertificate, error) {
	c, err := a.service.CreateCertificateFromCSR(in.CertificateSigningRequest, bool(in.SetAsActive))
	return createdCertificate{c.ARN, c.ID, c.PEM}, err
}

type listedCertificate struct {
	CertificateARN  string    `json:"certificateArn"`
	CertificateID   string    `json:"certificateId"`
	Status          string    `json:"status"`
	CertificateMode string    `json:"certificateMode"`
	CreationDate    timestamp `json:"creationDate"`
}

func listed(c iot.Certificate) listedCertificate {
	mode := "DEFAULT"
	if c.WithoutCA {
		mode = "SNI_ONLY"
	}
	return listedCertificate{c.ARN, c.ID, c.Status, mode, timestamp(c.Created)}
}

type namedCertificate struct {
	CertificateID string
}

type validity struct {
	NotBefore timestamp `json:"notBefore"`
	NotAfter  timestamp `json:"notAfter"`
}

type certificateDescription struct {
	listedCertificate
	CertificatePEM string   `json:"certificatePem"`
	Validity       validity `json:"validity"`
}

func (a iotAPI) describeCertificate(c *call, in namedCertificate) (out struct {
	CertificateDescription certificateDescription `json:"certificateDescription"`
}, err error,
) {
	found, err := a.service.DescribeCertificate(in.CertificateID)
	if err != nil {
		return out, err
	}
	parsed, err := parseCertificate(found.PEM)
	if err != nil {
		return out, err
	}
	out.CertificateDescription = certificateDescription{
		listed(found), found.PEM, validity{timestamp(parsed.NotBefore), timestamp(parsed.NotAfter)},
	}
	return out, nil
}

func parseCertificate(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the certificate is not PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// listCertificates lists the newest first, unless told otherwise (API reference,
// ListCertificates, isAscendingOrder).
func (a iotAPI) listCertificates(_ *call, in struct {
	Marker           string
	PageSize         number
	IsAscendingOrder flag
},
) (out struct {
	Certificates []listedCertificate `json:"certificates"`
	NextMarker   string              `json:"nextMarker,omitempty"`
}, err error,
) {
	key := func(c iot.Certificate) string {
		at := c.Created.UnixNano()
		if !in.IsAscendingOrder {
			at = 1<<62 - at
		}
		return fmt.Sprintf("%020d %s", at, c.ID)
	}
	certificates := a.service.ListCertificates()
	slices.SortFunc(certificates, func(a, b iot.Certificate) int { return strings.Compare(key(a), key(b)) })
	found, err := paginate(certificates, key, in.Marker, int(in.PageSize), maxIoTPage)
	out.Certificates, out.NextMarker = transform(found.items, listed), found.next
	return out, err
}

func (a iotAPI) deleteCertificate(_ *call, in struct {
	CertificateID string
	ForceDelete   flag
},
) (nothing, error) {
	if in.ForceDelete {
		return nothing{}, a.service.ForceDeleteCertificate(in.CertificateID)
	}
	return nothing{}, a.service.DeleteCertificate(in.CertificateID)
}

type namedPolicy struct{ PolicyName string }

type policyDocument struct {
	PolicyName     string `json:"policyName"`
	PolicyARN      string `json:"policyArn"`
	PolicyDocument string `json:"policyDocument"`
}

func (a iotAPI) createPolicy(_ *call, in struct {
	PolicyName, PolicyDocument string
	Tags                       []tag
},
) (out struct {
	policyDocument
	PolicyVersionID string `json:"policyVersionId"`
}, err error,
) {
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return out, err
	}
	p, err := a.service.CreatePolicy(in.PolicyName, in.PolicyDocument, tags)
	out.policyDocument, out.PolicyVersionID = policyDocument{p.Name, p.ARN, p.Document}, p.DefaultVersion
	return out, err
}

func (a iotAPI) getPolicy(_ *call, in namedPolicy) (out struct {
	policyDocument
	DefaultVersionID string `json:"defaultVersionId"`
}, err error,
) {
	p, err := a.service.GetPolicy(in.PolicyName)
	out.policyDocument, out.DefaultVersionID = policyDocument{p.Name, p.ARN, p.Document}, p.DefaultVersion
	return out, err
}

type listedPolicy struct {
	PolicyName string `json:"policyName"`
	PolicyARN  string `json:"policyArn"`
}

type policyPage struct {
	Policies   []listedPolicy `json:"policies"`
	NextMarker string         `json:"nextMarker,omitempty"`
}

func pageOfPolicies(policies []iot.Policy, marker string, size number) (policyPage, error) {
	found, err := paginate(policies, func(p iot.Policy) string { return p.Name }, marker, int(size), maxIoTPage)
	return policyPage{transform(found.items, func(p iot.Policy) listedPolicy { return listedPolicy{p.Name, p.ARN} }), found.next}, err
}

func (a iotAPI) listPolicies(_ *call, in struct {
	Marker   string
	PageSize number
},
) (policyPage, error) {
	return pageOfPolicies(a.service.ListPolicies(), in.Marker, in.PageSize)
}

func (a iotAPI) listTargetsForPolicy(_ *call, in struct {
	PolicyName, Marker string
	PageSize           number
},
) (out struct {
	Targets    []string `json:"targets"`
	NextMarker string   `json:"nextMarker,omitempty"`
}, err error,
) {
	targets, err := a.service.ListTargetsForPolicy(in.PolicyName)
	if err != nil {
		return out, err
	}
	found, err := paginate(targets, itself, in.Marker, int(in.PageSize), maxIoTPage)
	out.Targets, out.NextMarker = transform(found.items, itself), found.next
	return out, err
}

func (a iotAPI) createPolicyVersion(_ *call, in struct {
	PolicyName, PolicyDocument string
	SetAsDefault               flag
},
) (out struct {
	PolicyARN        string `json:"policyArn"`
	PolicyDocument   string `json:"policyDocument"`
	PolicyVersionID  string `json:"policyVersionId"`
	IsDefaultVersion bool   `json:"isDefaultVersion"`
}, err error,
) {
	v, err := a.service.CreatePolicyVersion(in.PolicyName, in.PolicyDocument, bool(in.SetAsDefault))
	if err != nil {
		return out, err
	}
	p, err := a.service.GetPolicy(in.PolicyName)
	out.PolicyARN, out.PolicyDocument, out.PolicyVersionID, out.IsDefaultVersion = p.ARN, v.Document, v.ID, v.IsDefault
	return out, err
}

type listedPolicyVersion struct {
	VersionID        string    `json:"versionId"`
	IsDefaultVersion bool      `json:"isDefaultVersion"`
	CreateDate       timestamp `json:"createDate"`
}

func (a iotAPI) listPolicyVersions(_ *call, in namedPolicy) (out struct {
	PolicyVersions []listedPolicyVersion `json:"policyVersions"`
}, err error,
) {
	versions, err := a.service.ListPolicyVersions(in.PolicyName)
	out.PolicyVersions = transform(versions, func(v iot.PolicyVersion) listedPolicyVersion {
		return listedPolicyVersion{v.ID, v.IsDefault, timestamp(v.Created)}
	})
	return out, err
}

type namedPolicyVersion struct{ PolicyName, PolicyVersionID string }

type policyTarget struct{ PolicyName, Target string }

type namedRule struct{ RuleName string }

// rulePayload reads the rule that is the body of a request.
func rulePayload(c *call) (iot.TopicRulePayload, error) {
	if err := checkDepth(c.payload); err != nil {
		return iot.TopicRulePayload{}, err
	}
	return iot.ParseTopicRulePayload(c.payload)
}

func (a iotAPI) createTopicRule(c *call, in namedRule) (out nothing, err error) {
	payload, err := rulePayload(c)
	if err != nil {
		return out, err
	}
	values, err := url.ParseQuery(c.Header.Get("X-Amz-Tagging"))
	if err != nil {
		return out, awsapi.Errorf("InvalidRequestException", "the header x-amz-tagging cannot be read: %v", err)
	}
	tags := awsapi.Tags{}
	for key := range values {
		tags[key] = values.Get(key)
	}
	_, err = a.service.CreateTopicRule(in.RuleName, payload, tags)
	return out, err
}

func (a iotAPI) replaceTopicRule(c *call, in namedRule) (nothing, error) {
	payload, err := rulePayload(c)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, a.service.ReplaceTopicRule(in.RuleName, payload)
}

type topicRule struct {
	RuleName  string    `json:"ruleName"`
	CreatedAt timestamp `json:"createdAt"`
	iot.TopicRulePayload
}

func (a iotAPI) getTopicRule(_ *call, in namedRule) (out struct {
	RuleARN string    `json:"ruleArn"`
	Rule    topicRule `json:"rule"`
}, err error,
) {
	r, err := a.service.GetTopicRule(in.RuleName)
	r.Payload.AwsIotSQLVersion = string(sqlVersion(r))
	out.RuleARN, out.Rule = r.ARN, topicRule{r.Name, timestamp(r.Created), r.Payload}
	return out, err
}

// sqlVersion of a rule. Default: 2015-10-08, as on AWS.
func sqlVersion(r iot.TopicRule) iotsql.Version {
	return cmp.Or(iotsql.Version(r.Payload.AwsIotSQLVersion), iotsql.V2015)
}

type listedRule struct {
	RuleARN      string    `json:"ruleArn"`
	RuleName     string    `json:"ruleName"`
	TopicPattern string    `json:"topicPattern"`
	RuleDisabled bool      `json:"ruleDisabled"`
	CreatedAt    timestamp `json:"createdAt"`
}

func (a iotAPI) listTopicRules(_ *call, in struct {
	NextToken    string
	MaxResults   number
	RuleDisabled *flag
},
) (out struct {
	Rules     []listedRule `json:"rules"`
	NextToken string       `json:"nextToken,omitempty"`
}, err error,
) {
	rules := slices.DeleteFunc(a.service.ListTopicRules(), func(r iot.TopicRule) bool {
		return in.RuleDisabled != nil && bool(*in.RuleDisabled) != r.Payload.RuleDisabled
	})
	found, err := paginate(rules, func(r iot.TopicRule) string { return r.Name }, in.NextToken, int(in.MaxResults), maxIoTPage)
	if err != nil {
		return out, err
	}
	out.Rules, out.NextToken = make([]listedRule, len(found.items)), found.next
	for i, r := range found.items {
		compiled, err := iotsql.Compile(r.Payload.SQL, sqlVersion(r))
		if err != nil {
			return out, fmt.Errorf("rule %s: %w", r.Name, err)
		}
		out.Rules[i] = listedRule{r.ARN, r.Name, compiled.Filter(), r.Payload.RuleDisabled, timestamp(r.Created)}
	}
	return out, nil
}
