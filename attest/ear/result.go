package ear

import (
	"encoding/base64"
	"slices"
)

// Profile is the EAT profile of these tokens: the revision of the draft whose
// claims they have.
const Profile = "tag:ietf.org,2026:rats/ear#04"

// Result is the claims-set of one token (draft-ietf-rats-ear, section 3).
type Result struct {
	Profile      string               `json:"eat_profile"`
	Status       Tier                 `json:"ear_status"`    // over all submods
	Issuer       string               `json:"iss,omitempty"` // RFC 7519, section 4.1.1
	Subject      string               `json:"sub,omitempty"` // whom the result is about
	ID           string               `json:"jti,omitempty"`
	IssuedAt     int64                `json:"iat"` // seconds, Unix
	ExpiresAt    int64                `json:"exp"` // seconds, Unix; from then on the token says nothing
	Confirmation *Confirmation        `json:"cnf,omitempty"`
	Nonce        string               `json:"eat_nonce,omitempty"` // of the relying party; see ValidNonce
	Verifier     VerifierID           `json:"ear_verifier_id"`
	Submods      map[string]Appraisal `json:"submods"` // by the attester's label; at least one
}

// VerifierID is who made the verifier, and which build it is (AR4SI, section
// 3.3).
type VerifierID struct {
	Developer string `json:"developer"`
	Build     string `json:"build"`
}

// Confirmation names the key with which the subject can show that the token is
// about itself (RFC 7800).
type Confirmation struct {
	Thumbprint string `json:"jkt"` // SHA-256 JWK thumbprint of that key (RFC 7638; RFC 9449, section 6.1)
}

// Appraisal is what was found of one attester (draft-ietf-rats-ear, section 3.1).
type Appraisal struct {
	Status         Tier           `json:"ear_status"`
	Vector         Vector         `json:"ear_trustworthiness_vector,omitempty"`
	PolicyIDs      []string       `json:"ear_appraisal_policy_ids,omitempty"` // URIs, in the order of their use
	AttesterClaims map[string]any `json:"ear_attester_claims,omitempty"`      // from the evidence
	VerifierClaims map[string]any `json:"ear_verifier_claims,omitempty"`      // from the appraisal
}

// Bounds of a nonce, in bytes (RFC 9711, section 4.1).
const (
	MinNonce = 8
	MaxNonce = 64
)

// ValidNonce reports whether s can be the nonce of a token: 8 to 64 bytes in
// base64url without padding.
func ValidNonce(s string) bool {
	if len(s) > base64.RawURLEncoding.EncodedLen(MaxNonce) {
		return false
	}
	b, err := decode(s)
	return err == nil && len(b) >= MinNonce && len(b) <= MaxNonce
}

// Check finds what contradicts the profile: claims that are missing, and a
// status that is better than what it stands on. The problem has the code
// CodeClaims, CodeProfile or CodeInconsistent.
func (r Result) Check() error {
	switch {
	case r.Profile != Profile:
		return errorf(CodeProfile, "the profile is %.64q, not %s", r.Profile, Profile)
	case r.IssuedAt <= 0 || r.ExpiresAt <= r.IssuedAt:
		return errorf(CodeClaims, "the token does not end after it was issued")
	case r.Verifier.Developer == "" || r.Verifier.Build == "":
		return errorf(CodeClaims, "the token does not name its verifier")
	case len(r.Submods) == 0:
		return errorf(CodeClaims, "the token has no appraisal")
	case r.Nonce != "" && !ValidNonce(r.Nonce):
		return errorf(CodeClaims, "the nonce is not %d to %d bytes in base64url", MinNonce, MaxNonce)
	}
	for label, a := range r.Submods {
		if err := a.check(label); err != nil {
			return err
		}
		if better(r.Status, a.Status) {
			return errorf(CodeInconsistent, "the status %s is better than that of %.64q: %s", r.Status, label, a.Status)
		}
	}
	return nil
}

func (a Appraisal) check(label string) error {
	if a.PolicyIDs != nil && len(a.PolicyIDs) == 0 {
		return errorf(CodeClaims, "the list of policies of %.64q is empty", label)
	}
	if worst := a.Vector.Worst(); worst != None && better(a.Status, worst) {
		return errorf(CodeInconsistent, "the status %s of %.64q is better than its worst claim: %s", a.Status, label, worst)
	}
	for aspect := range a.Vector {
		if !slices.Contains(Aspects(), aspect) {
			return errorf(CodeClaims, "the vector of %.64q has an aspect that AR4SI does not know: %.32q", label, string(aspect))
		}
	}
	return nil
}

// better reports whether a is more trust than b warrants. Nothing but Affirming
// warrants an affirmation, and no silence hides a warning.
func better(a, b Tier) bool {
	switch b {
	case Affirming:
		return false
	case None:
		return a == Affirming
	default:
		return a < b
	}
}
