package attest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// The structures of a check-in are decoded by hand, which costs a hundredth of
// what reflection does. All that is read aliases its input and fills it exactly;
// every structure has one encoding.

var (
	errShort   = errors.New("truncated")
	errKeyType = errors.New("neither ECC nor RSA")
)

// reader walks big-endian bytes; its first error sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && n > len(r.b) {
		r.err = errShort
	}
	if r.err != nil {
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() (v uint8) {
	if b := r.take(1); b != nil {
		v = b[0]
	}
	return v
}

func (r *reader) u16() (v uint16) {
	if b := r.take(2); b != nil {
		v = binary.BigEndian.Uint16(b)
	}
	return v
}

func (r *reader) u32() (v uint32) {
	if b := r.take(4); b != nil {
		v = binary.BigEndian.Uint32(b)
	}
	return v
}

func (r *reader) u64() (v uint64) {
	if b := r.take(8); b != nil {
		v = binary.BigEndian.Uint64(b)
	}
	return v
}

func (r *reader) alg() tpm2.TPMAlgID { return tpm2.TPMAlgID(r.u16()) }

// sized reads a TPM2B.
func (r *reader) sized() []byte { return r.take(int(r.u16())) }

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// end requires that everything was read.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return errors.New("trailing bytes")
	}
	return r.err
}

// attestation is a TPMS_ATTEST (Part 2, section 10.12.12) of a quote or a
// certification; the other half of the fields is empty.
type attestation struct {
	extraData []byte
	clock     Clock

	selections []pcrSelection
	pcrDigest  []byte

	name, qualifiedName []byte
}

// pcrSelection is a TPMS_PCR_SELECTION.
type pcrSelection struct {
	hash   tpm2.TPMAlgID
	bitmap []byte
}

// maxSelections bounds a TPML_PCR_SELECTION: no TPM has more banks.
const maxSelections = 16

func decodeAttestation(data []byte) (attestation, error) {
	var a attestation
	r := reader{b: data}
	r.u32() // magic
	typ := tpm2.TPMST(r.u16())
	r.sized() // qualifiedSigner, in a key hierarchy that is not shown
	a.extraData = r.sized()
	a.clock.Clock = r.u64()
	a.clock.ResetCount, a.clock.RestartCount = r.u32(), r.u32()
	safe := r.u8()
	if safe > 1 {
		r.fail("safe is %d, neither YES nor NO", safe)
	}
	a.clock.Safe = safe == 1
	r.u64() // firmwareVersion
	switch typ {
	case tpm2.TPMSTAttestQuote:
		a.selections = r.selections()
		a.pcrDigest = r.sized()
	case tpm2.TPMSTAttestCertify:
		a.name, a.qualifiedName = r.sized(), r.sized()
	case tpm2.TPMSTAttestCreation:
		a.name = r.sized()
		r.sized() // creationHash, which says under what circumstances
	default:
		r.fail("type 0x%04x", uint16(typ))
	}
	return a, r.end()
}

func (r *reader) selections() []pcrSelection {
	n := r.u32()
	if r.err == nil && n > maxSelections {
		r.fail("%d PCR selections", n)
	}
	if r.err != nil {
		return nil
	}
	out := make([]pcrSelection, 0, n)
	for range n {
		out = append(out, pcrSelection{r.alg(), r.take(int(r.u8()))})
	}
	return out
}

// signature is a TPMT_SIGNATURE (Part 2, section 11.3.4) of a scheme that keys
// here may use; r and s for ECDSA, rsa for the others.
type signature struct {
	scheme, hash tpm2.TPMAlgID
	r, s, rsa    []byte
}

// decodeSignature leaves the rest of a signature of another scheme unread.
func decodeSignature(data []byte) (signature, error) {
	r := reader{b: data}
	s := signature{scheme: r.alg()}
	switch s.scheme {
	case tpm2.TPMAlgECDSA:
		s.hash, s.r, s.s = r.alg(), r.sized(), r.sized()
	case tpm2.TPMAlgRSASSA, tpm2.TPMAlgRSAPSS:
		s.hash, s.rsa = r.alg(), r.sized()
	default:
		return s, r.err
	}
	return s, r.end()
}

