package tpm_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/attesttest"
	"troth/attest/ek/template"
	"troth/attest/tpm"
)

// Indices that are not for us to read do not keep a device from its EK, except
// where its usual certificate is.
func TestUnreadableIndices(t *testing.T) {
	s, err := maker.NewTPMWith(context.Background(), filepath.Join(t.TempDir(), "s"), attesttest.Factory{EKs: []attesttest.FactoryEK{{Template: template.L2}}})
	d := connected(t, s, err)
	for _, index := range []tpm2.TPMHandle{0x01c00016, 0x01c00100} {
		d.guard(t, index)
	}
	e, err := d.EK()
	if err != nil {
		t.Fatal(err)
	}
	d.wantWorkingEK(t, e, template.L2)
	if e.Chain != nil {
		t.Errorf("chain of %d bytes", len(e.Chain))
	}
	d.guard(t, 0x01c00002)
	again := device{TPM: tpm.New(d.raw), swtpm: s, raw: d.raw}
	_, err = again.EK()
	wantOnly(t, "L-1's certificate", err, "authorization")
}

// guard defines an index that only its own password reads, and writes it.
func (d device) guard(t *testing.T, index tpm2.TPMHandle) {
	t.Helper()
	password := []byte("password")
	_, err := tpm2.NVDefineSpace{
		AuthHandle: platform(),
		Auth:       tpm2.TPM2BAuth{Buffer: password},
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
			Attributes: tpm2.TPMANV{PPWrite: true, AuthRead: true, NoDA: true, PlatformCreate: true},
		}),
	}.Execute(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := tpm2.NVReadPublic{NVIndex: index}.Execute(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.NVWrite{
		AuthHandle: platform(), NVIndex: tpm2.NamedHandle{Handle: index, Name: pub.NVName}, Data: tpm2.TPM2BMaxNVBuffer{Buffer: make([]byte, 8)},
	}).Execute(d.raw); err != nil {
		t.Fatal(err)
	}
}
