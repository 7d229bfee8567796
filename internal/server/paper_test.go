package server_test

import (
	"context"
	"crypto/aes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/ek"
	"troth/attest/tpm"
	"troth/internal/api"
)

// paper makes devices without TPMs: keys in software, in the form that a TPM has
// them, and what a TPM would sign signed by them. To the service they are devices
// of a manufacturer whom it trusts. They exist because a TPM takes a hundred
// times as long for its part as the service does for its own.
type paper struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
	pcrs map[int]string // of the boot that all of them show
	sum  []byte         // SHA-256 over them
	logs attesttest.BootLogs
}

type paperDevice struct {
	*paper
	id            string
	ek, ak, tls   *ecdsa.PrivateKey
	intro         api.EnrollRequest
	tlsName, qual []byte // TPM names
	csr           []byte
}

// newPaper records one boot of a software TPM, which is what all devices show.
func newPaper(t testing.TB) *paper {
	t.Helper()
	maker := must(attesttest.NewManufacturer(filepath.Join(t.TempDir(), "acme"), "acme"))(t)
	chip := must(maker.NewECCTPM(t.Context(), filepath.Join(t.TempDir(), "tpm")))(t)
	t.Cleanup(func() { _ = chip.Close() })
	if err := chip.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	link := must(tpm.Open(chip.Spec()))(t)
	defer link.Close()
	p := &paper{key: newKey(t), pcrs: map[int]string{}}
	p.logs = must(attesttest.Boot(link, attesttest.PlatformFor("meter-m1"), attesttest.NewImage("meter-m1", "1.0.0")))(t)
	dev := tpm.New(link)
	quote := must(dev.Quote(must(dev.CreateAK())(t), []byte("nonce"), map[string][]int{"sha256": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}))(t)
	all := sha256.New()
	for i := range 16 {
		p.pcrs[i] = hex.EncodeToString(quote.PCRs["sha256"][i])
		all.Write(quote.PCRs["sha256"][i])
	}
	p.sum = all.Sum(nil)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Paper TPM Root"}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	p.root = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, &p.key.PublicKey, p.key))(t)))(t)
	return p
}

func (p *paper) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.root.Raw}))
}

func (p *paper) device(t testing.TB) *paperDevice {
	t.Helper()
	d := &paperDevice{paper: p, ek: newKey(t), ak: newKey(t), tls: newKey(t)}
	akPublic, tlsPublic := signingPublic(t, &d.ak.PublicKey, true), signingPublic(t, &d.tls.PublicKey, false)
	name := sha256.Sum256(tlsPublic)
	d.tlsName, d.qual = append([]byte{0, 0x0b}, name[:]...), append([]byte{0, 0x0b}, make([]byte, 32)...)
	certificate := p.endorse(t, &d.ek.PublicKey)
	d.id = ek.DeviceID(must(ek.Public(must(x509.ParseCertificate(certificate))(t)))(t))
	d.intro = api.EnrollRequest{EKCertificate: certificate, AKPublic: akPublic, TLSPublic: tlsPublic, Model: "meter-m1"}
	d.csr = must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{
		{Scheme: "spiffe", Host: "troth.internal", Path: "/device/" + d.id},
	}}, d.tls))(t)
	return d
}

// endorse makes an EK certificate (TCG EK Credential Profile, section 3).
func (p *paper) endorse(t testing.TB, key *ecdsa.PublicKey) []byte {
	t.Helper()
	// A GeneralNames with the directory name tpmManufacturer=id:00001014.
	name := []byte{
		0x30, 0x1c, 0xa4, 0x1a, 0x30, 0x18, 0x31, 0x16, 0x30, 0x14, 0x06, 0x05, 0x67, 0x81, 0x05, 0x02, 0x01,
		0x0c, 0x0b, 'i', 'd', ':', '0', '0', '0', '0', '1', '0', '1', '4',
	}
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails (crypto/rand)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(5, 0, 0),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageKeyAgreement, UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: name}},
	}
	return must(x509.CreateCertificate(rand.Reader, template, p.root, key, p.key))(t)
}

