package api

import "time"

// EnrollRequest opens an enrolment. Exactly what the TPM holds: the service
// rebuilds the endorsement key's public area from the certificate. EKPublic then
// says which of two templates with the same kind of key it follows.
type EnrollRequest struct {
	EKCertificate []byte `json:"ek_certificate,omitempty" maxLength:"16384" doc:"DER, from the TPM's NV storage"`
	EKPublic      []byte `json:"ek_public,omitempty" maxLength:"4096" doc:"TPMT_PUBLIC; needed without a certificate, and where the key is of the high range"`
	EKChain       []byte `json:"ek_chain,omitempty" maxLength:"87384" doc:"what the NV indices 0x01c00100 to 0x01c001ff hold, one after the other: at most 16 certificates in 64 KiB"`
	EKTemplate    []byte `json:"ek_template,omitempty" maxLength:"2048" doc:"TPMT_PUBLIC from the NV index of the EK's template, where the TPM has one"`
	EKNonce       []byte `json:"ek_nonce,omitempty" maxLength:"1024" doc:"from the NV index of the EK's nonce, where the TPM has one"`
	IDevIDPublic  []byte `json:"idevid_public,omitempty" maxLength:"4096" doc:"TPMT_PUBLIC of the manufacturer's IDevID, or of its IAK, where the TPM has one"`
	IDevIDChain   []byte `json:"idevid_chain,omitempty" maxLength:"87384" doc:"its certificate and those above it, as the NV indices from 0x01c90000 or 0x01c90100 on hold them: at most 16 in 64 KiB"`
	AKPublic      []byte `json:"ak_public" maxLength:"4096" doc:"TPMT_PUBLIC of the attestation key"`
	TLSPublic     []byte `json:"tls_public" maxLength:"4096" doc:"TPMT_PUBLIC of the TLS key"`
	Model         string `json:"model" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"hardware model"`
	Name          string `json:"name,omitempty" maxLength:"128" doc:"what the device calls itself"`
}

// EnrollChallenge proves, once answered, that the attestation key and the
// endorsement key live in one TPM (TPM 2.0 Library part 1, section 24).
type EnrollChallenge struct {
	ID              string    `json:"id"`
	DeviceID        string    `json:"device_id"`
	CredentialBlob  []byte    `json:"credential_blob"`
	EncryptedSecret []byte    `json:"encrypted_secret"`
	Nonce           []byte    `json:"nonce"`
	URI             string    `json:"uri" doc:"the SPIFFE ID that the certificate will carry"`
	Selection       Selection `json:"selection" doc:"the PCRs to quote"`
	ExpiresAt       time.Time `json:"expires_at"`
}

// EnrollProof answers a challenge.
type EnrollProof struct {
	Secret           []byte   `json:"secret" maxLength:"64"`
	Evidence         Evidence `json:"evidence"`
	CertifyInfo      []byte   `json:"certify_info" maxLength:"4096" doc:"TPMS_ATTEST: the AK certifies the TLS key"`
	CertifySignature []byte   `json:"certify_signature" maxLength:"4096" doc:"TPMT_SIGNATURE"`
	CSR              []byte   `json:"csr" maxLength:"16384" doc:"PKCS #10, DER"`

	IDevIDCertifyInfo      []byte `json:"idevid_certify_info,omitempty" maxLength:"4096" doc:"TPMS_ATTEST: the AK certifies the IDevID or IAK (TPM2_Certify or TPM2_CertifyCreation)"`
	IDevIDCertifySignature []byte `json:"idevid_certify_signature,omitempty" maxLength:"4096" doc:"TPMT_SIGNATURE"`
}

// Credential is what a device may prove itself with until NotAfter.
type Credential struct {
	DeviceID    string    `json:"device_id"`
	Certificate []byte    `json:"certificate" doc:"DER"`
	Chain       [][]byte  `json:"chain" doc:"issuers, DER, leaf's issuer first"`
	TrustBundle [][]byte  `json:"trust_bundle" doc:"roots of device certificates, DER"`
	NotAfter    time.Time `json:"not_after"`
	Nonce       []byte    `json:"nonce" doc:"for the first check-in"`
}

// RenewRequest asks for a new certificate for the key of the current one, or for
// a new key.
type RenewRequest struct {
	CSR    []byte  `json:"csr" maxLength:"16384" doc:"PKCS #10, DER, by the key that the certificate is for"`
	NewKey *NewKey `json:"new_key,omitempty" doc:"where the TLS key is replaced"`
}

