package access

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"

	"troth/internal/fleet"
)

// DecideShown is Decide for the device whose client certificate a proxy was
// shown, as DER. The proxy has verified that the device holds its key, for a
// certificate is no secret. It must be on record here, byte for byte, as issued
// and not ended: so the service's own record takes effect at once, whatever
// revocation list the proxy has. The device's id is returned with the answer.
func (s *Service) DecideShown(ctx context.Context, der []byte, action, resource string) (fleet.DeviceID, Answer, error) {
	id, a, err := s.decideShown(ctx, der, action, resource)
	a, err = s.record(ctx, id, action, resource, a, err)
	return id, a, err
}

func (s *Service) decideShown(ctx context.Context, der []byte, action, resource string) (fleet.DeviceID, Answer, error) {
	shown, err := x509.ParseCertificate(der)
	if err != nil {
		return "", Answer{}, fleet.Errorf(fleet.Invalid, "certificate_malformed", "what the proxy was shown is no X.509 certificate")
	}
	record, err := s.Store.CertificateBySerial(ctx, hex.EncodeToString(shown.SerialNumber.Bytes()))
	if fleet.IsKind(err, fleet.NotFound) || err == nil && !bytes.Equal(record.DER, der) {
		return "", Answer{}, fleet.Errorf(fleet.Refused, "certificate_unknown", "the certificate is not on record here")
	}
	if err != nil {
		return "", Answer{}, err
	}
	if !record.Opens() {
		return record.Device, Answer{}, fleet.Errorf(fleet.Refused, "certificate_revoked", "the certificate was revoked: %s", record.Reason)
	}
	if now := s.Now(); now.Before(record.NotBefore) || now.After(record.NotAfter) {
		return record.Device, Answer{}, fleet.Errorf(fleet.Refused, "certificate_expired", "the certificate is not valid at this time")
	}
	answer, err := s.decide(ctx, record.Device, action, resource)
	return record.Device, answer, err
}
