package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// Paths of the certificate authority. Those below /ca/ and the SPIFFE bundle need
// no credential: they are for whoever verifies a certificate.
const (
	PathTrustBundle  = "/v1/device/trust-bundle" // a device, by its client certificate
	PathAuthorities  = "/v1/ca"                  // an operator
	PathRotate       = "/v1/ca/{action}"         // begin, activate, retire; an operator
	PathSPIFFEBundle = "/spiffe/bundle"          // SPIFFE Trust Domain and Bundle, section 5
	PathBundlePEM    = "/ca/bundle.pem"
	PathCRL          = "/ca/{id}/crl"
	PathIssuer       = "/ca/{id}/issuer"
	PathOCSP         = "/ca/{id}/ocsp"
)

// TrustBundle is whom a device is to believe.
type TrustBundle struct {
	Server  [][]byte `json:"server" doc:"roots of the service's own certificate, DER"`
	Devices [][]byte `json:"devices" doc:"roots of device certificates, DER"`
}

// Digest names the bundle, whatever the order of its roots: SHA-256 in lower-case
// hexadecimal over "server", the number of its roots, the SHA-256 of each in
// ascending order, and the same of "devices".
func (b TrustBundle) Digest() string {
	sum := sha256.New()
	for _, part := range []struct {
		name  string
		roots [][]byte
	}{{"server", b.Server}, {"devices", b.Devices}} {
		digests := make([][]byte, 0, len(part.roots))
		for _, der := range part.roots {
			digest := sha256.Sum256(der)
			digests = append(digests, digest[:])
		}
		slices.SortFunc(digests, bytes.Compare)
		sum.Write([]byte(part.name))
		sum.Write([]byte{byte(len(digests) >> 8), byte(len(digests))})
		for _, digest := range digests {
			sum.Write(digest)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Authority is one signing key of a CA.
type Authority struct {
	ID      string `json:"id" doc:"subject key identifier, hexadecimal"`
	Role    string `json:"role" enum:"next,signing,retiring"`
	Subject string `json:"subject"`
	// Live counts certificates that are on record as issued, are not revoked, and
	// have not ended.
	Live     int        `json:"live_certificates"`
	LastEnds *time.Time `json:"last_ends,omitempty" doc:"when the last of its live certificates ends: the earliest that it may be retired without force"`
	NotAfter time.Time  `json:"not_after"`
	Bridged  bool       `json:"bridged" doc:"who knows only its predecessor can verify it too"`
}

// CA is a certificate authority and whom it consists of.
type CA struct {
	Name        string      `json:"name" doc:"server: of the service's own certificate; devices: of device certificates; local: of both"`
	Rotatable   bool        `json:"rotatable" doc:"it can be changed through this service"`
	Authorities []Authority `json:"authorities"`
}

// CAStatus is how far a change of a CA is.
type CAStatus struct {
	CAs       []CA   `json:"cas"`
	Bundle    string `json:"trust_bundle" doc:"digest of what devices are to believe"`
	Devices   int    `json:"devices" doc:"that are active or quarantined"`
	Confirmed int    `json:"confirmed" doc:"those of them whose last accepted check-in said that they hold this bundle"`
}

// RotateRequest is one step of a change.
type RotateRequest struct {
	CA    string `json:"ca,omitempty" maxLength:"16" doc:"name of the CA; needed where more than one can be changed"`
	Force bool   `json:"force,omitempty" doc:"also where devices have not confirmed the bundle, or live certificates depend on what is retired"`
}
