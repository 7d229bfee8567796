package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	gorsa "crypto/rsa"
	"math/big"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/ek"
	"troth/attest/ek/template"
	"troth/attest/tpm"
)

// connected starts a TPM and returns it with options.
func connected(t *testing.T, s *attesttest.SWTPM, err error, options ...tpm.Option) device {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c, err := tpm.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	d := device{TPM: tpm.New(c, options...), swtpm: s, raw: c}
	t.Cleanup(func() { d.Close() })
	return d
}

// wantWorkingEK checks that the EK is the one of its certificate, rebuilt as a
// verifier would, and that it activates a credential.
func (d device) wantWorkingEK(t *testing.T, e tpm.EK, want template.ID) {
	t.Helper()
	if e.Template != want {
		t.Errorf("EK is of template %s, want %s", e.Template, want)
	}
	cert, err := ek.ParseCertificate(e.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if err := ek.CheckMatch(cert, e.Public); err != nil {
		t.Error(err)
	}
	if got, err := ek.TemplateOf(e.Public); err != nil || got != want {
		t.Errorf("public area is of template %q, %v", got, err)
	}
	if rebuilt, err := ek.PublicStored(cert, e.StoredTemplate, e.Nonce); want != ek.H1 && want != ek.H2 && (err != nil || !bytes.Equal(rebuilt, e.Public)) {
		t.Errorf("rebuilt %x, %v", rebuilt, err)
	}
	ak := d.ak(t)
	name, err := ak.Name()
	if err != nil {
		t.Fatal(err)
	}
	secret := bytes.Repeat([]byte{7}, 32)
	blob, encrypted := challenge(t, e.Public, name, secret)
	if got, err := d.ActivateCredential(ak, blob, encrypted); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("activated %x, %v", got, err)
	}
	blob, encrypted, err = attest.MakeCredential(rand.Reader, e.Public, name, secret)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.ActivateCredential(ak, blob, encrypted); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("activated %x of our verifier, %v", got, err)
	}
	d.wantEmpty(t)
}

// K5: every template on a real TPM: certificate found, key made as the
// manufacturer made it, credential activated under the template's policy.
func TestAttack_K5_AllTemplates(t *testing.T) {
	nonce := bytes.Repeat([]byte{0x5a}, 20)
	for name, tt := range map[string]struct {
		eks  []attesttest.FactoryEK
		want []template.ID // in the order of preference
	}{
		"as they are": {
			[]attesttest.FactoryEK{{Template: template.H1}, {Template: template.H2}, {Template: template.H6}, {Template: template.L2}},
			[]template.ID{template.L2, template.H6, template.H1, template.H2},
		},
		"varied": {
			[]attesttest.FactoryEK{{Template: template.L1, Nonce: nonce}, {Template: template.L2, Nonce: nonce, Stored: true}, {Template: template.H3, Stored: true}},
			[]template.ID{template.L1, template.L2, template.H3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := maker.NewTPMWith(context.Background(), filepath.Join(t.TempDir(), "s"), attesttest.Factory{EKs: tt.eks, Chain: true})
			d := connected(t, s, err)
			all, err := d.EKs()
			if err != nil {
				t.Fatal(err)
			}
			if first, err := d.EK(); err != nil || !bytes.Equal(first.Public, all[0].Public) {
				t.Errorf("EK is not the first of all: %v", err)
			}
			var got []template.ID
			for _, e := range all {
				got = append(got, e.Template)
				device{TPM: tpm.New(d.raw, tpm.WithEK(e.Template)), swtpm: s, raw: d.raw}.wantWorkingEK(t, e, e.Template)
				wantChain(t, e)
				i := slices.IndexFunc(tt.eks, func(f attesttest.FactoryEK) bool { return f.Template == e.Template })
				if f := tt.eks[i]; (e.StoredTemplate != nil) != f.Stored || (e.Nonce != nil) != (f.Nonce != nil && !f.Stored) {
					t.Errorf("stored template of %d bytes, nonce of %d", len(e.StoredTemplate), len(e.Nonce))
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("EKs %v, want %v", got, tt.want)
			}
		})
	}
}

// wantChain fails unless the chain from NV memory leads from the EK to the root.
func wantChain(t *testing.T, e tpm.EK) {
	t.Helper()
	cert, err := ek.ParseCertificate(e.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ek.ParseChain(e.Chain)
	if err != nil || len(chain) != 1 {
		t.Fatalf("chain of %d, %v", len(chain), err)
	}
	roots, err := maker.RootsPEM()
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := bytes.Cut(roots, []byte("-----END CERTIFICATE-----\n"))
	store := ek.NewRoots()
	if err := store.Add("acme", append(first, "-----END CERTIFICATE-----\n"...)); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Verify(cert, cert.NotBefore); err == nil {
		t.Error("verified without the intermediate")
	}
	if _, err := store.VerifyWith(cert, chain, cert.NotBefore); err != nil {
		t.Error(err)
	}
}

// What swtpm_setup itself makes: RSA-2048 or RSA-3072 beside ECC P-384. Its
// persistent keys are used and left where they are.
func TestEKsOfSwtpmSetup(t *testing.T) {
	for name, tt := range map[string]struct {
		manufacture func(context.Context, string) (*attesttest.SWTPM, error)
		want        []template.ID
	}{
		"2048": {maker.NewTPM, []template.ID{template.L1, template.H3}},
		"3072": {maker.NewRSA3072TPM, []template.ID{template.H3, template.H6}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := tt.manufacture(context.Background(), filepath.Join(t.TempDir(), "s"))
			d := connected(t, s, err)
			before := d.persistent(t)
			all, err := d.EKs()
			if err != nil {
				t.Fatal(err)
			}
			var got []template.ID
			for _, e := range all {
				got = append(got, e.Template)
				one := device{TPM: tpm.New(d.raw, tpm.WithEK(e.Template)), swtpm: s, raw: d.raw}
				again, err := one.EK()
				if err != nil || !bytes.Equal(again.Public, e.Public) {
					t.Errorf("%s: %v", e.Template, err)
				}
				one.wantWorkingEK(t, again, e.Template)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("EKs %v, want %v", got, tt.want)
			}
			if after := d.persistent(t); len(before) == 0 || !slices.Equal(before, after) {
				t.Errorf("persistent handles %#x, were %#x", after, before)
			}
		})
	}
}

func (d device) persistent(t *testing.T) []tpm2.TPMHandle {
	t.Helper()
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: 0x81000000, PropertyCount: 64}.Execute(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	h, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		t.Fatal(err)
	}
	return h.Handle
}

