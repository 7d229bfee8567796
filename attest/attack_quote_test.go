package attest_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
)

// signed appraises evidence whose quote was changed and then signed by the AK:
// what an attacker with an oracle for arbitrary signatures could show.
func signed(t *testing.T, d *device, quoted []byte) attest.Result {
	t.Helper()
	e := d.evidence(t)
	e.Quote, e.Signature = quoted, sign(t, d.ak, quoted)
	return attest.Appraise(e, d.want())
}

func TestAttack_Q1_NotGeneratedOrNotAQuote(t *testing.T) {
	d := booted(t)
	magic := quoteOf(d.nonce, d.pcrs)
	binary.BigEndian.PutUint32(magic, 0x46544347)
	refused(t, signed(t, d, magic), attest.CodeQuoteMagic)

	typ := quoteOf(d.nonce, d.pcrs)
	binary.BigEndian.PutUint16(typ[4:], uint16(tpm2.TPMSTAttestCertify))
	refused(t, signed(t, d, typ), attest.CodeQuoteType)

	certify := tpm2.Marshal(tpm2.TPMSAttest{Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestCertify,
		ExtraData: tpm2.TPM2BData{Buffer: d.nonce},
		Attested:  tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{})})
	refused(t, signed(t, d, certify), attest.CodeQuoteType)
	refused(t, signed(t, d, magic[:5]), attest.CodeQuoteMalformed)
}

func TestAttack_Q2_SelectionNotCompared(t *testing.T) {
	d := booted(t)
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	e := d.evidence(t)
	appraise := func(selection map[string][]int) attest.Result {
		return attest.Appraise(e, attest.Expectation{QualifyingData: d.nonce, Selection: selection})
	}
	accepted(t, appraise(map[string][]int{"sha256": all, "sha384": all}))
	for name, selection := range map[string]map[string][]int{
		"another bank": {"sha384": all}, "fewer PCRs": {"sha256": all[:8], "sha384": all},
		"more PCRs": {"sha256": append([]int{11}, all...), "sha384": all}, "an empty one": {},
	} {
		t.Run(name, func(t *testing.T) { refused(t, appraise(selection), attest.CodeSelectionMismatch) })
	}
}

func TestAttack_Q2_ValuesNotCovered(t *testing.T) {
	d := booted(t)
	quoted := quoteOf(d.nonce, attest.PCRs{"sha256": d.pcrs["sha256"]})
	refused(t, signed(t, d, quoted), attest.CodePCRsNotQuoted)

	e := d.evidence(t)
	e.PCRs = attest.PCRs{"sha256": d.pcrs["sha256"]}
	refused(t, attest.Appraise(e, d.want()), attest.CodePCRsMissing)
	e.PCRs, e.EventLog, e.IMA = nil, nil, nil
	refused(t, attest.Appraise(e, d.want()), attest.CodePCRsMissing)

	e.PCRs = attest.PCRs{"sha256": {}, "sha384": d.pcrs["sha384"]}
	for i, v := range d.pcrs["sha256"] {
		e.PCRs["sha256"][i] = v
	}
	e.PCRs["sha256"][4] = hashed("sha256", []byte("a good boot loader"))
	refused(t, attest.Appraise(e, d.want()), attest.CodePCRDigestMismatch)
	e.PCRs["sha256"][4] = e.PCRs["sha256"][4][:31]
	refused(t, attest.Appraise(e, d.want()), attest.CodePCRMalformed)
	e.PCRs["sm3_256"] = map[int]attest.Digest{0: make([]byte, 32)}
	refused(t, attest.Appraise(e, d.want()), attest.CodePCRMalformed)
}

// TestAttack_Q2_MovedBoundary: the PCR digest is over values without their
// indexes, so that values under other indexes may hash alike.
func TestAttack_Q2_MovedBoundary(t *testing.T) {
	d := booted(t)
	e := d.evidence(t)
	e.PCRs = attest.PCRs{"sha256": {}, "sha384": d.pcrs["sha384"]}
	for i, v := range d.pcrs["sha256"] {
		e.PCRs["sha256"][i+1] = v
	}
	refused(t, attest.Appraise(e, d.want()), attest.CodePCRsMissing)
}

