package ek_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"
	"testing/fstest"

	"troth/attest/ek"
)

// K7: intermediates that the device brings complete a chain, and nothing else.
func TestAttack_K7_SuppliedIntermediates(t *testing.T) {
	root := newAuthority(t, nil, nil)
	flat := newAuthority(t, nil, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	below := func(parent authority, change func(*x509.Certificate)) authority {
		return newAuthority(t, &parent, change)
	}
	good := below(root, nil)
	second := below(good, nil)
	noCA := below(root, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	noSign := below(root, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
	expired := below(root, func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, -1, 0) })
	long := below(flat, nil)
	longer := below(long, nil)
	critical := below(root, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	})
	stranger := newAuthority(t, nil, nil)
	strangerBelow := below(stranger, nil)
	roots := trust(t, map[string][]byte{"acme": append(root.pem(), flat.pem()...)})
	many := make([]authority, 17)
	for i := range many {
		many[i] = good
	}
	for name, tt := range map[string]struct {
		issuer   authority
		supplied []authority
		code     string
	}{
		"missing":               {good, nil, ek.CodeUnknownManufacturer},
		"supplied":              {good, []authority{good}, ""},
		"two, any order":        {second, []authority{good, second}, ""},
		"with root and noise":   {good, []authority{root, strangerBelow, noCA, good}, ""},
		"one of two missing":    {second, []authority{second}, ek.CodeUnknownManufacturer},
		"not a CA":              {noCA, []authority{noCA}, ek.CodeChain},
		"no key usage for it":   {noSign, []authority{noSign}, ek.CodeChain},
		"expired":               {expired, []authority{expired}, ek.CodeExpired},
		"path of allowed size":  {flat, nil, ""},
		"path too long":         {long, []authority{long}, ek.CodeChain},
		"path far too long":     {longer, []authority{long, longer}, ek.CodeChain},
		"unknown critical":      {critical, []authority{critical}, ek.CodeChain},
		"root of the device's":  {strangerBelow, []authority{strangerBelow, stranger}, ek.CodeUnknownManufacturer},
		"too many certificates": {good, many, ek.CodeMalformed},
	} {
		var supplied []*x509.Certificate
		for _, a := range tt.supplied {
			supplied = append(supplied, a.cert)
		}
		chain, err := roots.VerifyWith(tt.issuer.sign(t, ekTemplate(), newKey(t).Public()), supplied, now)
		wantCode(t, name, err, tt.code)
		if tt.code == "" && chain.Manufacturer != "acme" {
			t.Errorf("%s: manufacturer %q", name, chain.Manufacturer)
		}
	}
	if _, err := roots.Verify(good.sign(t, ekTemplate(), newKey(t).Public()), now); err == nil {
		t.Error("a supplied certificate was kept")
	}
}

// K7: a chain as NV memory holds it.
func TestAttack_K7_StoredChain(t *testing.T) {
	root := newAuthority(t, nil, nil)
	one, two := newAuthority(t, &root, nil).cert.Raw, root.cert.Raw
	zeros, ones := make([]byte, 300), bytes.Repeat([]byte{0xff}, 300)
	var seventeen [][]byte
	for range 17 {
		seventeen = append(seventeen, one)
	}
	for name, tt := range map[string]struct {
		data [][]byte
		want int
		code string
	}{
		"nothing":         {nil, 0, ""},
		"padding":         {[][]byte{zeros, ones}, 0, ""},
		"one":             {[][]byte{one}, 1, ""},
		"two":             {[][]byte{one, two}, 2, ""},
		"padded":          {[][]byte{one, ones, two, zeros}, 2, ""},
		"padding first":   {[][]byte{zeros, one}, 1, ""},
		"cut off":         {[][]byte{one, two[:len(two)-1]}, 0, ek.CodeMalformed},
		"rubbish":         {[][]byte{one, []byte("rubbish")}, 0, ek.CodeMalformed},
		"no certificate":  {[][]byte{{0x30, 0}}, 0, ek.CodeMalformed},
		"too many":        {seventeen, 0, ek.CodeMalformed},
		"64 KiB and more": {[][]byte{make([]byte, 64<<10+1)}, 0, ek.CodeMalformed},
	} {
		chain, err := ek.ParseChain(bytes.Join(tt.data, nil))
		wantCode(t, name, err, tt.code)
		if len(chain) != tt.want {
			t.Errorf("%s: %d certificates", name, len(chain))
		}
	}
}

