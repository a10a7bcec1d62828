package resources

import (
	"maps"

	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
)

type thingProperties struct {
	ThingName        string `cfn:"immutable"`
	AttributePayload struct{ Attributes map[string]string }
}

type thing struct{ iot *iot.Service }

func (h thing) create(r request, p thingProperties) (result, error) {
	p.ThingName = named(p.ThingName, r, 128)
	if _, err := h.iot.DescribeThing(p.ThingName); err == nil {
		return result{}, alreadyExists("thing", p.ThingName)
	}
	t, err := h.iot.CreateThing(p.ThingName, p.AttributePayload.Attributes)
	return h.result(t), err
}

func (h thing) update(r request, p, _ thingProperties) (result, error) {
	t, err := h.iot.UpdateThing(r.PhysicalID, p.AttributePayload.Attributes)
	return h.result(t), err
}

func (h thing) remove(r request, _ thingProperties) error {
	return gone(h.iot.DeleteThing(r.PhysicalID))
}

func (thing) result(t iot.Thing) result {
	return result{PhysicalID: t.Name, Attributes: map[string]any{"Arn": t.ARN, "Id": t.ID}}
}

func (h thing) drift(r request, p thingProperties) (cloudformation.Drift, error) {
	t, err := h.iot.DescribeThing(r.PhysicalID)
	return driftOf(err, maps.Equal(t.Attributes, p.AttributePayload.Attributes))
}
