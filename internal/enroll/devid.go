package enroll

import (
	"context"
	"errors"
	"time"

	"troth/attest"
	"troth/attest/ek"
	"troth/attest/idevid"
	"troth/internal/fleet"
)

// purposeDevID is that of the certification of a manufacturer's key.
const purposeDevID = "certify-idevid"

// identify judges the IDevID or IAK that a device shows. One that does not hold is
// no reason to refuse who can do without: it is a problem that policy sees. That
// its key is in the TPM of the EK is proven later (verifyDevID).
func (s *Service) identify(ctx context.Context, e *fleet.Enrollment, c Claim, now time.Time) error {
	if len(c.DevIDPublic)+len(c.DevIDChain) == 0 {
		return nil
	}
	e.DevIDPublic = c.DevIDPublic
	key, restricted, err := attest.CheckDevIDKey(c.DevIDPublic)
	if err != nil {
		e.DevID.Problem = codeOf(err, idevid.CodeMalformed)
		return nil
	}
	e.DevID.Kind = string(idevid.IDevID)
	if restricted {
		e.DevID.Kind = string(idevid.IAK)
	}
	roots, err := s.roots(ctx)
	if err != nil {
		return err
	}
	identity, err := idevid.Verify(roots, key, restricted, c.DevIDChain, now)
	if err != nil {
		e.DevID.Problem = codeOf(err, idevid.CodeMalformed)
		return nil
	}
	problem, err := s.revoked(ctx, identity.Chain, now)
	if problem != "" {
		e.DevID.Problem = idevid.CodeOfChain(problem)
	}
	if err != nil {
		return nil //nolint:nilerr // the problem says it
	}
	e.DevID.Manufacturer, e.DevID.Serial, e.DevID.Model = identity.Chain.Manufacturer, identity.Serial, identity.Model
	return nil
}

// revoked looks a chain up in the manufacturers' lists. With an error the chain
// vouches for nothing; a problem without one is a warning.
func (s *Service) revoked(ctx context.Context, chain ek.Chain, now time.Time) (problem string, err error) {
	if s.CRLs == nil {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.CRLPatience)
	defer cancel()
	warnings, err := s.CRLs.Check(ctx, chain, s.Revocation, now)
	switch {
	case err != nil:
		return codeOf(err, "ek_refused"), err
	case len(warnings) > 0:
		return warnings[0].Code, nil
	}
	return "", nil
}

// verifyDevID proves that the manufacturer's key is in the TPM whose EK the
// attestation key was activated with: that attestation key certified it, over this
// challenge.
func verifyDevID(e fleet.Enrollment, p Proof) error {
	if e.DevID.Manufacturer == "" {
		return nil
	}
	binding := attest.Binding{Purpose: purposeDevID, Nonce: e.Nonce, DeviceID: string(e.Device)}
	err := attest.CheckDevIDCertify(e.AKPublic, e.DevIDPublic, p.DevIDCertifyInfo, p.DevIDCertifySignature, binding.QualifyingData())
	if err != nil {
		return coded(err, "certification_failed", "the manufacturer's key is not certified by the attestation key")
	}
	return nil
}

// vouchedFor says whether some manufacturer vouches for the TPM. One that revoked
// its EK does not by another key.
func vouchedFor(e fleet.Enrollment) bool {
	return e.Manufacturer != "" || e.DevID.Manufacturer != "" && e.EKProblem != ek.CodeRevoked
}

// identityCode is the code that package idevid gave, if it did.
func identityCode(err error) (string, bool) {
	var identity *idevid.Error
	if errors.As(err, &identity) {
		return identity.Code, true
	}
	return "", false
}
