package resources

import (
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
)

type policyAttachmentProperties struct {
	PolicyName string `cfn:"required"`
	Principal  string `cfn:"required"`
}

type policyAttachment struct{ iot *iot.Service }

func (h policyAttachment) create(r request, p policyAttachmentProperties) (result, error) {
	return result{PhysicalID: r.GeneratedName(128)}, h.iot.AttachPolicy(p.PolicyName, p.Principal)
}

func (h policyAttachment) remove(_ request, p policyAttachmentProperties) error {
	return gone(h.iot.DetachPolicy(p.PolicyName, p.Principal))
}

func (h policyAttachment) drift(_ request, p policyAttachmentProperties) (cloudformation.Drift, error) {
	targets, err := h.iot.ListTargetsForPolicy(p.PolicyName)
	return driftIn(targets, p.Principal, err)
}
