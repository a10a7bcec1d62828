package resources

import (
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
)

type thingAttachmentProperties struct {
	ThingName string `cfn:"required"`
	Principal string `cfn:"required"`
}

type thingAttachment struct{ iot *iot.Service }

func (h thingAttachment) create(r request, p thingAttachmentProperties) (result, error) {
	return result{PhysicalID: r.GeneratedName(128)}, h.iot.AttachThingPrincipal(p.ThingName, p.Principal)
}

func (h thingAttachment) remove(_ request, p thingAttachmentProperties) error {
	return gone(h.iot.DetachThingPrincipal(p.ThingName, p.Principal))
}

func (h thingAttachment) drift(_ request, p thingAttachmentProperties) (cloudformation.Drift, error) {
	principals, err := h.iot.ListThingPrincipals(p.ThingName)
	return driftIn(principals, p.Principal, err)
}
