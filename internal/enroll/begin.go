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
	EKPublic      []byte // TPMT_PUBLIC; with a certificate it may be nil, and must be of its key
	EKChain       []byte // certificates above the EK's as the TPM's NV memory has them (ek.ParseChain)
	EKTemplate    []byte // TPMT_PUBLIC from NV memory; nil: none
	EKNonce       []byte // from NV memory; nil: none
	DevIDPublic   []byte // TPMT_PUBLIC of the manufacturer's IDevID or IAK; nil: none
	DevIDChain    []byte // its certificate and those above, as ek.ParseChain reads them
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
	if err := s.identify(ctx, &e, c, now); err != nil {
		return Challenge{}, err
	}
	if err := s.onlyOnce(ctx, e); err != nil {
		return Challenge{}, err
	}
	known, err := s.existing(ctx, e.Device)
	if err != nil {
		return Challenge{}, err
	}
	// Nobody vouches for this TPM: no row is kept for it.
	if !vouchedFor(e) && known.RegisteredAt.IsZero() {
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

// codeOf is the stable code that a capability package gave its refusal.
func codeOf(err error, otherwise string) string {
	if code, ok := identityCode(err); ok {
		return code
	}
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
