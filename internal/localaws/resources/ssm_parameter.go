package resources

import (
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/ssm"
)

type parameterProperties struct {
	Name  string `cfn:"immutable"`
	Type  string `cfn:"required,immutable"`
	Value string `cfn:"required"`
}

type parameter struct{ ssm *ssm.Service }

func (h parameter) create(r request, p parameterProperties) (result, error) {
	p.Name = named(p.Name, r, 1024)
	if _, err := h.ssm.Get(p.Name); err == nil {
		return result{}, alreadyExists("SSM parameter", p.Name)
	}
	return h.put(p.Name, p.Value), nil
}

func (h parameter) update(r request, p, _ parameterProperties) (result, error) {
	return h.put(r.PhysicalID, p.Value), nil
}

func (h parameter) remove(r request, _ parameterProperties) error {
	h.ssm.Delete(r.PhysicalID)
	return nil
}

func (h parameter) put(name, value string) result {
	h.ssm.Put(name, value)
	return result{PhysicalID: name, Attributes: map[string]any{"Type": "String", "Value": value}}
}

func (h parameter) drift(r request, p parameterProperties) (cloudformation.Drift, error) {
	value, err := h.ssm.Get(r.PhysicalID)
	return driftOf(err, value == p.Value)
}
