package api

import "time"

// DeviceCertificate is one of a device's certificates, from the intent to its end.
type DeviceCertificate struct {
	ID        string     `json:"id"`
	State     string     `json:"state" doc:"intended, issued, restricted (to the device routes, in quarantine), revoked, failed, or ambiguous (the CA may have signed)"`
	Reason    string     `json:"reason,omitempty" doc:"why it ended"`
	Serial    string     `json:"serial,omitempty" doc:"hexadecimal"`
	Key       string     `json:"key" doc:"SHA-256 of the public key (SPKI), hexadecimal"`
	CreatedAt time.Time  `json:"created_at"`
	NotBefore *time.Time `json:"not_before,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	RotateKey bool       `json:"rotate_key,omitempty" doc:"its key is to be replaced"`
	// What the CA knows of its end.
	RevokedAtCA *time.Time `json:"revoked_at_ca,omitempty" doc:"when the CA confirmed the revocation"`
	Attempts    int        `json:"ca_attempts,omitempty" doc:"attempts to tell the CA that failed"`
	Problem     string     `json:"ca_problem,omitempty" doc:"of the last attempt: away, or refused"`
}

// DeviceCertificates are a device's certificates, newest first.
type DeviceCertificates struct {
	Device       string              `json:"device"`
	Name         string              `json:"name,omitempty"`
	Certificates []DeviceCertificate `json:"certificates"`
}