// K7: the header of TPM 1.2 in front of the certificate.
func TestAttack_K7_FullCertificateHeader(t *testing.T) {
	ca := newAuthority(t, nil, nil)
	der := ca.sign(t, ekTemplate(), newKey(t).Public()).Raw
	header := []byte{0x10, 0x01, 0x00, byte(len(der) >> 8), byte(len(der))}
	cert, err := ek.ParseCertificate(slices.Concat(header, der, make([]byte, 100)))
	if err != nil || !bytes.Equal(cert.Raw, der) {
		t.Errorf("parsed %v", err)
	}
	for name, data := range map[string][]byte{
		"size too large": slices.Concat([]byte{0x10, 0x01, 0x00, 0xff, 0xff}, der),
		"size too small": slices.Concat([]byte{0x10, 0x01, 0x00, 0, 9}, der),
		"another type":   slices.Concat([]byte{0x10, 0x01, 0x01}, header[3:], der),
		"only a header":  header,
	} {
		_, err := ek.ParseCertificate(data)
		wantCode(t, name, err, ek.CodeMalformed)
	}
}

func TestLoadRoots(t *testing.T) {
	acme, other := newAuthority(t, nil, nil), newAuthority(t, nil, nil)
	acmeBelow := newAuthority(t, &acme, nil)
	file := func(data []byte) *fstest.MapFile { return &fstest.MapFile{Data: data} }
	good := func() fstest.MapFS {
		return fstest.MapFS{
			"README.md":                  file([]byte("where these are from")),
			"Acme/root/ca.PEM":           file(acme.pem()),
			"Acme/intermediate/ca 1.cer": file(acmeBelow.cert.Raw),
			"Acme/source.txt":            file([]byte("https://acme.example/")),
			"Acme/.git/x.pem":            file([]byte("ignored")),
			"Acme/.x.pem":                file([]byte("ignored")),
			"Other/root.der":             file(other.cert.Raw),
		}
	}
	roots, err := ek.LoadRoots(good())
	if err != nil {
		t.Fatal(err)
	}
	if got := roots.Manufacturers(); !slices.Equal(got, []string{"Acme", "Other"}) {
		t.Errorf("manufacturers %q", got)
	}
	chain, err := roots.Verify(acmeBelow.sign(t, ekTemplate(), newKey(t).Public()), now)
	if err != nil || chain.Manufacturer != "Acme" {
		t.Errorf("manufacturer %q, %v", chain.Manufacturer, err)
	}
	leaf := acme.sign(t, ekTemplate(), newKey(t).Public())
	for name, data := range map[string][]byte{
		"top.pem":                 acme.pem(),
		"Acme/rubbish.crt":        []byte("rubbish"),
		"Acme/empty.pem":          nil,
		"Acme/leaf.der":           leaf.Raw,
		"Acme/large.pem":          make([]byte, 1<<20+1),
		"Acme/a/b/c/d/e/deep.pem": acme.pem(),
		"Empty/README.md":         nil,
	} {
		store := good()
		store[name] = file(data)
		if _, err := ek.LoadRoots(store); err == nil {
			t.Errorf("%s: loaded", name)
		} else {
			t.Log(err)
		}
	}
	empty, err := ek.LoadRoots(fstest.MapFS{})
	if err != nil || len(empty.Manufacturers()) != 0 {
		t.Errorf("empty store: %v", err)
	}
}

func FuzzParseChain(f *testing.F) {
	f.Add(append([]byte{0x30, 3, 2, 1, 1}, 0xff, 0))
	f.Add([]byte{0x10, 0x01, 0x00, 0, 1, 0x30})
	f.Fuzz(func(t *testing.T, data []byte) {
		chain, err := ek.ParseChain(data)
		if err != nil {
			wantCode(t, "parse", err, ek.CodeMalformed)
		}
		if len(chain) > 16 {
			t.Errorf("%d certificates", len(chain))
		}
	})
}
