package api

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/iam"
)

// iamFront has what reading roles takes. They are made by stacks only.
func iamFront(s Services) front {
	a := iamAPI{s.IAM}
	return queryFront{
		service: "iam", namespace: "https://iam.amazonaws.com/doc/2010-05-08/",
		operations: map[string]operation{
			"GetRole":          op(a.getRole),
			"ListRoles":        op(a.listRoles),
			"GetRolePolicy":    op(a.getRolePolicy),
			"ListRolePolicies": op(a.listRolePolicies),
		},
	}
}

type iamAPI struct{ service *iam.Service }

// maxIAMPage is the largest page of IAM's lists (API reference, MaxItems).
const maxIAMPage = 1000

type roleOutput struct {
	Path, RoleName           string
	RoleID                   string `xml:"RoleId"`
	Arn                      string
	CreateDate               xmlTime
	AssumeRolePolicyDocument string
	Description              string `xml:",omitempty"`
	MaxSessionDuration       int
	Tags                     []tag `xml:"Tags>member"`
}

// describeRole has documents encoded as in URLs (API reference, GetRole).
func describeRole(r iam.Role) roleOutput {
	return roleOutput{
		r.Path, r.Name, r.ID, r.ARN, xmlTime(r.Created), url.PathEscape(r.TrustPolicy), r.Description, defaultSession, tagList(r.Tags),
	}
}

type namedRole struct{ RoleName string }

func (a iamAPI) getRole(_ *call, in namedRole) (out struct{ Role roleOutput }, err error) {
	r, err := a.service.GetRole(in.RoleName)
	out.Role = describeRole(r)
	return out, err
}

// paged is what asks for a page, and iamPage what tells of the next one.
type paged struct {
	Marker   string
	MaxItems int
}

type iamPage struct {
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

func pageOfIAM[T any](items []T, key func(T) string, in paged) ([]T, iamPage, error) {
	found, err := paginate(items, key, in.Marker, in.MaxItems, maxIAMPage)
	if err != nil {
		return nil, iamPage{}, awsapi.Errorf("ValidationError", "%v", err)
	}
	return found.items, iamPage{found.next != "", found.next}, nil
}

func (a iamAPI) listRoles(_ *call, in struct {
	PathPrefix string
	paged
},
) (out struct {
	Roles []roleOutput `xml:"Roles>member"`
	iamPage
}, err error,
) {
	roles := slices.DeleteFunc(a.service.ListRoles(), func(r iam.Role) bool { return !strings.HasPrefix(r.Path, cmp.Or(in.PathPrefix, "/")) })
	roles, out.iamPage, err = pageOfIAM(roles, func(r iam.Role) string { return r.Name }, in.paged)
	for _, r := range roles {
		described := describeRole(r)
		described.Tags = nil // lists have none
		out.Roles = append(out.Roles, described)
	}
	return out, err
}

func (a iamAPI) getRolePolicy(_ *call, in struct{ RoleName, PolicyName string }) (out struct {
	RoleName, PolicyName, PolicyDocument string
}, err error,
) {
	r, err := a.service.GetRole(in.RoleName)
	if err != nil {
		return out, err
	}
	document, ok := r.Policies[in.PolicyName]
	if !ok {
		return out, awsapi.NotFoundf("NoSuchEntity", "The role policy with name %s cannot be found.", in.PolicyName)
	}
	out.RoleName, out.PolicyName, out.PolicyDocument = r.Name, in.PolicyName, url.PathEscape(document)
	return out, nil
}

func (a iamAPI) listRolePolicies(_ *call, in struct {
	namedRole
	paged
},
) (out struct {
	PolicyNames []string `xml:"PolicyNames>member"`
	iamPage
}, err error,
) {
	r, err := a.service.GetRole(in.RoleName)
	if err != nil {
		return out, err
	}
	out.PolicyNames, out.iamPage, err = pageOfIAM(slices.Sorted(maps.Keys(r.Policies)), itself, in.paged)
	return out, err
}
