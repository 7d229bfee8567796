package tpm_test

import (
	"crypto/x509"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/ek"
	"troth/attest/idevid"
	"troth/attest/tpm"
)

// Every kind of key that the factory makes is found on a real TPM, certified by
// an attestation key, and believed by the verifier.
func TestDevIDFromFactory(t *testing.T) {
	maker, err := attesttest.NewRevokingManufacturer(t.TempDir(), "acme", "http://crl.invalid")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := maker.RootsPEM()
	if err != nil {
		t.Fatal(err)
	}
	roots := ek.NewRoots()
	if err := roots.Add("acme", pem); err != nil {
		t.Fatal(err)
	}
	for name, factory := range map[string]attesttest.FactoryDevID{
		"IDevID":           {Kind: tpm.IDevID},
		"IDevID P-384":     {Kind: tpm.IDevID, Algorithm: tpm.ECCP384},
		"IDevID RSA":       {Kind: tpm.IDevID, Algorithm: tpm.RSA2048},
		"IDevID no policy": {Kind: tpm.IDevID, Simple: true},
		"IAK":              {Kind: tpm.IAK},
		"IAK no policy":    {Kind: tpm.IAK, Simple: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			factory.Serial, factory.Model = "SN-17", "gw-100"
			d := startWith(t, maker, attesttest.Factory{DevIDs: []attesttest.FactoryDevID{factory}})
			ak := d.ak(t)
			found, err := d.DevID(factory.Kind, tpm.DevIDSource{})
			if err != nil || found == nil {
				t.Fatalf("found %v, %v", found, err)
			}
			nonce := []byte("a nonce")
			info, signature, err := d.CertifyDevID(ak, found, nonce)
			if err != nil {
				t.Fatal(err)
			}
			if err := attest.CheckDevIDCertify(ak.Public, found.Public, info, signature, nonce); err != nil {
				t.Error(err)
			}
			key, restricted, err := attest.CheckDevIDKey(found.Public)
			if err != nil || restricted != (factory.Kind == tpm.IAK) {
				t.Fatalf("restricted %t, %v", restricted, err)
			}
			got, err := idevid.Verify(roots, key, restricted, found.Chain, time.Now())
			want := idevid.Facts{Serial: "SN-17", Model: "gw-100"}
			if err != nil || string(got.Kind) != string(factory.Kind) || got.Chain.Manufacturer != "acme" || got.Facts != want {
				t.Errorf("%+v, %v", got, err)
			}
			d.wantEmpty(t)
			other := tpm.IDevID
			if factory.Kind == tpm.IDevID {
				other = tpm.IAK
			}
			if none, err := d.DevID(other, tpm.DevIDSource{}); none != nil || err != nil {
				t.Errorf("a key of the other kind: %v, %v", none, err)
			}
		})
	}
}

// Certificates from a file, a handle of the operator's choice, and what does not
// fit.
func TestDevIDSources(t *testing.T) {
	maker, err := attesttest.NewRevokingManufacturer(t.TempDir(), "acme", "http://crl.invalid")
	if err != nil {
		t.Fatal(err)
	}
	d := startWith(t, maker, attesttest.Factory{DevIDs: []attesttest.FactoryDevID{{Kind: tpm.IDevID, Simple: true}}})
	stored, err := d.DevID(tpm.IDevID, tpm.DevIDSource{})
	if err != nil || stored == nil {
		t.Fatalf("%v, %v", stored, err)
	}
	for name, tt := range map[string]struct {
		kind tpm.DevIDKind
		from tpm.DevIDSource
		want error
		none bool
	}{
		"chain of a file":          {tpm.IDevID, tpm.DevIDSource{Chain: stored.Chain}, nil, false},
		"handle of a file's chain": {tpm.IAK, tpm.DevIDSource{Chain: stored.Chain, Handle: 0x81020000}, nil, false},
		"where there is no key":    {tpm.IDevID, tpm.DevIDSource{Handle: 0x81020077}, tpm.ErrNoDevIDKey, true},
		"a file of rubbish":        {tpm.IDevID, tpm.DevIDSource{Chain: []byte("rubbish")}, tpm.ErrNoDevIDKey, true},
		"an empty file":            {tpm.IDevID, tpm.DevIDSource{Chain: []byte{}}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := d.DevID(tt.kind, tt.from)
			if !errors.Is(err, tt.want) || (got == nil) != tt.none {
				t.Errorf("%v, %v; want %v", got, err, tt.want)
			}
		})
	}
	other := startWith(t, maker, attesttest.Factory{DevIDs: []attesttest.FactoryDevID{{Kind: tpm.IDevID}}})
	if got, err := other.DevID(tpm.IDevID, tpm.DevIDSource{Chain: stored.Chain}); got != nil || !errors.Is(err, tpm.ErrNoDevIDKey) {
		t.Errorf("with another TPM's certificate: %v, %v", got, err)
	}
	ca := func(c *x509.Certificate) { c.IsCA = true }
	chain, err := maker.CertifyDevID(stored.Public, attesttest.FactoryDevID{Kind: tpm.IDevID, Change: ca})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.DevID(tpm.IDevID, tpm.DevIDSource{Chain: chain}); got != nil || !errors.Is(err, tpm.ErrNoDevIDKey) {
		t.Errorf("with a CA's certificate for the key: %v, %v", got, err)
	}
	d.wantEmpty(t)
}

func startWith(t *testing.T, maker *attesttest.Manufacturer, f attesttest.Factory) device {
	t.Helper()
	s, err := maker.NewTPMWith(t.Context(), filepath.Join(t.TempDir(), "s"), f)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c, err := tpm.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	d := device{TPM: tpm.New(c), swtpm: s, raw: c}
	t.Cleanup(func() { _ = d.Close() })
	return d
}