// NewKey proves that a new TLS key lives in the TPM of the attestation key
// (TPM2_Certify). The qualifying data is that of an enrolment, over a nonce for a
// check-in, which this uses up.
type NewKey struct {
	Nonce            []byte `json:"nonce" maxLength:"256"`
	TLSPublic        []byte `json:"tls_public" maxLength:"4096" doc:"TPMT_PUBLIC of the new TLS key"`
	CertifyInfo      []byte `json:"certify_info" maxLength:"4096" doc:"TPMS_ATTEST: the AK certifies the new TLS key"`
	CertifySignature []byte `json:"certify_signature" maxLength:"4096" doc:"TPMT_SIGNATURE"`
}

// Selection names PCRs by bank.
type Selection map[string][]int

// PCRs are values by bank and index, lower-case hexadecimal.
type PCRs map[string]map[int]string

// Evidence is one attestation. The quote's qualifying data is
// attest.Binding.QualifyingData over the nonce, the device, its TLS key, the
// exact bytes of Reported, and the digests of the logs. A check-in may leave out
// the beginning of the IMA list that the service has counted in this boot.
type Evidence struct {
	Quote     []byte `json:"quote" maxLength:"8192" doc:"TPMS_ATTEST"`
	Signature []byte `json:"signature" maxLength:"4096" doc:"TPMT_SIGNATURE"`
	PCRs      PCRs   `json:"pcrs"`
	EventLog  *Log   `json:"event_log,omitempty"`
	IMA       *Log   `json:"ima,omitempty"`
	IMAFrom   int    `json:"ima_from,omitempty" minimum:"0" doc:"entries of the IMA list that come before ima: ima_entries of the last answer; 0: the list is whole"`
	Userspace *Log   `json:"userspace_log,omitempty" doc:"systemd's log of its own measurements; it continues the event log"`
	Reported  []byte `json:"reported" maxLength:"262144" doc:"JSON document of type Reported, the exact bytes that the quote binds"`
}

// Log names a measurement log by its digest; the content is left out where the
// service already holds it.
type Log struct {
	SHA256  string `json:"sha256" pattern:"^[0-9a-f]{64}$"`
	Content []byte `json:"content,omitempty"`
}

// Reported is what a device says of itself. It is bound to the quote, so that
// nobody on the way can change it; it remains the device's own word.
type Reported struct {
	AgentVersion string         `json:"agent_version,omitempty"`
	Hostname     string         `json:"hostname,omitempty"`
	OS           string         `json:"os,omitempty"`
	Arch         string         `json:"arch,omitempty"`
	Firmware     ReportedSlot   `json:"firmware"`
	Update       ReportedUpdate `json:"update"`
	Health       string         `json:"health,omitempty"`
	TrustBundle  string         `json:"trust_bundle,omitempty"` // TrustBundle.Digest of what it holds
	Host         *HostFacts     `json:"host,omitempty"`         // what the agent reads of its system; nil: nothing
}

// ReportedSlot is the firmware slot that the device says it runs from.
type ReportedSlot struct {
	Slot    string `json:"slot,omitempty"`
	Version string `json:"version,omitempty"`
}

// ReportedUpdate is the progress of an update, in the states of
// fleet.MemberState.
type ReportedUpdate struct {
	State   string `json:"state,omitempty"`
	Version string `json:"version,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Nonce is a fresh challenge for one check-in.
type Nonce struct {
	Nonce      []byte    `json:"nonce"`
	Selection  Selection `json:"selection"`
	IMAEntries int       `json:"ima_entries,omitempty" doc:"entries of the IMA list that the service has counted in this boot"`
}

// CheckInRequest is one check-in.
type CheckInRequest struct {
	Nonce    []byte   `json:"nonce" maxLength:"256"`
	Evidence Evidence `json:"evidence"`
}

// CheckInAnswer tells the device how it stands and what to do next.
type CheckInAnswer struct {
	Verdict     string      `json:"verdict"`
	Lifecycle   string      `json:"lifecycle"`
	Findings    []Finding   `json:"findings,omitempty"`
	Firmware    string      `json:"firmware,omitempty" doc:"the release that the quote proved"`
	Assignment  *Assignment `json:"assignment,omitempty"`
	Certificate string      `json:"certificate,omitempty" doc:"what to do about the certificate now: renew, or rotate_key (renew with a new key)"`
	Nonce       []byte      `json:"nonce"`
	NextSeconds int         `json:"next_seconds" doc:"come back after this long"`
	TrustBundle string      `json:"trust_bundle,omitempty" doc:"digest of the trust bundle to hold: fetch it where it differs"`
	IMAEntries  int         `json:"ima_entries,omitempty" doc:"entries of the IMA list that the service has counted in this boot"`
}

// Finding is a control that the device fails.
type Finding struct {
	Control string `json:"control"`
	Reason  string `json:"reason"`
}

// Assignment is the release that the device is to install.
type Assignment struct {
	Rollout string `json:"rollout"`
	Target  string `json:"target" doc:"TUF target path"`
	Version string `json:"version"`
	Counter uint64 `json:"counter"`
}
