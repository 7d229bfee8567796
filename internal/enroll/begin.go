package enroll

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"

	"troth/attest"
	"troth/attest/ek"
	"troth/ca"
	"troth/internal/evidence"
	"troth/internal/fleet"
)

// secretSize of a credential activation, in bytes.
const secretSize = 32

// Claim is how a device introduces itself.
type Claim struct {
	EKCertificate []byte // DER; nil: the TPM has none
	EKPublic      []byte // TPMT_PUBLIC; used only without a certificate
	AKPublic      []byte // TPMT_PUBLIC
	TLSPublic     []byte // TPMT_PUBLIC
	Model         string
	Name          string
}

// Challenge is what the device must answer.
type Challenge struct {
	ID              string
	Device          fleet.DeviceID
	URI             string
	CredentialBlob  []byte // TPM2B_ID_OBJECT contents
	EncryptedSecret []byte // TPM2B_ENCRYPTED_SECRET contents
	Nonce           []byte
	Selection       map[string][]int
	ExpiresAt       time.Time
}

// Begin checks the keys that a device claims and challenges it to prove that
// one TPM holds them (TPM 2.0 Library part 1, section 24).
func (s *Service) Begin(ctx context.Context, c Claim) (Challenge, error) {
	now := s.Now()
	e := fleet.Enrollment{
		ID: fleet.NewID(), Name: c.Name, Model: c.Model, AKPublic: c.AKPublic, TLSPublic: c.TLSPublic,
		Nonce: randomBytes(32), CreatedAt: now, ExpiresAt: now.Add(s.ChallengeLife),
	}
	if err := s.endorse(ctx, &e, c, now); err != nil {
		return Challenge{}, err
	}
	known, err := s.existing(ctx, e.Device)
	if err != nil {
		return Challenge{}, err
	}
	// Nobody vouches for this TPM: no row is kept for it.
	if e.Manufacturer == "" && known.RegisteredAt.IsZero() {
		return Challenge{}, stranger(e)
	}
	akName, err := attest.CheckAK(c.AKPublic)
	if err != nil {
		return Challenge{}, coded(err, "ak_refused", "the attestation key is refused")
	}
	secret := randomBytes(secretSize)
	sum := sha256.Sum256(secret)
	e.SecretSHA256 = sum[:]
	blob, encrypted, err := attest.MakeCredential(rand.Reader, e.EKPublic, akName, secret)
	if err != nil {
		return Challenge{}, fleet.Because(err, fleet.Refused, "ek_unusable", "no credential can be made for this endorsement key")
	}
	if err := s.Store.SaveEnrollment(ctx, e); err != nil {
		return Challenge{}, err
	}
	return Challenge{
		ID: e.ID, Device: e.Device, URI: s.URI(e.Device), CredentialBlob: blob, EncryptedSecret: encrypted,
		Nonce: e.Nonce, Selection: evidence.Selection(), ExpiresAt: e.ExpiresAt,
	}, nil
}

// endorse establishes which TPM this is and who vouches for it. The public area
// is rebuilt from the TCG's templates, never taken from the client as it is
// (TCG EK Credential Profile, annex B).
func (s *Service) endorse(ctx context.Context, e *fleet.Enrollment, c Claim, now time.Time) error {
	if len(c.EKCertificate) == 0 {
		if err := ek.CheckPublic(c.EKPublic); err != nil {
			return coded(err, "ek_refused", "the endorsement key is refused")
		}
		e.EKPublic, e.EKProblem = c.EKPublic, "ek_no_certificate"
		e.Device = fleet.DeviceID(ek.DeviceID(c.EKPublic))
		return nil
	}
	cert, err := ek.ParseCertificate(c.EKCertificate)
	if err != nil {
		return coded(err, "ek_malformed", "the EK certificate cannot be read")
	}
	public, err := ek.Public(cert)
	if err != nil {
		return coded(err, "ek_refused", "the key of the EK certificate is refused")
	}
	e.EKCertificate, e.EKPublic, e.Device = c.EKCertificate, public, fleet.DeviceID(ek.DeviceID(public))
	roots, err := s.roots(ctx)
	if err != nil {
		return err
	}
	chain, err := roots.Verify(cert, now)
	if err != nil {
		e.EKProblem = codeOf(err, "ek_refused")
		return nil
	}
	e.Manufacturer = chain.Manufacturer
	return nil
}

// roots are the trusted manufacturers as they are now.
func (s *Service) roots(ctx context.Context) (*ek.Roots, error) {
	makers, err := s.Store.Manufacturers(ctx)
	if err != nil {
		return nil, err
	}
	roots := ek.NewRoots()
	for _, m := range makers {
		if err := roots.Add(m.Name, m.PEM); err != nil {
			return nil, fleet.Because(err, fleet.Internal, "manufacturer_unusable", "the stored certificates of manufacturer %s cannot be read", m.Name)
		}
	}
	return roots, nil
}

func stranger(e fleet.Enrollment) error {
	return fleet.Errorf(fleet.Refused, e.EKProblem,
		"device %s is not registered, and no trusted manufacturer vouches for its TPM: register its EK hash or add the manufacturer's root", e.Device.Short())
}

// codeOf is the stable code that a capability package gave its refusal.
func codeOf(err error, otherwise string) string {
	var endorsement *ek.Error
	var evidence *attest.Error
	var request *ca.CSRError
	switch {
	case errors.As(err, &endorsement):
		return endorsement.Code
	case errors.As(err, &evidence):
		return evidence.Code()
	case errors.As(err, &request):
		return request.Code
	default:
		return otherwise
	}
}

// coded answers a refusal of a capability package with the package's own code.
func coded(err error, otherwise, message string) error {
	return fleet.Because(err, fleet.Refused, codeOf(err, otherwise), "%s: %s", message, err.Error())
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}