// answer is what a TPM's device would say to a challenge.
func (d *paperDevice) answer(t testing.TB, c api.EnrollChallenge) api.EnrollProof {
	t.Helper()
	certify := attest.Binding{Purpose: "certify", Nonce: c.Nonce, DeviceID: c.DeviceID}
	info := tpm2.Marshal(tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestCertify, ExtraData: tpm2.TPM2BData{Buffer: certify.QualifyingData()},
		Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{
			Name: tpm2.TPM2BName{Buffer: d.tlsName}, QualifiedName: tpm2.TPM2BName{Buffer: d.qual},
		}),
	})
	return api.EnrollProof{
		Secret: d.activate(t, c), CertifyInfo: info, CertifySignature: signTPM(t, d.ak, info), CSR: d.csr, Evidence: d.quote(t, c),
	}
}

func (d *paperDevice) quote(t testing.TB, c api.EnrollChallenge) api.Evidence {
	t.Helper()
	spki := must(x509.MarshalPKIXPublicKey(&d.tls.PublicKey))(t)
	e := api.Evidence{
		PCRs: api.PCRs{"sha256": d.pcrs}, Reported: []byte(`{"firmware":{"slot":"a","version":"1.0.0"},"update":{}}`),
		EventLog: wholeLog(d.logs.EventLog), IMA: wholeLog(d.logs.IMA),
	}
	binding := attest.Binding{
		Purpose: "enroll", Nonce: c.Nonce, DeviceID: c.DeviceID, ClientKey: spki, Reported: e.Reported,
		EventLog: sha256.Sum256(d.logs.EventLog), IMA: sha256.Sum256(d.logs.IMA),
	}
	e.Quote = tpm2.Marshal(tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestQuote, ExtraData: tpm2.TPM2BData{Buffer: binding.QualifyingData()},
		ClockInfo: tpm2.TPMSClockInfo{Clock: 1, ResetCount: 1, Safe: true},
		Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{
			PCRSelect: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0xff, 0xff, 0}}}},
			PCRDigest: tpm2.TPM2BDigest{Buffer: d.sum},
		}),
	})
	e.Signature = signTPM(t, d.ak, e.Quote)
	return e
}

func wholeLog(content []byte) *api.Log {
	sum := sha256.Sum256(content)
	return &api.Log{SHA256: hex.EncodeToString(sum[:]), Content: content}
}

// activate opens a credential as TPM2_ActivateCredential does (TPM 2.0 Library
// part 1, annex C.6.4 and section 24).
func (d *paperDevice) activate(t testing.TB, c api.EnrollChallenge) []byte {
	t.Helper()
	point := must(tpm2.Unmarshal[tpm2.TPMSECCPoint](c.EncryptedSecret))(t)
	x := slices.Concat(make([]byte, 32-len(point.X.Buffer)), point.X.Buffer)
	y := slices.Concat(make([]byte, 32-len(point.Y.Buffer)), point.Y.Buffer)
	ephemeral := must(ecdh.P256().NewPublicKey(slices.Concat([]byte{4}, x, y)))(t)
	z := must(must(d.ek.ECDH())(t).ECDH(ephemeral))(t)
	own := must(d.ek.PublicKey.Bytes())(t)[1:33]
	hash := must(tpm2.TPMAlgSHA256.Hash())(t)
	seed := tpm2.KDFe(hash, z, "IDENTITY", x, own, 256)
	akName := sha256.Sum256(d.intro.AKPublic)
	key := tpm2.KDFa(hash, seed, "STORAGE", append([]byte{0, 0x0b}, akName[:]...), nil, 128)
	sealed := c.CredentialBlob[2+32:] // behind a TPM2B with the HMAC
	open, stream, before := make([]byte, len(sealed)), make([]byte, aes.BlockSize), make([]byte, aes.BlockSize)
	block := must(aes.NewCipher(key))(t)
	for i := 0; i < len(sealed); i += aes.BlockSize { // in CFB mode, as a TPM does
		block.Encrypt(stream, before)
		n := subtle.XORBytes(open[i:], sealed[i:], stream)
		before = sealed[i : i+n]
	}
	return open[2:]
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
}

// signingPublic is the TPMT_PUBLIC of a key that signs.
func signingPublic(t testing.TB, key *ecdsa.PublicKey, restricted bool) []byte {
	t.Helper()
	raw := must(key.Bytes())(t)
	return tpm2.Marshal(tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, Restricted: restricted, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{
				Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: raw[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: raw[33:]},
		}),
	})
}

func signTPM(t testing.TB, key *ecdsa.PrivateKey, message []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
		Hash: tpm2.TPMAlgSHA256, SignatureR: tpm2.TPM2BECCParameter{Buffer: r.Bytes()}, SignatureS: tpm2.TPM2BECCParameter{Buffer: s.Bytes()},
	})})
}

// must ends the test on an error: must(f())(t).
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
