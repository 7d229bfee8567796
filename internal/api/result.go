package api

import "time"

// Paths of attestation result tokens.
const (
	PathDeviceResult = "/v1/device/result"       // a device's own, by its client certificate
	PathResult       = "/v1/devices/{id}/result" // any device's, by an operator's token
	PathResultKeys   = "/.well-known/jwks.json"  // the keys that they are signed with; no credential
)

// KeySetType is the media type of a JWK Set (RFC 7517, section 8.5).
const KeySetType = "application/jwk-set+json"

// Result is a signed attestation result (docs/integrator-guide.md).
type Result struct {
	Token     string    `json:"token" doc:"EAT attestation result, a signed JWT in compact serialisation"`
	Status    string    `json:"status" enum:"none,affirming,warning,contraindicated" doc:"what the token says of the device"`
	ExpiresAt time.Time `json:"expires_at"`
}
