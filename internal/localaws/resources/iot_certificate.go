package resources

import "lastwill/internal/localaws/iot"

type certificateProperties struct {
	CertificateSigningRequest string `cfn:"required,immutable"`
	Status                    string `cfn:"required"`
}

type certificate struct{ iot *iot.Service }

// create creates the certificate and then sets its status, as CloudFormation's own
// handler does (aws-cloudformation-resource-providers-iot, aws-iot-certificate).
func (h certificate) create(_ request, p certificateProperties) (result, error) {
	if err := iot.CheckCertificateStatus(p.Status); err != nil {
		return result{}, err
	}
	c, err := h.iot.CreateCertificateFromCSR(p.CertificateSigningRequest, p.Status == "ACTIVE")
	if err == nil {
		err = h.iot.UpdateCertificate(c.ID, p.Status)
	}
	return h.result(c), err
}

func (h certificate) update(r request, p, _ certificateProperties) (result, error) {
	if err := h.iot.UpdateCertificate(r.PhysicalID, p.Status); err != nil {
		return result{}, err
	}
	c, err := h.iot.DescribeCertificate(r.PhysicalID)
	return h.result(c), err
}

// remove deactivates the certificate first, as CloudFormation's own handler does;
// what is still attached to it makes the deletion fail.
func (h certificate) remove(r request, _ certificateProperties) error {
	if err := h.iot.UpdateCertificate(r.PhysicalID, "INACTIVE"); err != nil {
		return gone(err)
	}
	return gone(h.iot.DeleteCertificate(r.PhysicalID))
}

func (certificate) result(c iot.Certificate) result {
	return result{PhysicalID: c.ID, Attributes: map[string]any{"Arn": c.ARN, "Id": c.ID}}
}
