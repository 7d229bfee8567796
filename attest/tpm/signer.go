package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// Signer returns a crypto.Signer for a key of CreateTLSKey, to be used as the
// private key of a tls.Certificate or to sign a certificate request. It signs
// SHA-256 digests only and is safe for concurrent use. The key is loaded for
// each signature and unloaded after it, so nothing is held in the TPM between.
func (t *TPM) Signer(key Key) (crypto.Signer, error) {
	public, err := publicKey(key.Public)
	if err != nil {
		return nil, fmt.Errorf("make signer: %w", err)
	}
	// A key of another TPM is refused here rather than in a handshake.
	if err := t.withKeys(func([]object) error { return nil }, key); err != nil {
		return nil, fmt.Errorf("make signer: %w", err)
	}
	return &signer{tpm: t, key: key, public: public}, nil
}

type signer struct {
	tpm    *TPM
	key    Key
	public *ecdsa.PublicKey
}

func (s *signer) Public() crypto.PublicKey { return s.public }

// Sign returns an ASN.1 ECDSA signature over digest. The TPM draws its own
// random numbers.
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts == nil || opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, errors.New("sign with TPM: key signs SHA-256 digests only")
	}
	var sig *tpm2.TPMSSignatureECC
	err := s.tpm.withKeys(func(loaded []object) error {
		rsp, err := tpm2.Sign{
			KeyHandle:  loaded[0].auth(),
			Digest:     tpm2.TPM2BDigest{Buffer: digest},
			InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
		}.Execute(s.tpm.transport)
		if err != nil {
			return err
		}
		sig, err = rsp.Signature.Signature.ECDSA()
		return err
	}, s.key)
	if err != nil {
		return nil, fmt.Errorf("sign with TPM: %w", err)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(sig.SignatureR.Buffer),
		new(big.Int).SetBytes(sig.SignatureS.Buffer),
	})
}

// publicKey decodes a TPMT_PUBLIC of an unrestricted P-256 signing key.
func publicKey(tpmtPublic []byte) (*ecdsa.PublicKey, error) {
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](tpmtPublic)
	if err != nil {
		return nil, fmt.Errorf("decode key: %w", err)
	}
	params, err := pub.Parameters.ECCDetail()
	if err != nil || params.CurveID != tpm2.TPMECCNistP256 {
		return nil, errors.New("key is not on P-256")
	}
	if pub.ObjectAttributes.Restricted {
		return nil, errors.New("key is restricted: it signs only what the TPM made")
	}
	point, err := pub.Unique.ECC()
	if err != nil {
		return nil, fmt.Errorf("decode point: %w", err)
	}
	if len(point.X.Buffer) > 32 || len(point.Y.Buffer) > 32 {
		return nil, errors.New("point is too long for P-256")
	}
	raw := make([]byte, 65)
	raw[0] = 4 // uncompressed
	copy(raw[33-len(point.X.Buffer):33], point.X.Buffer)
	copy(raw[65-len(point.Y.Buffer):], point.Y.Buffer)
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
}
