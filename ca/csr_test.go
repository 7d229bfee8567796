package ca_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"troth/ca"
	"troth/ca/catest"
)

// request is a template's CSR as a request of the device "device".
func request(t testing.TB, key *ecdsa.PrivateKey, template x509.CertificateRequest) ca.Request {
	t.Helper()
	return ca.Request{CSR: catest.NewCSR(t, key, &template), PublicKey: &key.PublicKey, URI: catest.URI("device")}
}

func uris(t testing.TB, texts ...string) []*url.URL {
	t.Helper()
	var parsed []*url.URL
	for _, text := range texts {
		parsed = append(parsed, catest.ParseURL(t, text))
	}
	return parsed
}

func code(err error) string {
	var refusal *ca.CSRError
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	if err != nil {
		return "untyped: " + err.Error()
	}
	return ""
}

func TestCheckRequest(t *testing.T) {
	if err := ca.CheckRequest(catest.NewRequest(t, "device")); err != nil {
		t.Errorf("empty subject: %v", err)
	}
	uri := catest.URI("device")
	named := x509.CertificateRequest{
		Subject: pkix.Name{CommonName: uri[strings.LastIndex(uri, "/")+1:]},
		URIs:    uris(t, uri),
	}
	if err := ca.CheckRequest(request(t, catest.NewKey(t), named)); err != nil {
		t.Errorf("subject CN=ID: %v", err)
	}
}