// Attributes of an object (Part 2, section 8.3, TPMA_OBJECT).
const (
	fixedTPM            = 1 << 1
	fixedParent         = 1 << 4
	sensitiveDataOrigin = 1 << 5
	userWithAuth        = 1 << 6
	restricted          = 1 << 16
	decrypts            = 1 << 17
	signs               = 1 << 18
)

// publicArea is a TPMT_PUBLIC (Part 2, section 12.2.4) of an ECC or RSA key.
type publicArea struct {
	typ, nameAlg tpm2.TPMAlgID
	attributes   uint32
	scheme, hash tpm2.TPMAlgID // scheme TPMAlgNull: none; hash 0: the scheme has none

	curve tpm2.TPMECCCurve
	x, y  []byte

	keyBits  uint16
	exponent uint32 // 0 stands for 65537
	modulus  []byte
}

// has says whether all of the attributes are set.
func (p *publicArea) has(attributes uint32) bool { return p.attributes&attributes == attributes }

// any says whether one of the attributes is set.
func (p *publicArea) any(attributes uint32) bool { return p.attributes&attributes != 0 }

// decodePublic reports errKeyType for other types of object.
func decodePublic(data []byte) (*publicArea, error) {
	if len(data) > maxPublic {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), maxPublic)
	}
	r := reader{b: data}
	p := publicArea{typ: r.alg(), nameAlg: r.alg(), attributes: r.u32()}
	r.sized() // authPolicy
	switch {
	case r.err != nil:
		return nil, r.err
	case p.typ == tpm2.TPMAlgECC:
		r.symmetric()
		p.scheme, p.hash = r.asymScheme()
		p.curve = tpm2.TPMECCCurve(r.u16())
		r.kdfScheme()
		p.x, p.y = r.sized(), r.sized()
	case p.typ == tpm2.TPMAlgRSA:
		r.symmetric()
		p.scheme, p.hash = r.asymScheme()
		p.keyBits, p.exponent = r.u16(), r.u32()
		p.modulus = r.sized()
	default:
		return nil, errKeyType
	}
	return &p, r.end()
}

// symmetric reads a TPMT_SYM_DEF_OBJECT.
func (r *reader) symmetric() {
	switch alg := r.alg(); alg {
	case tpm2.TPMAlgNull:
	case tpm2.TPMAlgAES:
		r.take(4) // key bits, mode
	default:
		r.fail("symmetric algorithm 0x%04x", uint16(alg))
	}
}

// asymScheme reads a TPMT_RSA_SCHEME or TPMT_ECC_SCHEME.
func (r *reader) asymScheme() (scheme, hash tpm2.TPMAlgID) {
	switch scheme = r.alg(); scheme {
	case tpm2.TPMAlgNull, tpm2.TPMAlgRSAES:
	case tpm2.TPMAlgRSASSA, tpm2.TPMAlgRSAPSS, tpm2.TPMAlgOAEP, tpm2.TPMAlgECDSA, tpm2.TPMAlgECDH, tpm2.TPMAlgECMQV:
		hash = r.alg()
	case tpm2.TPMAlgECDAA:
		hash = r.alg()
		r.u16() // count
	default:
		r.fail("scheme 0x%04x", uint16(scheme))
	}
	return scheme, hash
}

// kdfScheme reads a TPMT_KDF_SCHEME.
func (r *reader) kdfScheme() {
	switch alg := r.alg(); alg {
	case tpm2.TPMAlgNull:
	case tpm2.TPMAlgMGF1, tpm2.TPMAlgECDH, tpm2.TPMAlgKDF1SP80056A, tpm2.TPMAlgKDF2, tpm2.TPMAlgKDF1SP800108:
		r.alg() // hash
	default:
		r.fail("key derivation scheme 0x%04x", uint16(alg))
	}
}
