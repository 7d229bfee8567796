// Package result makes attestation result tokens: what the service holds of one
// device at this instant, signed for relying parties (RFC 9334, section 8;
// draft-ietf-rats-ear, through package attest/ear).
//
// A token never says more than the stored posture does: only an active device
// whose verdict is compliant and fresh is affirmed, and never for longer than
// that posture is believed.
package result

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"time"

	"troth/attest/ear"
	"troth/internal/fleet"
)

// Store is what a token is made from.
type Store interface {
	Device(ctx context.Context, id fleet.DeviceID) (fleet.Device, error)
	Posture(ctx context.Context, id fleet.DeviceID) (fleet.Posture, error)
	Decision(ctx context.Context, id string) (fleet.Decision, error)
}

// Keys sign tokens, with the key that is in force.
type Keys interface {
	Key() ear.Key
}

// Service is the use case.
type Service struct {
	Store       Store
	Keys        Keys
	Issuer      string        // iss of the tokens
	TrustDomain string        // of the devices' SPIFFE ids
	Build       string        // of this verifier
	Lifetime    time.Duration // of a token, at most
	Now         func() time.Time
}

// developer is who made the verifier (AR4SI, section 3.3).
const developer = "troth"

// label names the one attester of a device in its token.
const label = "device"

// Token is a signed result.
type Token struct {
	Text      string // JWS, compact
	Status    ear.Tier
	ExpiresAt time.Time
}

// Token makes a device's token; nonce is the relying party's, empty for none.
// Every device that is known gets one, whatever it says.
func (s *Service) Token(ctx context.Context, id fleet.DeviceID, nonce string) (Token, error) {
	if nonce != "" && !ear.ValidNonce(nonce) {
		return Token{}, fleet.Errorf(fleet.Invalid, "result_nonce_invalid", "a nonce is %d to %d bytes in base64url without padding", ear.MinNonce, ear.MaxNonce)
	}
	st, err := s.read(ctx, id)
	if err != nil {
		return Token{}, err
	}
	now := s.Now()
	expires := st.until(now, now.Add(s.Lifetime))
	appraisal := st.appraisal(now)
	r := ear.Result{
		Profile: ear.Profile, Status: appraisal.Status, Issuer: s.Issuer,
		Subject: "spiffe://" + s.TrustDomain + "/device/" + string(id), ID: fleet.NewID(),
		IssuedAt: now.Unix(), ExpiresAt: expires.Unix(), Confirmation: confirmation(st.device), Nonce: nonce,
		Verifier: ear.VerifierID{Developer: developer, Build: s.Build},
		Submods:  map[string]ear.Appraisal{label: appraisal},
	}
	text, err := ear.Sign(s.Keys.Key(), r)
	if err != nil {
		return Token{}, err
	}
	return Token{Text: text, Status: r.Status, ExpiresAt: time.Unix(r.ExpiresAt, 0)}, nil
}

// state is what is stored of a device.
type state struct {
	device   fleet.Device
	posture  *fleet.Posture // nil: none
	decision fleet.Decision // zero: not kept
}

// read gets the posture first and the device last, so that a quarantine that
// comes in between is seen.
func (s *Service) read(ctx context.Context, id fleet.DeviceID) (state, error) {
	var st state
	p, err := s.Store.Posture(ctx, id)
	if err != nil && !fleet.IsKind(err, fleet.NotFound) {
		return st, err
	}
	if err == nil {
		st.posture = &p
		st.decision, err = s.Store.Decision(ctx, p.Decision)
		if err != nil && !fleet.IsKind(err, fleet.NotFound) {
			return st, err
		}
	}
	st.device, err = s.Store.Device(ctx, id)
	return st, err
}

// confirmation names the device's TLS key, so that a relying party which the
// device reaches over mutual TLS sees that the token is its own.
func confirmation(d fleet.Device) *ear.Confirmation {
	key, err := x509.ParsePKIXPublicKey(d.TLSPublic)
	if err != nil {
		return nil // it has never enrolled
	}
	thumbprint, err := ear.Thumbprint(key)
	if err != nil {
		return nil
	}
	return &ear.Confirmation{Thumbprint: thumbprint}
}

// ueid is the device id as a Universal Entity ID of the type RAND (RFC 9711,
// section 4.2.1.1): a hash over what makes the device unique.
func ueid(id fleet.DeviceID) string {
	b, err := hex.DecodeString(string(id))
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(append([]byte{0x01}, b...))
}

// policyID names a policy bundle by its digest (RFC 6920, section 3).
func policyID(digest string) string {
	b, err := hex.DecodeString(digest)
	if err != nil || len(b) == 0 {
		return ""
	}
	return "ni:///sha-256;" + base64.RawURLEncoding.EncodeToString(b)
}