// TestAttack_S8_Names: whatever else a CSR can name or ask for, in every place
// where it can stand.
func TestAttack_S8_Names(t *testing.T) {
	key, uri := catest.NewKey(t), catest.URI("device")
	extension := func(oid string, value any) pkix.Extension {
		der, err := asn1.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		id, err := x509.ParseOID(oid)
		if err != nil {
			t.Fatal(err)
		}
		var numbers asn1.ObjectIdentifier
		raw, _ := id.MarshalBinary()
		if _, err := asn1.Unmarshal(append([]byte{6, byte(len(raw))}, raw...), &numbers); err != nil {
			t.Fatal(err)
		}
		return pkix.Extension{Id: numbers, Value: der}
	}
	// generalNames writes names that crypto/x509 has no field for.
	generalNames := func(names ...asn1.RawValue) pkix.Extension { return extension("2.5.29.17", names) }
	uriName := asn1.RawValue{Class: 2, Tag: 6, Bytes: []byte(uri)}
	for name, test := range map[string]struct {
		template x509.CertificateRequest
		want     string
	}{
		"no names":          {x509.CertificateRequest{}, ca.CodeURI},
		"another URI":       {x509.CertificateRequest{URIs: uris(t, catest.URI("another"))}, ca.CodeURI},
		"two URIs":          {x509.CertificateRequest{URIs: uris(t, uri, catest.URI("another"))}, ca.CodeURI},
		"the URI twice":     {x509.CertificateRequest{URIs: uris(t, uri, uri)}, ca.CodeURI},
		"URI in upper case": {x509.CertificateRequest{URIs: uris(t, "spiffe://EXAMPLE.org"+uri[len("spiffe://example.org"):])}, ca.CodeURI},
		"DNS name":          {x509.CertificateRequest{URIs: uris(t, uri), DNSNames: []string{"localhost"}}, ca.CodeNames},
		"only a DNS name":   {x509.CertificateRequest{DNSNames: []string{"localhost"}}, ca.CodeNames},
		"IP address":        {x509.CertificateRequest{URIs: uris(t, uri), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, ca.CodeNames},
		"email":             {x509.CertificateRequest{URIs: uris(t, uri), EmailAddresses: []string{"a@example.org"}}, ca.CodeNames},
		"registered id": {x509.CertificateRequest{ExtraExtensions: []pkix.Extension{
			generalNames(uriName, asn1.RawValue{Class: 2, Tag: 8, Bytes: []byte{0x2a, 3}})}}, ca.CodeNames},
		"other name": {x509.CertificateRequest{ExtraExtensions: []pkix.Extension{
			generalNames(uriName, asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: []byte{6, 1, 0x2a, 0xa0, 2, 12, 0}})}}, ca.CodeNames},
		"common name":      {x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin"}, URIs: uris(t, uri)}, ca.CodeNames},
		"organization":     {x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"x"}}, URIs: uris(t, uri)}, ca.CodeNames},
		"serial number":    {x509.CertificateRequest{Subject: pkix.Name{SerialNumber: "1"}, URIs: uris(t, uri)}, ca.CodeNames},
		"CA":               {x509.CertificateRequest{URIs: uris(t, uri), ExtraExtensions: []pkix.Extension{extension("2.5.29.19", struct{ CA bool }{true})}}, ca.CodeExtension},
		"name constraints": {x509.CertificateRequest{URIs: uris(t, uri), ExtraExtensions: []pkix.Extension{extension("2.5.29.30", struct{}{})}}, ca.CodeExtension},
		"server usage":     {x509.CertificateRequest{URIs: uris(t, uri), ExtraExtensions: []pkix.Extension{extension("2.5.29.37", []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}})}}, ca.CodeExtension},
		"unknown":          {x509.CertificateRequest{URIs: uris(t, uri), ExtraExtensions: []pkix.Extension{extension("1.2.3.4", "x")}}, ca.CodeExtension},
	} {
		err := ca.CheckRequest(request(t, key, test.template))
		if code(err) != test.want || !errors.Is(err, ca.ErrRefused) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// TestAttack_S8_Attributes: attributes that crypto/x509 passes over.
func TestAttack_S8_Attributes(t *testing.T) {
	password := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7} // challengePassword
	const want = ca.CodeExtension
	for name, attributes := range map[string][]asn1.ObjectIdentifier{
		"challenge password": {password},
		"any other":          {{1, 2, 3, 4}},
		"two":                {password, {1, 2, 3, 4}},
	} {
		key := catest.NewKey(t)
		r := request(t, key, x509.CertificateRequest{URIs: uris(t, catest.URI("device"))})
		r.CSR = addAttributes(t, r.CSR, key, attributes)
		if err := ca.CheckRequest(r); code(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// addAttributes appends empty attributes to a CSR and signs it again.
func addAttributes(t *testing.T, der []byte, key *ecdsa.PrivateKey, ids []asn1.ObjectIdentifier) []byte {
	t.Helper()
	var csr struct {
		Info struct {
			Version      int
			Subject, Key asn1.RawValue
			Attributes   []asn1.RawValue `asn1:"tag:0,set"`
		}
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &csr); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		attribute, err := asn1.Marshal(struct {
			ID     asn1.ObjectIdentifier
			Values []asn1.RawValue `asn1:"set"`
		}{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		csr.Info.Attributes = append(csr.Info.Attributes, asn1.RawValue{FullBytes: attribute})
	}
	info, err := asn1.Marshal(csr.Info)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(info)
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	csr.Signature = asn1.BitString{Bytes: signature, BitLength: len(signature) * 8}
	if der, err = asn1.Marshal(csr); err != nil {
		t.Fatal(err)
	}
	return der
}

// TestAttack_K6_CSRKey: the CSR's key is the certified key, of the pinned kind,
// and signs for itself.
func TestAttack_K6_CSRKey(t *testing.T) {
	good := catest.NewRequest(t, "device")
	flipped := good
	flipped.CSR = append([]byte(nil), good.CSR...)
	flipped.CSR[len(flipped.CSR)-1] ^= 1
	trailing := good
	trailing.CSR = append(append([]byte(nil), good.CSR...), 0)
	other, nothing, empty, text, byValue := good, good, good, good, good
	other.PublicKey = &catest.NewKey(t).PublicKey
	nothing.PublicKey = nil
	empty.PublicKey = (*ecdsa.PublicKey)(nil)
	text.PublicKey = "key"
	byValue.PublicKey = *good.PublicKey.(*ecdsa.PublicKey)
	huge, none := good, good
	huge.CSR = make([]byte, 1<<20)
	none.CSR = nil
	negative := good
	negative.Lifetime = -time.Second

	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	kind := func(key crypto.Signer) ca.Request {
		csr := catest.NewCSR(t, key, &x509.CertificateRequest{URIs: uris(t, good.URI)})
		return ca.Request{CSR: csr, PublicKey: key.Public(), URI: good.URI}
	}
	sha512 := kind(catest.NewKey(t))
	key := catest.NewKey(t)
	sha512.PublicKey = &key.PublicKey
	sha512.CSR = catest.NewCSR(t, key, &x509.CertificateRequest{URIs: uris(t, good.URI), SignatureAlgorithm: x509.ECDSAWithSHA512})

	for name, test := range map[string]struct {
		request ca.Request
		want    string
	}{
		"another key":         {other, ca.CodeKeyMismatch},
		"no certified key":    {nothing, ca.CodeKeyMismatch},
		"a nil certified key": {empty, ca.CodeKeyMismatch},
		"not a key":           {text, ca.CodeKeyMismatch},
		"a key by value":      {byValue, ca.CodeKeyMismatch},
		"signature flipped":   {flipped, ca.CodeSignature},
		"signed with SHA-512": {sha512, ca.CodeSignature},
		"P-384":               {kind(p384), ca.CodeKeyType},
		"P-224":               {kind(p224), ca.CodeKeyType},
		"RSA":                 {kind(rsaKey), ca.CodeKeyType},
		"trailing byte":       {trailing, ca.CodeMalformed},
		"a megabyte":          {huge, ca.CodeMalformed},
		"no bytes":            {none, ca.CodeMalformed},
		"negative lifetime":   {negative, ca.CodeLifetime},
	} {
		if err := ca.CheckRequest(test.request); code(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

func TestSplitDeviceURI(t *testing.T) {
	id := strings.Repeat("0a", 32)
	domain, got, err := ca.SplitDeviceURI(ca.DeviceURI("example.org", id))
	if err != nil || domain != "example.org" || got != id {
		t.Errorf("SplitDeviceURI = %q, %q, %v", domain, got, err)
	}
	for _, uri := range []string{
		"", "spiffe://", "spiffe://example.org", "spiffe://example.org/device", "spiffe://example.org/device/",
		"spiffe://example.org/device/x", "spiffe://example.org/service/" + id, "spiffe://example.org/device/" + id + "/",
		"spiffe://example.org/device/" + id + "/x", "spiffe://example.org/device/../device/" + id,
		"spiffe://example.org/device/" + strings.ToUpper(id), "spiffe://example.org/device/" + id + "?x",
		"spiffe://example.org/device/" + id + "#x", "spiffe://example.org:1/device/" + id,
		"spiffe://u@example.org/device/" + id, "https://example.org/device/" + id, "spiffe://Example.org/device/" + id,
		"SPIFFE://example.org/device/" + id, "spiffe:///device/" + id, "spiffe://example.org/device/" + id + ",x",
		"spiffe://example.org//device/" + id, "spiffe://example.org/device/" + id + "\x00",
	} {
		if _, _, err := ca.SplitDeviceURI(uri); err == nil {
			t.Errorf("SplitDeviceURI accepts %q", uri)
		}
	}
}

// FuzzCheckRequest: no bytes panic, and what passes carries the certified key and
// no name but the device's.
func FuzzCheckRequest(f *testing.F) {
	good := catest.NewRequest(f, "device")
	f.Add(good.CSR)
	f.Add([]byte("\x30\x00"))
	f.Fuzz(func(t *testing.T, csr []byte) {
		r := good
		r.CSR = csr
		if ca.CheckRequest(r) != nil {
			return
		}
		parsed, err := x509.ParseCertificateRequest(csr)
		if err != nil || len(parsed.URIs) != 1 || parsed.URIs[0].String() != r.URI || !parsed.PublicKey.(*ecdsa.PublicKey).Equal(r.PublicKey) {
			t.Errorf("accepted %x", csr)
		}
	})
}

// TestAttack_S8_CheckedIsOfOneRequest: what one request has passed says nothing
// of another CSR, key or URI that is put in its place.
func TestAttack_S8_CheckedIsOfOneRequest(t *testing.T) {
	good, other := catest.NewRequest(t, "device"), catest.NewRequest(t, "another")
	checked, err := good.Checked()
	if err != nil || ca.CheckRequest(checked) != nil {
		t.Fatalf("a good request: %v, %v", err, ca.CheckRequest(checked))
	}
	for name, change := range map[string]func(*ca.Request){
		"CSR":               func(r *ca.Request) { r.CSR = other.CSR },
		"a bit of the CSR":  func(r *ca.Request) { r.CSR = append([]byte(nil), r.CSR...); r.CSR[len(r.CSR)-1] ^= 1 },
		"a byte in the CSR": func(r *ca.Request) { r.CSR[len(r.CSR)-1] ^= 1 },
		"key":               func(r *ca.Request) { r.PublicKey = other.PublicKey },
		"no key":            func(r *ca.Request) { r.PublicKey = nil },
		"URI":               func(r *ca.Request) { r.URI = other.URI },
		"lifetime":          func(r *ca.Request) { r.Lifetime = -1 },
		"all but the note":  func(r *ca.Request) { r.CSR, r.PublicKey, r.URI = other.CSR, good.PublicKey, other.URI },
	} {
		r, err := ca.Request{CSR: append([]byte(nil), good.CSR...), PublicKey: good.PublicKey, URI: good.URI}.Checked()
		if err != nil {
			t.Fatal(err)
		}
		if change(&r); ca.CheckRequest(r) == nil {
			t.Errorf("%s was replaced, and the request passes", name)
		}
	}
	if _, err := (ca.Request{CSR: good.CSR, PublicKey: other.PublicKey, URI: good.URI}).Checked(); code(err) != ca.CodeKeyMismatch {
		t.Errorf("another key: %v", err)
	}
}
