package ima

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1" // key ids are defined with it; nothing rests on them
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of Keyring.Verify.
var (
	ErrNotSigned  = errors.New("the entry carries no signature")
	ErrUnknownKey = errors.New("no key of the keyring has the signature's key id")
	ErrSignature  = errors.New("the signature does not verify")
)

// Keyring holds the public keys that files may be signed with. Build it with
// Add, then share it: Verify does not change it.
type Keyring struct {
	keys map[uint32][]crypto.PublicKey
}

// NewKeyring gives an empty keyring, under which nothing verifies.
func NewKeyring() *Keyring { return &Keyring{keys: map[uint32][]crypto.PublicKey{}} }

// Add takes a certificate's key, RSA of 2048 bits or more, or ECDSA. Signatures
// name it by the last four bytes of its subject key identifier, and as
// ima-evm-utils computes them, of the SHA-1 of its key bits. The certificate
// itself is not verified.
func (k *Keyring) Add(cert *x509.Certificate) error {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return fmt.Errorf("add IMA key: RSA of %d bits", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
	default:
		return errors.New("add IMA key: neither RSA nor ECDSA")
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &info); err != nil {
		return fmt.Errorf("add IMA key: %w", err)
	}
	sum := sha1.Sum(info.Key.RightAlign())
	ids := map[uint32]bool{binary.BigEndian.Uint32(sum[16:]): true}
	if n := len(cert.SubjectKeyId); n >= 4 {
		ids[binary.BigEndian.Uint32(cert.SubjectKeyId[n-4:])] = true
	}
	for id := range ids {
		k.keys[id] = append(k.keys[id], cert.PublicKey)
	}
	return nil
}

// signatureHeader is the size of signature_v2_hdr (Linux
// security/integrity/integrity.h): type, version, hash algorithm, key id, size.
const signatureHeader = 9

// Verify checks the signature of an ima-sig entry over its file digest:
// security.ima of type EVM_IMA_XATTR_DIGSIG in format version 2, RSA with PKCS #1
// v1.5 or ECDSA, SHA-256 or stronger. Where the file carries a plain hash instead,
// or nothing, it is ErrNotSigned. The entry's digest must be of the signature's
// algorithm: IMA measures with the one that the file is signed with.
func (k *Keyring) Verify(e *Entry) error {
	const digsig, version2 = 3, 2
	s := e.Signature
	switch {
	case e.Template != "ima-sig" && e.Template != "ima-sigv2" && e.Template != "ima-modsig",
		len(s) == 0 || s[0] != digsig:
		return ErrNotSigned
	case e.Violation:
		return fmt.Errorf("%w: the entry is a violation", ErrSignature)
	case len(s) < signatureHeader || int(binary.BigEndian.Uint16(s[7:])) != len(s)-signatureHeader:
		return fmt.Errorf("%w: malformed header", ErrSignature)
	case s[1] != version2:
		return fmt.Errorf("%w: format version %d", ErrSignature, s[1])
	}
	h, algorithm := signatureHash(s[2])
	if h == 0 || algorithm != e.Algorithm || len(e.Digest) != h.Size() {
		return fmt.Errorf("%w: hash algorithm %d over a digest of %.16q", ErrSignature, s[2], e.Algorithm)
	}
	keys := k.keys[binary.BigEndian.Uint32(s[3:])]
	if len(keys) == 0 {
		return ErrUnknownKey
	}
	for _, key := range keys { // ids of four bytes may collide
		if verifies(key, h, e.Digest, s[signatureHeader:]) {
			return nil
		}
	}
	return ErrSignature
}

func verifies(key crypto.PublicKey, h crypto.Hash, digest, signature []byte) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, h, digest, signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, signature)
	}
	return false
}

// signatureHash maps enum hash_algo (Linux include/uapi/linux/hash_info.h).
func signatureHash(id byte) (crypto.Hash, string) {
	switch id {
	case 4:
		return crypto.SHA256, "sha256"
	case 5:
		return crypto.SHA384, "sha384"
	case 6:
		return crypto.SHA512, "sha512"
	}
	return 0, ""
}
