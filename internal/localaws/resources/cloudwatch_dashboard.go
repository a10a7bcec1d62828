package resources

import (
	"encoding/json"

	"lastwill/internal/localaws/awsapi"
	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/cloudwatch"
)

type dashboardProperties struct {
	DashboardBody string `cfn:"required"`
	DashboardName string `cfn:"immutable"`
	Tags          tagList
}

type dashboard struct{ cloudwatch *cloudwatch.Service }

func (h dashboard) create(r request, p dashboardProperties) (result, error) {
	name := named(p.DashboardName, r, 255)
	if _, err := h.cloudwatch.GetDashboard(name); err == nil {
		return result{}, alreadyExists("dashboard", name)
	}
	return h.put(name, r, p)
}

func (h dashboard) update(r request, p, _ dashboardProperties) (result, error) {
	return h.put(r.PhysicalID, r, p)
}

func (h dashboard) remove(r request, _ dashboardProperties) error {
	return gone(h.cloudwatch.DeleteDashboards(r.PhysicalID))
}

func (h dashboard) put(name string, r request, p dashboardProperties) (result, error) {
	if !json.Valid([]byte(p.DashboardBody)) {
		return result{}, awsapi.Errorf("InvalidParameterInput", "the dashboard's body is not JSON")
	}
	h.cloudwatch.PutDashboard(name, p.DashboardBody, p.Tags.with(r.Tags))
	return result{PhysicalID: name}, nil
}

func (h dashboard) drift(r request, p dashboardProperties) (cloudformation.Drift, error) {
	now, err := h.cloudwatch.GetDashboard(r.PhysicalID)
	return driftOf(err, now.Body == p.DashboardBody)
}