func TestAttack_Q2_EmptySelectionOrNonce(t *testing.T) {
	d := booted(t)
	d.pcrs, d.log, d.ima = attest.PCRs{}, nil, nil
	refused(t, d.appraise(t), attest.CodeSelectionEmpty)

	d = booted(t)
	d.nonce = nil
	refused(t, d.appraise(t), attest.CodeNonceMissing)
	d = booted(t)
	e := d.evidence(t)
	for _, nonce := range [][]byte{d.nonce[:31], append(bytes.Clone(d.nonce), 0), bytes.ToUpper(d.nonce)} {
		refused(t, attest.Appraise(e, attest.Expectation{QualifyingData: nonce}), attest.CodeNonceMismatch)
	}
}

func TestAttack_Q2_OddSelections(t *testing.T) {
	d := booted(t)
	d.log, d.ima = nil, nil
	with := func(change func(*tpm2.TPMSQuoteInfo)) attest.Result {
		return signed(t, d, quoteOf(d.nonce, d.pcrs, func(_ *tpm2.TPMSAttest, i *tpm2.TPMSQuoteInfo) { change(i) }))
	}
	refused(t, with(func(i *tpm2.TPMSQuoteInfo) {
		i.PCRSelect.PCRSelections = append(i.PCRSelect.PCRSelections, i.PCRSelect.PCRSelections[0])
	}), attest.CodeSelectionMismatch)
	refused(t, with(func(i *tpm2.TPMSQuoteInfo) { i.PCRSelect.PCRSelections[0].Hash = tpm2.TPMAlgSHA3256 }), attest.CodeSelectionMismatch)
	refused(t, with(func(i *tpm2.TPMSQuoteInfo) {
		i.PCRSelect.PCRSelections[0].PCRSelect = []byte{0xff, 0xff, 0xff, 1}
	}), attest.CodeSelectionMismatch)
}

func TestAttack_Q2_SHA1BankNotAsked(t *testing.T) {
	d := newDevice(t, "sha1", "sha256")
	d.boot()
	refused(t, d.appraise(t), attest.CodeSHA1)
	accepted(t, attest.Appraise(d.evidence(t), attest.Expectation{QualifyingData: d.nonce, AllowSHA1: true}))
}

func TestAttack_Q5_SchemeAndHashConfusion(t *testing.T) {
	d := booted(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	quoted := quoteOf(d.nonce, d.pcrs)
	ecc := d.akPublic()
	rsaAK := tpm2.Marshal(rsaPublic(&rsaKey.PublicKey, tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256))
	for name, tt := range map[string]struct {
		ak, signature []byte
		code          string
	}{
		"PSS under an RSASSA key": {rsaAK, signAs(t, rsaKey, tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA256, quoted), attest.CodeSignatureScheme},
		"RSA under an ECC key":    {ecc, signAs(t, rsaKey, tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256, quoted), attest.CodeSignatureScheme},
		"RSA under an ECC PEM":    {pemOf(t, &d.ak.PublicKey), signAs(t, rsaKey, tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256, quoted), attest.CodeSignatureScheme},
		"ECDSA under an RSA PEM":  {pemOf(t, &rsaKey.PublicKey), sign(t, d.ak, quoted), attest.CodeSignatureScheme},
		"SHA-1 under a PEM":       {pemOf(t, &d.ak.PublicKey), signAs(t, d.ak, tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA1, quoted), attest.CodeSignatureScheme},
		"SHA-384 not pinned":      {ecc, signAs(t, d.ak, tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA384, quoted), attest.CodeSignatureScheme},
		"ECDAA":                   {ecc, signAs(t, d.ak, tpm2.TPMAlgECDAA, tpm2.TPMAlgSHA256, quoted), attest.CodeSignatureScheme},
		"another AK":              {ecc, sign(t, newECC(t, elliptic.P256()), quoted), attest.CodeSignatureInvalid},
		"null signature":          {ecc, []byte{0, 0x10}, attest.CodeSignatureScheme},
		"null signature, PEM":     {pemOf(t, &d.ak.PublicKey), []byte{0, 0x10}, attest.CodeSignatureScheme},
		"zero r and s":            {ecc, zeroSignature(), attest.CodeSignatureInvalid},
		"HMAC":                    {ecc, append([]byte{0, 5, 0, 0x0b}, make([]byte, 32)...), attest.CodeSignatureScheme},
		"trailing byte":           {ecc, append(sign(t, d.ak, quoted), 0), attest.CodeSignatureMalformed},
		"empty":                   {ecc, nil, attest.CodeSignatureMalformed},
		"nothing as AK":           {nil, sign(t, d.ak, quoted), attest.CodeAKMalformed},
		"too large":               {ecc, make([]byte, 4096), attest.CodeTooLarge},
		"AK too large":            {make([]byte, 1<<20), sign(t, d.ak, quoted), attest.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, attest.Appraise(attest.Evidence{AK: tt.ak, Quote: quoted, Signature: tt.signature, PCRs: d.pcrs}, d.want()), tt.code)
		})
	}
}

