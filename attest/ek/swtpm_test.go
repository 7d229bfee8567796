package ek_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest/attesttest"
	"troth/attest/ek"
	"troth/attest/tpm"
)

func newManufacturer(t *testing.T) (*attesttest.Manufacturer, []byte) {
	t.Helper()
	m, err := attesttest.NewManufacturer(t.TempDir(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	roots, err := m.RootsPEM()
	if err != nil {
		t.Fatal(err)
	}
	return m, roots
}

func connect(t *testing.T, s *attesttest.SWTPM, err error) transport.TPMCloser {
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
	t.Cleanup(func() { c.Close() })
	return c
}

func trust(t *testing.T, manufacturers map[string][]byte) *ek.Roots {
	t.Helper()
	r := ek.NewRoots()
	for name, pem := range manufacturers {
		if err := r.Add(name, pem); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// What real swtpm tools issue verifies, and the public area that is rebuilt
// from the certificate is the one of the TPM.
func TestSoftwareTPM(t *testing.T) {
	m, roots := newManufacturer(t)
	_, others := newManufacturer(t)
	for name, manufacture := range map[string]func(context.Context, string) (*attesttest.SWTPM, error){"rsa": m.NewTPM, "ecc": m.NewECCTPM} {
		t.Run(name, func(t *testing.T) {
			s, err := manufacture(context.Background(), filepath.Join(t.TempDir(), "s"))
			device, err := tpm.New(connect(t, s, err)).EK()
			if err != nil {
				t.Fatal(err)
			}
			cert, err := ek.ParseCertificate(device.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			public, err := ek.Public(cert)
			if err != nil || !bytes.Equal(public, device.Public) {
				t.Errorf("rebuilt %x, TPM has %x, %v", public, device.Public, err)
			}
			wantCode(t, "public", ek.CheckPublic(device.Public), "")
			wantCode(t, "match", ek.CheckMatch(cert, device.Public), "")
			if id := ek.DeviceID(public); len(id) != 64 || id != ek.DeviceID(device.Public) {
				t.Errorf("device id %q", id)
			}
			at := time.Now()
			chain, err := trust(t, map[string][]byte{"acme": roots, "other": others}).Verify(cert, at)
			if err != nil {
				t.Fatal(err)
			}
			if chain.Manufacturer != "acme" || len(chain.Certificates) != 3 || len(chain.RootSHA256) != 64 || chain.Certificates[0] != cert {
				t.Errorf("chain %q of %d, root %s", chain.Manufacturer, len(chain.Certificates), chain.RootSHA256)
			}
			_, err = trust(t, map[string][]byte{"other": others}).Verify(cert, at)
			wantCode(t, "another manufacturer with the same subject names", err, ek.CodeUnknownManufacturer)
			_, err = ek.NewRoots().Verify(cert, at)
			wantCode(t, "nobody trusted", err, ek.CodeUnknownManufacturer)
			root, intermediate := pem.Decode(roots)
			_, err = trust(t, map[string][]byte{"acme": pem.EncodeToMemory(root)}).Verify(cert, at)
			wantCode(t, "intermediate missing", err, ek.CodeUnknownManufacturer)
			_, err = trust(t, map[string][]byte{"acme": intermediate}).Verify(cert, at)
			wantCode(t, "root missing", err, ek.CodeUnknownManufacturer)
			_, err = trust(t, map[string][]byte{"acme": roots}).Verify(cert, cert.NotBefore.Add(-time.Second))
			wantCode(t, "not yet valid", err, ek.CodeExpired)
			_, err = trust(t, map[string][]byte{"acme": roots}).Verify(cert, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
			wantCode(t, "year 9999", err, "")
		})
	}
}

// K7: the platform certificate of the same TPM, for the same key and from the
// same issuer, is no EK certificate.
func TestAttack_K7_PlatformCertificate(t *testing.T) {
	m, roots := newManufacturer(t)
	s, err := m.NewTPM(context.Background(), filepath.Join(t.TempDir(), "s"))
	c := connect(t, s, err)
	const platformCertificate = 0x01c08000
	pub, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(platformCertificate)}.Execute(c)
	if err != nil {
		t.Fatal(err)
	}
	info, err := pub.NVPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	var der []byte
	for len(der) < int(info.DataSize) {
		rsp, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: platformCertificate, Name: pub.NVName, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: platformCertificate, Name: pub.NVName},
			Size:       uint16(min(512, int(info.DataSize)-len(der))), Offset: uint16(len(der)),
		}.Execute(c)
		if err != nil {
			t.Fatal(err)
		}
		der = append(der, rsp.Data.Buffer...)
	}
	cert, err := ek.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	_, err = trust(t, map[string][]byte{"acme": roots}).Verify(cert, time.Now())
	wantCode(t, "platform certificate", err, ek.CodeNotEKCertificate)
}

// K5: a real TPM makes, from each template, exactly what is rebuilt here.
func TestAttack_K5_TemplatesOfARealTPM(t *testing.T) {
	m, _ := newManufacturer(t)
	s, err := m.NewBareTPM(context.Background(), filepath.Join(t.TempDir(), "s"))
	c := connect(t, s, err)
	policyA := tpm2.RSAEKTemplate.AuthPolicy.Buffer
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		t.Fatal(err)
	}
	err = tpm2.PolicyOr{PHashList: tpm2.TPMLDigest{Digests: []tpm2.TPM2BDigest{{Buffer: policyA}, {Buffer: policyC}}}}.Update(calc)
	if err != nil {
		t.Fatal(err)
	}
	for want, template := range map[ek.Template]tpm2.TPMTPublic{
		ek.L1: tpm2.RSAEKTemplate, ek.L2: tpm2.ECCEKTemplate,
		ek.H1: highRange(tpm2.RSAEKTemplate, calc.Hash().Digest), ek.H2: highRange(tpm2.ECCEKTemplate, calc.Hash().Digest),
	} {
		rsp, err := tpm2.CreatePrimary{
			PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
			InPublic:      tpm2.New2B(template),
		}.Execute(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}).Execute(c); err != nil {
			t.Fatal(err)
		}
		public := rsp.OutPublic.Bytes()
		wantCode(t, string(want), ek.CheckPublic(public), "")
		key, err := ek.PublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		built, err := ek.PublicTemplate(&x509.Certificate{PublicKey: key}, want)
		if err != nil || !bytes.Equal(built, public) {
			t.Errorf("%s: rebuilt %x, TPM has %x, %v", want, built, public, err)
		}
	}
}

// policyC is PolicyC with SHA-256 (EK Credential Profile, B.6.4).
var policyC = []byte{
	0x37, 0x67, 0xe2, 0xed, 0xd4, 0x3f, 0xf4, 0x5a, 0x3a, 0x7e, 0x1e, 0xae, 0xfc, 0xef, 0x78, 0x64,
	0x3d, 0xca, 0x96, 0x46, 0x32, 0xe7, 0xaa, 0xd8, 0x2c, 0x67, 0x3a, 0x30, 0xd8, 0x63, 0x3f, 0xde,
}

func highRange(t tpm2.TPMTPublic, policyB []byte) tpm2.TPMTPublic {
	t.ObjectAttributes.UserWithAuth = true
	t.AuthPolicy = tpm2.TPM2BDigest{Buffer: policyB}
	if t.Type == tpm2.TPMAlgRSA {
		t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
	} else {
		t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	}
	return t
}
