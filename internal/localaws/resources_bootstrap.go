package localaws

import (
	"encoding/json"
	"slices"

	"lastwill/internal/localaws/policy"
)

// What cdk bootstrap deploys beside roles: a bucket for assets, a repository for
// images that lastwill does not have, and its version number.

func (s *Server) createParameter(r request) (result, error) {
	p, err := decode[struct{ Name, Value string }](r.Properties)
	if err != nil {
		return result{}, err
	}
	p.Name = named(p.Name, r, 1024)
	if _, err := s.SSM.Get(p.Name); err == nil {
		return result{}, alreadyExists("SSM parameter", p.Name)
	}
	s.SSM.Put(p.Name, p.Value)
	return parameterResult(p.Name, p.Value), nil
}

func (s *Server) updateParameter(r request) (result, error) {
	p, err := decode[struct{ Value string }](r.Properties)
	if err != nil {
		return result{}, err
	}
	s.SSM.Put(r.PhysicalID, p.Value)
	return parameterResult(r.PhysicalID, p.Value), nil
}

func parameterResult(name, value string) result {
	return result{PhysicalID: name, Attributes: map[string]any{"Type": "String", "Value": value}}
}

func (s *Server) createRepository(r request) (result, error) {
	p, err := decode[struct{ RepositoryName string }](r.Properties)
	if err != nil {
		return result{}, err
	}
	p.RepositoryName = named(p.RepositoryName, r, 256)
	arn, err := s.ECR.Create(p.RepositoryName)
	return result{PhysicalID: p.RepositoryName, Attributes: map[string]any{"Arn": arn}}, err
}

func (s *Server) updateRepository(r request) (result, error) {
	return result{PhysicalID: r.PhysicalID, Attributes: map[string]any{"Arn": s.ECR.ARN(r.PhysicalID)}}, nil
}

func (s *Server) createBucket(r request) (result, error) {
	p, err := decode[struct{ BucketName string }](r.Properties)
	if err != nil {
		return result{}, err
	}
	p.BucketName = named(p.BucketName, r, 63)
	return bucketResult(p.BucketName), s.S3.CreateBucket(p.BucketName)
}

func bucketResult(name string) result {
	return result{PhysicalID: name, Attributes: map[string]any{
		"Arn": "arn:aws:s3:::" + name, "DomainName": name + ".s3.amazonaws.com",
		"RegionalDomainName": name + ".s3." + Account.Region + ".amazonaws.com",
	}}
}

func (s *Server) deleteBucket(name string) error {
	if !slices.Contains(s.S3.Buckets(), name) {
		return nil
	}
	return s.S3.DeleteBucket(name)
}

// createBucketPolicy checks the policy; nobody asks it, as the S3 here serves
// whoever has the account's credentials.
func createBucketPolicy(r request) (result, error) {
	p, err := decode[struct {
		Bucket         string
		PolicyDocument json.RawMessage
	}](r.Properties)
	if err != nil {
		return result{}, err
	}
	_, err = policy.Parse(p.PolicyDocument)
	return result{PhysicalID: p.Bucket}, err
}
