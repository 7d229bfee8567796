package cli_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"troth/attest/attesttest"
	"troth/attest/tpm"
)

// TestAttestScripts runs the offline commands on the evidence of a software TPM
// that went through a measured boot, and on EK certificates made here.
func TestAttestScripts(t *testing.T) {
	files := softwareEvidence(t)
	for name, content := range ekFiles(t) {
		files[name] = content
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/attest",
		Setup: func(env *testscript.Env) error {
			for name, content := range files {
				path := filepath.Join(env.WorkDir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					return err
				}
				if err := os.WriteFile(path, content, 0o600); err != nil {
					return err
				}
			}
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("NONCE", hex.EncodeToString(evidenceNonce()))
			env.Setenv("PCR10", string(files["pcr10.hex"]))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "harmless": harmless},
	})
}

func evidenceNonce() []byte { return []byte("a nonce of the verifier's choice") }

// softwareEvidence boots a software TPM and quotes it.
func softwareEvidence(t *testing.T) map[string][]byte {
	t.Helper()
	dir, err := os.MkdirTemp("", "tr")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	maker, err := attesttest.NewManufacturer(filepath.Join(dir, "maker"), "acme")
	must(t, err)
	chip, err := maker.NewECCTPM(t.Context(), filepath.Join(dir, "tpm"))
	must(t, err)
	t.Cleanup(func() { _ = chip.Close() })
	must(t, chip.Start(t.Context()))
	conn, err := tpm.Open(chip.Spec())
	must(t, err)
	device := tpm.New(conn)
	t.Cleanup(func() { _ = device.Close() })

	logs, err := attesttest.Boot(conn, attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0"))
	must(t, err)
	endorsement, err := device.EK()
	must(t, err)
	ak, err := device.CreateAK()
	must(t, err)
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	quote, err := device.Quote(ak, evidenceNonce(), map[string][]int{"sha256": all})
	must(t, err)
	roots, err := maker.RootsPEM()
	must(t, err)
	return map[string][]byte{
		"ak.pub": ak.Public, "quote.bin": quote.Attest, "sig.bin": quote.Signature, "pcrs.json": pcrsJSON(t, quote.PCRs),
		"eventlog.bin": logs.EventLog, "ima.txt": logs.IMA, "cut.bin": logs.EventLog[:len(logs.EventLog)-1],
		"short-ima.txt": firstLine(logs.IMA), "hostile.txt": []byte("10 \x1b[2Jnonsense\n"),
		"ek.der": endorsement.Certificate, "padded.der": append(bytes.Clone(endorsement.Certificate), bytes.Repeat([]byte{0xff}, 300)...),
		"makers/acme.pem": roots,
		"pcr10.hex":       []byte(hex.EncodeToString(quote.PCRs["sha256"][10])),
	}
}

func firstLine(b []byte) []byte {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return append(bytes.Clone(line), '\n')
}

func pcrsJSON(t *testing.T, pcrs map[string]map[int][]byte) []byte {
	t.Helper()
	text := map[string]map[int]string{}
	for bank, values := range pcrs {
		text[bank] = map[int]string{}
		for i, v := range values {
			text[bank][i] = hex.EncodeToString(v)
		}
	}
	b, err := json.Marshal(text)
	must(t, err)
	return b
}

// authority is a CA that signs EK certificates and revocation lists.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T, name string, parent *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a := &authority{key: key}
	signer, above := key, template
	if parent != nil {
		signer, above = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above, &key.PublicKey, signer)
	must(t, err)
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	return a
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// endorse makes an EK certificate of a fresh ECC P-256 key.
func (a *authority) endorse(t *testing.T, serial int64) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "TPM \x1b[2J"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageKeyAgreement, BasicConstraintsValid: true,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
	}, a.cert, &key.PublicKey, a.key)
	must(t, err)
	return der
}

func (a *authority) crl(t *testing.T, next time.Duration, extra []pkix.Extension, serials ...int64) []byte {
	t.Helper()
	template := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(next), ExtraExtensions: extra,
	}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: time.Now().Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	must(t, err)
	return der
}

func ekFiles(t *testing.T) map[string][]byte {
	t.Helper()
	root := newAuthority(t, "root", nil)
	issuer := newAuthority(t, "issuer", root)
	stranger := newAuthority(t, "stranger", nil)
	delta := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}
	return map[string][]byte{
		"own.der":           issuer.endorse(t, 4711),
		"flat/root.crt":     root.cert.Raw, // DER, in a file of its own
		"flat/issuer.pem":   issuer.pem(),
		"flat/README":       []byte("roots of a maker\n"),
		"sorted/own/r.pem":  root.pem(),
		"sorted/own/i.pem":  issuer.pem(),
		"sorted/other.pem":  stranger.pem(),
		"empty/README":      []byte("nothing\n"),
		"good.crl":          issuer.crl(t, time.Hour, nil, 1, 2),
		"revoked.crl":       issuer.crl(t, time.Hour, nil, 1, 4711),
		"old.crl":           issuer.crl(t, -time.Hour, nil, 1),
		"old-revoked.crl":   issuer.crl(t, -time.Hour, nil, 4711),
		"delta.crl":         issuer.crl(t, time.Hour, []pkix.Extension{delta}),
		"stranger.crl":      stranger.crl(t, time.Hour, nil),
		"intermediate.crl":  root.crl(t, time.Hour, nil, int64(len("issuer"))),
		"not-a-certificate": []byte("\x1b[2Jnothing"),
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
