package iot

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"lastwill/internal/keypair"
	"lastwill/internal/localaws/awsapi"
)

// Statuses of a certificate that this endpoint has. AWS knows three more, for
// certificates that were registered or transferred.
const (
	statusActive   = "ACTIVE"
	statusInactive = "INACTIVE"
	statusRevoked  = "REVOKED"
)

// A Certificate as callers see it: a copy.
type Certificate struct {
	ID, ARN, PEM, Status string
	// WithoutCA is of a certificate that somebody else issued, and whose CA nobody
	// registered.
	WithoutCA bool
	Created   time.Time
}

type certificate struct {
	Certificate
	policies map[string]bool // names of attached policies
}

// maxCSRBytes is the API's (API reference, CreateCertificateFromCsr).
const maxCSRBytes = 4096

// CreateCertificateFromCSR signs a certificate signing request.
func (s *Service) CreateCertificateFromCSR(csrPEM string, active bool) (Certificate, error) {
	if len(csrPEM) > maxCSRBytes {
		return Certificate{}, awsapi.Errorf("InvalidRequestException", "the CSR has %d characters, at most %d are allowed", len(csrPEM), maxCSRBytes)
	}
	issued, err := s.ca.issue(csrPEM)
	if err != nil {
		return Certificate{}, awsapi.Errorf("InvalidRequestException", "%v", err)
	}
	return s.register(issued, Certificate{}, active)
}

// RegisterCertificateWithoutCA takes a certificate in PEM that somebody else issued.
func (s *Service) RegisterCertificateWithoutCA(text string, active bool) (Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return Certificate{}, awsapi.Errorf("CertificateValidationException", "The certificate is not in PEM")
	}
	foreign, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Certificate{}, awsapi.Errorf("CertificateValidationException", "The certificate cannot be read: %v", err)
	}
	if !keypair.Accepted(foreign.PublicKey) {
		return Certificate{}, awsapi.Errorf("CertificateValidationException",
			"The certificate's key must be RSA of at least 2048 bits or on the curve P-256, P-384 or P-521")
	}
	return s.register(foreign, Certificate{WithoutCA: true}, active)
}

func (s *Service) register(parsed *x509.Certificate, c Certificate, active bool) (Certificate, error) {
	c.ID = fingerprint(parsed.Raw)
	c.ARN = s.options.Account.ARN("iot", "cert/"+c.ID)
	c.PEM, c.Status, c.Created = string(certificatePEM(parsed)), statusInactive, time.Now().UTC()
	if active {
		c.Status = statusActive
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.certificates[c.ID]; taken {
		return Certificate{}, awsapi.Conflictf("ResourceAlreadyExistsException", "The certificate is already registered: %s", c.ARN)
	}
	s.certificates[c.ID] = &certificate{Certificate: c, policies: map[string]bool{}}
	return c, nil
}

// DescribeCertificate returns a certificate.
func (s *Service) DescribeCertificate(id string) (Certificate, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, err := s.certificate(id)
	if err != nil {
		return Certificate{}, err
	}
	return c.Certificate, nil
}

// ListCertificates returns all certificates, oldest first.
func (s *Service) ListCertificates() []Certificate {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Certificate, 0, len(s.certificates))
	for _, c := range s.certificates {
		out = append(out, c.Certificate)
	}
	slices.SortFunc(out, func(a, b Certificate) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return out
}

// CheckCertificateStatus refuses what is not a status that a certificate can be given.
func CheckCertificateStatus(status string) error {
	if !slices.Contains([]string{statusActive, statusInactive, statusRevoked}, status) {
		return awsapi.Errorf("InvalidRequestException", "status %q is not one of ACTIVE, INACTIVE, REVOKED", status)
	}
	return nil
}

// UpdateCertificate sets the status: ACTIVE, INACTIVE or REVOKED. Connections
// that the certificate holds are ended when it is no longer active.
func (s *Service) UpdateCertificate(id, status string) error {
	if err := CheckCertificateStatus(status); err != nil {
		return err
	}
	s.mu.Lock()
	c, err := s.certificate(id)
	if err == nil {
		c.Status = status
	}
	s.mu.Unlock()
	if err == nil && status != statusActive {
		s.disconnectPrincipal(id)
	}
	return err
}

// DeleteCertificate removes a certificate that is not active and not attached to
// anything.
func (s *Service) DeleteCertificate(id string) error {
	return s.deleteCertificate(id, false)
}

// ForceDeleteCertificate removes a certificate that is not active and not
// attached to a thing; it may have policies (API reference, DeleteCertificate,
// forceDelete).
func (s *Service) ForceDeleteCertificate(id string) error {
	return s.deleteCertificate(id, true)
}

func (s *Service) deleteCertificate(id string, withPolicies bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.certificate(id)
	if err != nil {
		return err
	}
	if c.Status == statusActive {
		return &awsapi.Error{
			Code: "CertificateStateException", Status: http.StatusNotAcceptable,
			Message: "Certificate must be deactivated (not ACTIVE) before deletion. certificateId: " + id,
		}
	}
	if len(c.policies) > 0 && !withPolicies {
		return awsapi.Conflictf("DeleteConflictException", "Certificate policies must be detached before deletion (arn: %s)", c.ARN)
	}
	for _, t := range s.things {
		if t.principals[id] {
			return awsapi.Conflictf("DeleteConflictException", "Things must be detached before deletion (arn: %s)", c.ARN)
		}
	}
	delete(s.certificates, id)
	return nil
}

// certificate finds a certificate; s.mu is held.
func (s *Service) certificate(id string) (*certificate, error) {
	c, ok := s.certificates[id]
	if !ok {
		return nil, awsapi.NotFoundf("ResourceNotFoundException", "The certificate %s was not found", id)
	}
	return c, nil
}

// principal finds a certificate by ARN; s.mu is held. Other kinds of principals
// (Cognito identities, thing groups) are not here.
func (s *Service) principal(arn string) (*certificate, error) {
	id, ok := strings.CutPrefix(arn, s.options.Account.ARN("iot", "cert/"))
	if !ok {
		return nil, awsapi.Errorf("InvalidRequestException", "principal %q is not the ARN of a certificate of this account and region", arn)
	}
	return s.certificate(id)
}

// attachedPolicies returns the names of the policies of a certificate; s.mu is held.
func (c *certificate) attachedPolicies() []string { return slices.Sorted(maps.Keys(c.policies)) }
