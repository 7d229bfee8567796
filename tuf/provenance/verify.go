package provenance

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Signer is who signed a bundle that verified: a key, or else an identity.
type Signer struct {
	Key      string // as KeyID names it; empty: a certificate was used
	Identity string // subject alternative name of the certificate: an e-mail address, or the URI of a workflow
	Issuer   string // who vouched for the identity, by OpenID Connect
}

// Signature verifies a bundle with a signature over an image, given the image's
// SHA-256, and says who made it. A message signature of an Ed25519 key is over the
// image itself and not its digest; it is refused. Errors wrap ErrMalformed,
// ErrUntrusted or ErrUnverified.
func (t *Trust) Signature(text, digest []byte) (s Signer, err error) {
	defer recovered(&err)
	b, err := parse(text)
	if err != nil {
		return Signer{}, err
	}
	if b.GetMessageSignature() == nil {
		return Signer{}, fmt.Errorf("read signature: %w: the bundle holds a statement, and no signature over the image", ErrMalformed)
	}
	_, s, err = t.verify(b, digest)
	return s, err
}

// parse reads a bundle.
func parse(text []byte) (*bundle.Bundle, error) {
	if len(text) > MaxBundle {
		return nil, fmt.Errorf("read bundle: %w: more than %d bytes", ErrMalformed, MaxBundle)
	}
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("read bundle: %w: %w", ErrMalformed, err)
	}
	return b, nil
}

func (t *Trust) verify(b *bundle.Bundle, digest []byte) (*verify.VerificationResult, Signer, error) {
	if len(digest) != sha256.Size {
		return nil, Signer{}, fmt.Errorf("verify bundle: %w: a digest of %d bytes", ErrMalformed, len(digest))
	}
	content, err := b.VerificationContent()
	if err != nil {
		return nil, Signer{}, fmt.Errorf("read bundle: %w: %w", ErrMalformed, err)
	}
	artifact := verify.WithArtifactDigest("sha256", digest)
	if content.Certificate() == nil {
		return t.byKey(b, artifact)
	}
	return t.byCertificate(b, artifact)
}

// byKey tries the keys that are trusted, one after the other.
func (t *Trust) byKey(b *bundle.Bundle, artifact verify.ArtifactPolicyOption) (*verify.VerificationResult, Signer, error) {
	if len(t.keys) == 0 {
		return nil, Signer{}, fmt.Errorf("verify bundle: %w: it is signed with a plain key, and none is trusted", ErrUntrusted)
	}
	var errs []error
	for _, key := range t.keys {
		if _, pure := key.public.(ed25519.PublicKey); pure && b.GetMessageSignature() != nil {
			errs = append(errs, fmt.Errorf("key %.12s: Ed25519 signs images and not their digests", key.id))
			continue
		}
		material, err := key.material()
		if err != nil {
			return nil, Signer{}, err
		}
		result, err := check(material, b, artifact, verify.WithKey(), verify.WithNoObserverTimestamps())
		if err == nil {
			return result, Signer{Key: key.id}, nil
		}
		errs = append(errs, fmt.Errorf("key %.12s: %w", key.id, err))
	}
	return nil, Signer{}, fmt.Errorf("verify bundle: %w: %w", ErrUnverified, errors.Join(errs...))
}

// byCertificate wants what the trusted root can check: an entry in a log where it
// has logs, a certificate that was logged where it has such logs, and always a time.
func (t *Trust) byCertificate(b *bundle.Bundle, artifact verify.ArtifactPolicyOption) (*verify.VerificationResult, Signer, error) {
	if t.root == nil {
		return nil, Signer{}, fmt.Errorf("verify bundle: %w: it is signed with a certificate, and there is no trusted root", ErrUntrusted)
	}
	options := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	if len(t.root.RekorLogs()) > 0 {
		options = append(options, verify.WithTransparencyLog(1))
	}
	if len(t.root.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	result, err := check(t.root, b, artifact, verify.WithoutIdentitiesUnsafe(), options...) // the policy judges identities
	if err != nil {
		return nil, Signer{}, fmt.Errorf("verify bundle: %w: %w", ErrUnverified, err)
	}
	if result.Signature == nil || result.Signature.Certificate == nil {
		return nil, Signer{}, fmt.Errorf("verify bundle: %w: it names no certificate", ErrUnverified)
	}
	certificate := result.Signature.Certificate
	return result, Signer{Identity: certificate.SubjectAlternativeName, Issuer: certificate.Issuer}, nil
}

func check(material root.TrustedMaterial, b *bundle.Bundle, artifact verify.ArtifactPolicyOption, who verify.PolicyOption, options ...verify.VerifierOption) (*verify.VerificationResult, error) {
	verifier, err := verify.NewVerifier(material, options...)
	if err != nil {
		return nil, err
	}
	return verifier.Verify(b, verify.NewPolicy(artifact, who))
}
