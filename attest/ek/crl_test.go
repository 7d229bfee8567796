package ek_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"

	"troth/attest/ek"
)

func crlSigner(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }

// crl makes a list of revoked serial numbers.
func (a authority) crl(t *testing.T, change func(*x509.RevocationList), serials ...int64) *x509.RevocationList {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.AddDate(0, 0, -1), NextUpdate: now.AddDate(0, 0, 1)}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: now})
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	list, err := ek.ParseCRL(der)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// K7: revoked, covered, and not known are three answers.
func TestAttack_K7_Revocation(t *testing.T) {
	root := newAuthority(t, nil, crlSigner)
	issuer := newAuthority(t, &root, func(c *x509.Certificate) { crlSigner(c); c.SerialNumber = big.NewInt(77) })
	impostor := newAuthority(t, &root, crlSigner) // of the same name
	roots := trust(t, map[string][]byte{"acme": append(root.pem(), issuer.pem()...)})
	chain, err := roots.Verify(issuer.sign(t, ekTemplate(), newKey(t).Public()), now) // serial number 2
	if err != nil {
		t.Fatal(err)
	}
	old := func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = now.AddDate(0, 0, -9), now.AddDate(0, 0, -8)
	}
	narrow := func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}}
	}
	clean := root.crl(t, nil)
	for name, tt := range map[string]struct {
		crls     []*x509.RevocationList
		complete bool
		code     string
	}{
		"none":               {nil, false, ""},
		"both clean":         {[]*x509.RevocationList{clean, issuer.crl(t, nil, 3, 4)}, true, ""},
		"one missing":        {[]*x509.RevocationList{clean}, false, ""},
		"revoked":            {[]*x509.RevocationList{clean, issuer.crl(t, nil, 1, 2)}, false, ek.CodeRevoked},
		"revoked long ago":   {[]*x509.RevocationList{clean, issuer.crl(t, old, 2)}, false, ek.CodeRevoked},
		"revoked in narrow":  {[]*x509.RevocationList{clean, issuer.crl(t, narrow, 2)}, false, ek.CodeRevoked},
		"issuer revoked":     {[]*x509.RevocationList{root.crl(t, nil, 77), issuer.crl(t, nil)}, false, ek.CodeRevoked},
		"old":                {[]*x509.RevocationList{clean, issuer.crl(t, old)}, false, ""},
		"narrow":             {[]*x509.RevocationList{clean, issuer.crl(t, narrow)}, false, ""},
		"by an impostor":     {[]*x509.RevocationList{clean, impostor.crl(t, nil, 2)}, false, ""},
		"clean by impostors": {[]*x509.RevocationList{clean, impostor.crl(t, nil)}, false, ""},
	} {
		complete, err := chain.Revocation(tt.crls, now)
		wantCode(t, name, err, tt.code)
		if complete != tt.complete {
			t.Errorf("%s: complete is %v", name, complete)
		}
	}
	if complete, err := (ek.Chain{}).Revocation(nil, now); complete || err != nil {
		t.Errorf("no chain: %v, %v", complete, err)
	}
	if _, err := ek.ParseCRL(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: clean.Raw})); err != nil {
		t.Error(err)
	}
	for _, data := range [][]byte{nil, []byte("rubbish"), root.pem(), clean.Raw[:50]} {
		_, err := ek.ParseCRL(data)
		wantCode(t, "parse", err, ek.CodeMalformed)
	}
}

func FuzzParseCRL(f *testing.F) {
	f.Add([]byte{0x30, 0})
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := ek.ParseCRL(data); err != nil {
			wantCode(t, "parse", err, ek.CodeMalformed)
		}
	})
}
