package resources

import (
	"errors"
	"fmt"

	"lastwill/internal/localaws/cloudformation"
	"lastwill/internal/localaws/iot"
)

type certificateProperties struct {
	CertificateMode           string `cfn:"immutable"`
	CertificatePem            string `cfn:"immutable"`
	CertificateSigningRequest string `cfn:"immutable"`
	Status                    string `cfn:"required"`
}

type certificate struct{ iot *iot.Service }

// create creates the certificate and then sets its status, as CloudFormation's own
// handler does (aws-cloudformation-resource-providers-iot, aws-iot-certificate).
func (h certificate) create(_ request, p certificateProperties) (result, error) {
	if err := iot.CheckCertificateStatus(p.Status); err != nil {
		return result{}, err
	}
	c, err := h.make(p)
	if err == nil {
		err = h.iot.UpdateCertificate(c.ID, p.Status)
	}
	return h.result(c), err
}

func (h certificate) make(p certificateProperties) (iot.Certificate, error) {
	active := p.Status == "ACTIVE"
	switch {
	case (p.CertificateSigningRequest == "") == (p.CertificatePem == ""):
		return iot.Certificate{}, errors.New("a certificate needs one of CertificateSigningRequest and CertificatePem")
	case p.CertificatePem == "":
		return h.iot.CreateCertificateFromCSR(p.CertificateSigningRequest, active)
	case p.CertificateMode != "SNI_ONLY":
		return iot.Certificate{}, fmt.Errorf("CertificateMode %q of a CertificatePem is not supported here: use SNI_ONLY", p.CertificateMode)
	}
	return h.iot.RegisterCertificateWithoutCA(p.CertificatePem, active)
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

func (h certificate) drift(r request, p certificateProperties) (cloudformation.Drift, error) {
	c, err := h.iot.DescribeCertificate(r.PhysicalID)
	return driftOf(err, c.Status == p.Status)
}
