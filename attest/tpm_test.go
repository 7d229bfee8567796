package attest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/ek"
	"troth/attest/tpm"
)

// softwareTPM starts a swtpm with an EK certificate and boots an image on it.
func softwareTPM(t *testing.T) (*tpm.TPM, attesttest.BootLogs) {
	t.Helper()
	for _, tool := range []string{"swtpm", "swtpm_setup", "swtpm_localca"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("NOT TESTED: the verifier against a software TPM, as " + tool + " is not installed")
		}
	}
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "tr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	maker, err := attesttest.NewManufacturer(filepath.Join(dir, "m"), "acme")
	if err != nil {
		t.Fatal(err)
	}
	s, err := maker.NewTPM(ctx, filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := tpm.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	d := tpm.New(c)
	t.Cleanup(func() { d.Close() })
	logs, err := attesttest.Boot(c, attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	return d, logs
}

func toPCRs(values map[string]map[int][]byte) attest.PCRs {
	out := attest.PCRs{}
	for bank, pcrs := range values {
		out[bank] = map[int]attest.Digest{}
		for i, v := range pcrs {
			out[bank][i] = v
		}
	}
	return out
}

// TestSoftwareTPM is the whole way on a TPM that is not ours: activation of a
// credential, a quote over a measured boot, and a certified key.
func TestSoftwareTPM(t *testing.T) {
	d, logs := softwareTPM(t)
	ak, err := d.CreateAK()
	if err != nil {
		t.Fatal(err)
	}
	name, err := attest.CheckAK(ak.Public)
	if err != nil {
		t.Fatal(err)
	}
	if own, err := ak.Name(); err != nil || !bytes.Equal(own, name) {
		t.Errorf("name %x, the TPM's is %x, %v", name, own, err)
	}
	t.Run("credential", func(t *testing.T) { activate(t, d, ak, name) })
	t.Run("quote", func(t *testing.T) { quoteBoot(t, d, ak, logs) })
	t.Run("certify", func(t *testing.T) { certifyTLS(t, d, ak) })
}

func activate(t *testing.T, d *tpm.TPM, ak tpm.Key, name []byte) {
	key, err := d.EK()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ek.ParseCertificate(key.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ek.Public(certificate)
	if err != nil || !bytes.Equal(public, key.Public) {
		t.Fatalf("EK public from the certificate differs from the TPM's: %v", err)
	}
	secret := []byte("0123456789abcdef0123456789abcdef")
	blob, encrypted, err := attest.MakeCredential(rand.Reader, public, name, secret)
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.ActivateCredential(ak, blob, encrypted)
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("activated %x, %v", got, err)
	}
	other := bytes.Clone(name)
	other[len(other)-1] ^= 1
	blob, encrypted, err = attest.MakeCredential(rand.Reader, public, other, secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.ActivateCredential(ak, blob, encrypted); err == nil {
		t.Error("the TPM activated a credential for another name")
	}
}

func quoteBoot(t *testing.T, d *tpm.TPM, ak tpm.Key, logs attesttest.BootLogs) {
	selection := map[string][]int{
		"sha256": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
		"sha384": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
	}
	binding := attest.Binding{Purpose: "checkin", Nonce: []byte("nonce"), DeviceID: "device",
		EventLog: sha256.Sum256(logs.EventLog), IMA: sha256.Sum256(logs.IMA)}
	q, err := d.Quote(ak, binding.QualifyingData(), selection)
	if err != nil {
		t.Fatal(err)
	}
	e := attest.Evidence{AK: ak.Public, Quote: q.Attest, Signature: q.Signature, PCRs: toPCRs(q.PCRs),
		EventLog: logs.EventLog, IMA: logs.IMA}
	r := attest.Appraise(e, attest.Expectation{QualifyingData: binding.QualifyingData(), Selection: selection, RequireAttributes: true})
	accepted(t, r)
	if len(r.Problems) != 0 {
		t.Errorf("problems %+v", r.Problems)
	}
	if r.SecureBoot == nil || !r.SecureBoot.Enabled || len(r.SecureBoot.DB) != 1 || len(r.SecureBoot.DBX) != 2 {
		t.Errorf("Secure Boot %+v", r.SecureBoot)
	}
	image := attesttest.NewImage("edge-100", "1.0.0")
	digest := sha256.Sum256(image.BootLoader)
	loaders := r.EventLog.BootLoaders
	if len(loaders) != 1 || loaders[0].Digests.Hex("sha256") != hex.EncodeToString(digest[:]) || loaders[0].Path != `\EFI\BOOT\BOOTX64.EFI` {
		t.Errorf("boot loaders %+v", loaders)
	}
	lines := r.EventLog.CommandLines
	if len(lines) != 1 || lines[0].Text != "/vmlinuz "+image.CommandLine || !lines[0].Verified {
		t.Errorf("command lines %+v", lines)
	}
	if r.IMA.Entries != 1+len(image.Files) || !r.IMA.Replayed {
		t.Errorf("IMA %+v", r.IMA)
	}
	reference := attest.Reference{Bank: "sha256", PCRs: map[int]attest.Digest{}}
	for i, v := range attesttest.Reference(attesttest.PlatformFor("edge-100"), image) {
		reference.PCRs[i] = v
	}
	if m := reference.Mismatches(r.PCRs); len(m) != 0 {
		t.Errorf("mismatches %v", m)
	}
}

func certifyTLS(t *testing.T, d *tpm.TPM, ak tpm.Key) {
	key, err := d.CreateTLSKey()
	if err != nil {
		t.Fatal(err)
	}
	binding := attest.Binding{Purpose: "certify", Nonce: []byte("nonce")}
	info, signature, err := d.Certify(ak, key, binding.QualifyingData())
	if err != nil {
		t.Fatal(err)
	}
	public, err := attest.CheckCertify(ak.Public, key.Public, info, signature, binding.QualifyingData())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := d.Signer(key)
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := signer.Public().(interface{ Equal(x any) bool }); ok && !e.Equal(public) {
		t.Error("CheckCertify returned another key than the TPM signs with")
	}
	_, err = attest.CheckCertify(ak.Public, ak.Public, info, signature, binding.QualifyingData())
	hasCode(t, err, attest.CodeTLSKeyAttributes)
}