func TestUnknownKinds(t *testing.T) {
	d := newDevice(t, bare)
	if _, err := tpm.New(d.raw, tpm.WithEK("L-9")).EK(); err == nil {
		t.Error("template L-9 made an EK")
	}
	if _, err := tpm.New(d.raw, tpm.WithAK("dsa")).CreateAK(); err == nil {
		t.Error("a DSA key was made")
	}
}

// Attestation keys of every kind quote under their own scheme and hash.
func TestAKKinds(t *testing.T) {
	d := newDevice(t, ecc)
	for kind, hash := range map[tpm.AKKind]crypto.Hash{
		tpm.ECCP256: crypto.SHA256, tpm.ECCP384: crypto.SHA384, tpm.RSA2048: crypto.SHA256, tpm.RSA2048PSS: crypto.SHA256, tpm.RSA3072: crypto.SHA384,
	} {
		t.Run(string(kind), func(t *testing.T) {
			of := device{TPM: tpm.New(d.raw, tpm.WithAK(kind)), swtpm: d.swtpm, raw: d.raw}
			ak, tls := of.ak(t), of.tlsKey(t)
			q, err := of.Quote(ak, []byte("nonce"), map[string][]int{"sha256": {0, 7, 16}, "sha384": {0}})
			if err != nil {
				t.Fatal(err)
			}
			wantSignature(t, ak, hash, q.Attest, q.Signature)
			info, signature, err := of.Certify(ak, tls, []byte("nonce"))
			if err != nil {
				t.Fatal(err)
			}
			wantSignature(t, ak, hash, info, signature)
			if _, err := attest.CheckAK(ak.Public); err != nil {
				t.Error(err)
			}
			if _, err := attest.CheckCertify(ak.Public, tls.Public, info, signature, []byte("nonce")); err != nil {
				t.Error(err)
			}
			q, err = of.Quote(ak, []byte("nonce"), map[string][]int{"sha256": {16}})
			if err != nil {
				t.Fatal(err)
			}
			result := attest.Appraise(attest.Evidence{
				AK: ak.Public, Quote: q.Attest, Signature: q.Signature, PCRs: attest.PCRs{"sha256": {16: q.PCRs["sha256"][16]}},
			}, attest.Expectation{QualifyingData: []byte("nonce")})
			if err := result.Err(); err != nil {
				t.Error(err)
			}
			if _, err := of.Signer(ak); err == nil {
				t.Error("an AK signs for TLS")
			}
			of.wantEmpty(t)
		})
	}
}

// wantSignature checks a TPMT_SIGNATURE with the standard library.
func wantSignature(t *testing.T, ak tpm.Key, hash crypto.Hash, attest, signature []byte) {
	t.Helper()
	sig, err := tpm2.Unmarshal[tpm2.TPMTSignature](signature)
	if err != nil {
		t.Fatal(err)
	}
	h := hash.New()
	h.Write(attest)
	pub := decode(t, ak.Public)
	if pub.Type == tpm2.TPMAlgECC {
		s, err := sig.Signature.ECDSA()
		if err != nil {
			t.Fatal(err)
		}
		point, err := pub.Unique.ECC()
		if err != nil {
			t.Fatal(err)
		}
		curve, size := elliptic.P256(), 32
		if hash == crypto.SHA384 {
			curve, size = elliptic.P384(), 48
		}
		raw := append([]byte{4}, new(big.Int).SetBytes(point.X.Buffer).FillBytes(make([]byte, size))...)
		raw = append(raw, new(big.Int).SetBytes(point.Y.Buffer).FillBytes(make([]byte, size))...)
		key, err := ecdsa.ParseUncompressedPublicKey(curve, raw)
		if err != nil {
			t.Fatal(err)
		}
		if !ecdsa.Verify(key, h.Sum(nil), new(big.Int).SetBytes(s.SignatureR.Buffer), new(big.Int).SetBytes(s.SignatureS.Buffer)) {
			t.Error("ECDSA signature does not verify")
		}
		return
	}
	modulus, err := pub.Unique.RSA()
	if err != nil {
		t.Fatal(err)
	}
	key := &gorsa.PublicKey{N: new(big.Int).SetBytes(modulus.Buffer), E: 65537}
	if s, err := sig.Signature.RSASSA(); err == nil {
		if err := gorsa.VerifyPKCS1v15(key, hash, h.Sum(nil), s.Sig.Buffer); err != nil {
			t.Error(err)
		}
	} else if s, err := sig.Signature.RSAPSS(); err != nil {
		t.Errorf("signature of %v", sig.SigAlg)
	} else if err := gorsa.VerifyPSS(key, hash, h.Sum(nil), s.Sig.Buffer, nil); err != nil {
		t.Error(err)
	}
}
