package resources

import "lastwill/internal/localaws/policy"

type bucketPolicyProperties struct {
	Bucket         string   `cfn:"required"`
	PolicyDocument document `cfn:"required"`
}

type bucketPolicy struct{}

// create checks the policy; nobody asks it, as the S3 here serves whoever has the
// account's credentials.
func (bucketPolicy) create(_ request, p bucketPolicyProperties) (result, error) {
	_, err := policy.Parse([]byte(p.PolicyDocument))
	return result{PhysicalID: p.Bucket}, err
}

func (bucketPolicy) remove(request, bucketPolicyProperties) error { return nil }
