package resources

import (
	"slices"
	"strings"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/s3"
)

type bucketProperties struct {
	AccessControl                  string
	BucketEncryption               any
	BucketName                     string `cfn:"immutable"`
	LifecycleConfiguration         any
	PublicAccessBlockConfiguration any
	Tags                           tagList
	VersioningConfiguration        any
}

type bucket struct {
	s3      *s3.Service
	account awsapi.Account
}

// create gives a bucket without a name one in lower case: no other is allowed.
func (h bucket) create(r request, p bucketProperties) (result, error) {
	name := p.BucketName
	if name == "" {
		name = strings.ToLower(r.GeneratedName(63))
	}
	return h.result(name), h.s3.CreateBucket(name)
}

func (h bucket) update(r request, _, _ bucketProperties) (result, error) {
	return h.result(r.PhysicalID), nil
}

func (h bucket) remove(r request, _ bucketProperties) error {
	if !slices.Contains(h.s3.Buckets(), r.PhysicalID) {
		return nil
	}
	return h.s3.DeleteBucket(r.PhysicalID)
}

func (h bucket) result(name string) result {
	return result{PhysicalID: name, Attributes: map[string]any{
		"Arn": "arn:aws:s3:::" + name, "DomainName": name + ".s3.amazonaws.com",
		"RegionalDomainName": name + ".s3." + h.account.Region + ".amazonaws.com",
	}}
}

func (h bucket) drift(r request, _ bucketProperties) (cloudformation.Drift, error) {
	return driftIn(h.s3.Buckets(), r.PhysicalID, nil)
}
