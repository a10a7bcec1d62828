package resources

import (
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/ecr"
)

// repositoryProperties: cdk bootstrap makes a repository, for images that lastwill
// does not have.
type repositoryProperties struct {
	ImageTagMutability   string
	LifecyclePolicy      any
	RepositoryName       string `cfn:"immutable"`
	RepositoryPolicyText any
}

type repository struct{ ecr *ecr.Service }

func (h repository) create(r request, p repositoryProperties) (result, error) {
	name := named(p.RepositoryName, r, 256)
	arn, err := h.ecr.Create(name)
	return result{PhysicalID: name, Attributes: map[string]any{"Arn": arn}}, err
}

func (h repository) update(r request, _, _ repositoryProperties) (result, error) {
	return result{PhysicalID: r.PhysicalID, Attributes: map[string]any{"Arn": h.ecr.ARN(r.PhysicalID)}}, nil
}

func (h repository) remove(r request, _ repositoryProperties) error {
	h.ecr.Delete(r.PhysicalID)
	return nil
}

func (h repository) drift(r request, _ repositoryProperties) (cloudformation.Drift, error) {
	return driftIn(h.ecr.Repositories(), r.PhysicalID, nil)
}
