package resources

import (
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/logs"
)

type logGroupProperties struct {
	LogGroupName    string `cfn:"immutable"`
	RetentionInDays int
	Tags            tagList
}

type logGroup struct{ logs *logs.Service }

func (h logGroup) create(r request, p logGroupProperties) (result, error) {
	g, err := h.logs.Create(named(p.LogGroupName, r, 512), p.RetentionInDays, p.Tags.with(r.Tags))
	return h.result(g), err
}

func (h logGroup) update(r request, p, _ logGroupProperties) (result, error) {
	g, err := h.logs.Update(r.PhysicalID, p.RetentionInDays, p.Tags.with(r.Tags))
	return h.result(g), err
}

func (h logGroup) remove(r request, _ logGroupProperties) error {
	return gone(h.logs.Delete(r.PhysicalID))
}

func (logGroup) result(g logs.Group) result {
	return result{PhysicalID: g.Name, Attributes: map[string]any{"Arn": g.ARN + ":*"}}
}

func (h logGroup) drift(r request, p logGroupProperties) (cloudformation.Drift, error) {
	for _, g := range h.logs.Groups() {
		if g.Name == r.PhysicalID {
			return driftOf(nil, g.RetentionInDays == p.RetentionInDays)
		}
	}
	return cloudformation.Deleted, nil
}