func zeroSignature() []byte {
	return tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA,
		Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{Hash: tpm2.TPMAlgSHA256,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)}, SignatureS: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)}})})
}

func TestAttack_Q5_OddKeys(t *testing.T) {
	d := booted(t)
	p224, p521 := newECC(t, elliptic.P224()), newECC(t, elliptic.P521())
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	offCurve := eccPublic(&d.ak.PublicKey, tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)
	point, _ := offCurve.Unique.ECC()
	point.Y.Buffer[31] ^= 1
	public := d.akPublic()
	for name, tt := range map[string]struct {
		ak   []byte
		code string
	}{
		"P-224 PEM":          {pemOf(t, &p224.PublicKey), attest.CodeAKType},
		"P-521 PEM":          {pemOf(t, &p521.PublicKey), attest.CodeAKType},
		"P-521":              {tpm2.Marshal(eccPublic(&p521.PublicKey, tpm2.TPMECCNistP521, tpm2.TPMAlgSHA256)), attest.CodeAKType},
		"off the curve":      {tpm2.Marshal(offCurve), attest.CodeAKType},
		"P-256 key as P-384": {tpm2.Marshal(eccPublic(&d.ak.PublicKey, tpm2.TPMECCNistP384, tpm2.TPMAlgSHA256)), attest.CodeAKType},
		"RSA-1024":           {tpm2.Marshal(rsaPublic(&small.PublicKey, tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256)), attest.CodeAKType},
		"RSA-1024 PEM":       {pemOf(t, &small.PublicKey), attest.CodeAKType},
		"trailing byte":      {append(bytes.Clone(public), 0), attest.CodeAKMalformed},
		"truncated":          {public[:len(public)-1], attest.CodeAKMalformed},
		"two PEM blocks":     {append(pemOf(t, &d.ak.PublicKey), pemOf(t, &d.ak.PublicKey)...), attest.CodeAKMalformed},
		"private PEM type":   {[]byte(strings.ReplaceAll(string(pemOf(t, &d.ak.PublicKey)), "PUBLIC KEY", "PRIVATE KEY")), attest.CodeAKMalformed},
		"PEM of garbage":     {[]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), attest.CodeAKMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			e := d.evidence(t)
			e.AK = tt.ak
			refused(t, attest.Appraise(e, d.want()), tt.code)
		})
	}
}

// TestAttack_Q5_NonCanonicalQuote: bytes after a quote, or a size too many, would
// let two readers disagree about what was signed.
func TestAttack_Q5_NonCanonicalQuote(t *testing.T) {
	d := booted(t)
	quoted := quoteOf(d.nonce, d.pcrs)
	refused(t, signed(t, d, append(bytes.Clone(quoted), 0)), attest.CodeQuoteMalformed)
	refused(t, signed(t, d, quoted[:len(quoted)-1]), attest.CodeQuoteMalformed)
	refused(t, signed(t, d, append(bytes.Clone(quoted), make([]byte, 8192)...)), attest.CodeTooLarge)
}
