package tpm_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest/attesttest"
	"troth/attest/tpm"
)

// kind of TPM by its certificate.
type kind string

const (
	rsa  kind = "rsa"
	ecc  kind = "ecc"
	bare kind = "bare"
)

// device is a running software TPM and a connection to it.
type device struct {
	*tpm.TPM
	swtpm *attesttest.SWTPM
	raw   transport.TPM
}

// maker is the one manufacturer of these tests, because making one is slow.
var maker *attesttest.Manufacturer

func TestMain(m *testing.M) { os.Exit(withMaker(m.Run)) }

func withMaker(run func() int) int {
	dir, err := os.MkdirTemp("", "tr")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if maker, err = attesttest.NewManufacturer(dir, "acme"); err != nil {
		panic(err)
	}
	return run()
}

func newDevice(t *testing.T, k kind) device {
	t.Helper()
	ctx := context.Background()
	manufacture := map[kind]func(context.Context, string) (*attesttest.SWTPM, error){
		rsa: maker.NewTPM, ecc: maker.NewECCTPM, bare: maker.NewBareTPM,
	}[k]
	s, err := manufacture(ctx, filepath.Join(t.TempDir(), "s"))
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
	d := device{TPM: tpm.New(c), swtpm: s, raw: c}
	t.Cleanup(func() { d.Close() })
	return d
}

func (d device) ak(t *testing.T) tpm.Key {
	t.Helper()
	k, err := d.CreateAK()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (d device) tlsKey(t *testing.T) tpm.Key {
	t.Helper()
	k, err := d.CreateTLSKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// wantEmpty fails if any object or session is loaded.
func (d device) wantEmpty(t *testing.T) {
	t.Helper()
	for _, first := range []uint32{0x80000000, 0x02000000, 0x03000000} {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 64}.Execute(d.raw)
		if err != nil {
			t.Fatal(err)
		}
		h, err := rsp.CapabilityData.Data.Handles()
		if err != nil {
			t.Fatal(err)
		}
		if len(h.Handle) != 0 {
			t.Errorf("left loaded: %#x", h.Handle)
		}
	}
}

func decode(t *testing.T, public []byte) *tpm2.TPMTPublic {
	t.Helper()
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](public)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func eccPublic(t *testing.T, public []byte) *ecdsa.PublicKey {
	t.Helper()
	point, err := decode(t, public).Unique.ECC()
	if err != nil {
		t.Fatal(err)
	}
	raw := append([]byte{4}, new(big.Int).SetBytes(point.X.Buffer).FillBytes(make([]byte, 32))...)
	raw = append(raw, new(big.Int).SetBytes(point.Y.Buffer).FillBytes(make([]byte, 32))...)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// wantSigned fails if signature (TPMT_SIGNATURE) is not ak's over attest.
func wantSigned(t *testing.T, ak tpm.Key, attest, signature []byte) {
	t.Helper()
	sig, err := tpm2.Unmarshal[tpm2.TPMTSignature](signature)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sig.Signature.ECDSA()
	if err != nil || s.Hash != tpm2.TPMAlgSHA256 {
		t.Fatalf("signature of %v, %v", sig.SigAlg, err)
	}
	digest := sha256.Sum256(attest)
	r, v := new(big.Int).SetBytes(s.SignatureR.Buffer), new(big.Int).SetBytes(s.SignatureS.Buffer)
	if !ecdsa.Verify(eccPublic(t, ak.Public), digest[:], r, v) {
		t.Error("signature does not verify")
	}
}
