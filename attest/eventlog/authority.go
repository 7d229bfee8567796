package eventlog

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
)

// guidShimLock is the owner of shim's variables.
const guidShimLock = "605dab50-e046-4300-abb6-3dd810dd8b23"

// Authority is an entry of a key database that verified an image
// (EV_EFI_VARIABLE_AUTHORITY); its digest is recomputed.
type Authority struct {
	Sequence int    `json:"sequence"`
	GUID     string `json:"guid"`
	Variable string `json:"variable"` // "db"; "MokList", "Shim" and others of shim's
	// Fingerprint is the SHA-256 of the DER certificate, or the hash entry
	// itself, lower-case hex.
	Fingerprint string `json:"fingerprint"`
	// Verified: an authority of db whose fingerprint is one of db's entries, as
	// measured in the same log. Those of shim's keys are measured nowhere else.
	Verified bool `json:"verified"`
}

// authority reads what Check found to match its digest.
func (b *factBuilder) authority(e Event) {
	v, _, err := parseVariable(e.Data)
	if err != nil {
		return
	}
	if v.GUID == guidShimLock && (v.Name == "SbatLevel" || v.Name == "SbatLevelRT") {
		b.boot().SBATLevel = &Text{Text: text(v.Data), Verified: b.verified(e)}
		return
	}
	if v.GUID == guidShimLock && len(v.Data) <= 1 { // MokSBState and other flags
		b.boot().Shim = append(b.boot().Shim, b.named(e, v.Name, b.verified(e)))
		return
	}
	b.boot().Authorities = append(b.boot().Authorities, Authority{Sequence: e.Sequence, GUID: v.GUID,
		Variable: v.Name, Fingerprint: authorityFingerprint(v.Data)})
}

// authorityFingerprint is that of what authorityEntry finds.
func authorityFingerprint(data []byte) string {
	data = authorityEntry(data)
	if len(data) == sha256.Size && data[0] != derSequence {
		return hex.EncodeToString(data)
	}
	d := sha256.Sum256(data)
	return hex.EncodeToString(d[:])
}

const derSequence = 0x30

// authorityEntry skips the owner of an EFI_SIGNATURE_DATA: firmware and shim log
// one, except for shim's own certificate, which is DER alone.
func authorityEntry(data []byte) []byte {
	const owner = 16 // bytes of a GUID
	isDER := len(data) > 2 && data[0] == derSequence && data[1] == 0x82
	if !isDER && len(data) > owner {
		return data[owner:]
	}
	return data
}

// authoritySubject is the subject of an authority that is a certificate.
func authoritySubject(data []byte) string {
	cert, err := x509.ParseCertificate(authorityEntry(data))
	if err != nil {
		return ""
	}
	return subject(cert)
}

// verifyAuthorities compares them with db once the whole log is read.
func (b *factBuilder) verifyAuthorities() {
	if b.facts.Boot == nil || b.facts.SecureBoot == nil {
		return
	}
	for i, a := range b.facts.Boot.Authorities {
		b.facts.Boot.Authorities[i].Verified = a.GUID == guidImageSecurity && a.Variable == "db" &&
			slices.Contains(b.facts.SecureBoot.DB, a.Fingerprint)
	}
}
