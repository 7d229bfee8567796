package ear

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json" // tells letter case, and refuses a name that comes twice
)

// Type is the typ header: an EAT in a JWT (RFC 9782; RFC 7515, section 4.1.9).
const Type = "eat+jwt"

// MaxToken bounds a token, in bytes.
const MaxToken = 64 << 10

// Sign makes the token of a result. It refuses what Check refuses, and an
// appraisal without a vector.
func Sign(k Key, r Result) (string, error) {
	if k.private == nil {
		return "", fmt.Errorf("sign result: there is no key")
	}
	if err := r.Check(); err != nil {
		return "", fmt.Errorf("sign result: %w", err)
	}
	for label, a := range r.Submods {
		if len(a.Vector) == 0 {
			return "", fmt.Errorf("sign result: the appraisal %q has no trustworthiness vector", label)
		}
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode result: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.private, KeyID: k.ID},
	}, (&jose.SignerOptions{}).WithType(Type))
	if err != nil {
		return "", fmt.Errorf("sign result: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign result: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("sign result: %w", err)
	}
	if len(token) > MaxToken {
		return "", fmt.Errorf("sign result: the token has more than %d bytes", MaxToken)
	}
	return token, nil
}

// Expectation is what a relying party knows before it reads a token.
type Expectation struct {
	Now     time.Time
	Skew    time.Duration // that clocks may differ by; 0: not at all
	Issuer  string        // empty: whoever holds a key of the set
	Subject string        // empty: any
	Nonce   string        // as it was sent; empty: none was
}

// Verify opens a token and checks all that can be checked without knowing the
// device: its form, its header, its signature by a key of the set, its profile,
// its times, that no status is better than its claims, and what is expected.
// Whether the status suffices is for the caller to say. Every refusal is an
// *Error.
func Verify(token string, keys KeySet, want Expectation) (Result, error) {
	payload, err := open(token, keys)
	if err != nil {
		return Result{}, err
	}
	var r Result
	if err := strict.Unmarshal(payload, &r); err != nil {
		return Result{}, errorf(CodeClaims, "the claims cannot be read: %s", err)
	}
	if err := r.Check(); err != nil {
		return Result{}, err
	}
	return r, want.check(r)
}

func (want Expectation) check(r Result) error {
	switch {
	case !want.Now.Before(time.Unix(r.ExpiresAt, 0).Add(want.Skew)):
		return errorf(CodeExpired, "the token ended at %s", time.Unix(r.ExpiresAt, 0).UTC().Format(time.RFC3339))
	case want.Now.Add(want.Skew).Before(time.Unix(r.IssuedAt, 0)):
		return errorf(CodeNotYet, "the token was issued at %s, which is not yet", time.Unix(r.IssuedAt, 0).UTC().Format(time.RFC3339))
	case want.Issuer != "" && r.Issuer != want.Issuer:
		return errorf(CodeIssuer, "the token was issued by %.128q, not by %q", r.Issuer, want.Issuer)
	case want.Subject != "" && r.Subject != want.Subject:
		return errorf(CodeSubject, "the token is about %.128q, not about %q", r.Subject, want.Subject)
	case want.Nonce != "" && r.Nonce != want.Nonce:
		return errorf(CodeNonce, "the token does not have the nonce that was asked for")
	}
	return nil
}

// open is the payload of a token whose signature holds.
func open(token string, keys KeySet) ([]byte, error) {
	if len(token) > MaxToken {
		return nil, errorf(CodeMalformed, "the token has more than %d bytes", MaxToken)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errorf(CodeMalformed, "a token has three parts, not %d", len(parts))
	}
	for _, part := range parts {
		if _, err := decode(part); err != nil {
			return nil, errorf(CodeMalformed, "a part of the token is not base64url: %s", err)
		}
	}
	kid, err := header(parts[0])
	if err != nil {
		return nil, err
	}
	key := keys.keys[kid]
	if key == nil {
		return nil, errorf(CodeKeyUnknown, "the key set has no key %.64q", kid)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, errorf(CodeMalformed, "the token cannot be read: %s", err)
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return nil, errorf(CodeSignature, "the signature does not hold")
	}
	return payload, nil
}

// header reads the protected header: exactly alg, typ and kid. Whatever else a
// header can say (jwk, jku, x5c, crit, …) would let the token choose how it is
// verified.
func header(part string) (kid string, err error) {
	text, _ := decode(part) // was decoded before
	var h map[string]any
	if err := strict.Unmarshal(text, &h); err != nil {
		return "", errorf(CodeMalformed, "the header cannot be read: %s", err)
	}
	if alg, _ := h["alg"].(string); alg != string(jose.ES256) {
		return "", errorf(CodeAlgorithm, "the token says that it is signed with %.32q, not ES256", alg)
	}
	if typ, _ := h["typ"].(string); typ != Type {
		return "", errorf(CodeType, "the token is of the type %.32q, not %s", typ, Type)
	}
	kid, ok := h["kid"].(string)
	if !ok || kid == "" {
		return "", errorf(CodeKeyUnknown, "the token does not name its key")
	}
	for name := range h {
		if name != "alg" && name != "typ" && name != "kid" {
			return "", errorf(CodeHeader, "the header has %.32q, which is not accepted", name)
		}
	}
	return kid, nil
}

// decode reads base64url without padding, in its one canonical form: Go's
// decoder would pass over line breaks.
func decode(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, base64.CorruptInputError(strings.IndexAny(s, "\r\n"))
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}
