package attest_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	"testing"
	"time"

	"troth/attest"
	"troth/attest/ima"
)

// signedFile has IMA measure a file under ima-sig, signed as given.
func (d *device) signedFile(name, content string, signature []byte) {
	digest := hashed("sha256", []byte(content))
	template := binary.LittleEndian.AppendUint32(templateNG(digest, name), uint32(len(signature)))
	template = append(template, signature...)
	d.extend(10, template)
	d.ima = fmt.Appendf(d.ima, "10 %x ima-sig sha256:%x %s %x\n", hashed("sha1", template), digest, name, signature)
}

func fileSignature(t *testing.T, key crypto.Signer, content string) []byte {
	t.Helper()
	signature, err := key.Sign(rand.Reader, hashed("sha256", []byte(content)), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	out := binary.BigEndian.AppendUint16([]byte{3, 2, 4, 'W', 'X', 'Y', 'Z'}, uint16(len(signature)))
	return append(out, signature...)
}

func TestIMAFilesAreVouchedFor(t *testing.T) {
	d := booted(t) // measures /usr/bin/init
	key := d.ak    // any key
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "files"},
		SubjectKeyId: []byte("0123456789abcdefWXYZ"), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	want := d.want()
	want.IMAKeys = ima.NewKeyring()
	if err := want.IMAKeys.Add(cert); err != nil {
		t.Fatal(err)
	}
	if want.IMAAllow, err = ima.NewAllowList("sha256", hashed("sha256", []byte("init"))); err != nil {
		t.Fatal(err)
	}
	d.signedFile("/usr/bin/signed", "signed", fileSignature(t, key, "signed"))
	d.signedFile("/usr/bin/forged", "forged", fileSignature(t, key, "something else"))
	d.signedFile("/usr/bin/unsigned", "unsigned", nil)
	d.file("/usr/bin/stranger", "stranger")
	covered := d.evidence(t)
	d.file("/usr/bin/late", "late") // runs ahead of the quote
	covered.IMA = d.ima
	r := attest.Appraise(covered, want)
	accepted(t, r)
	var got []string
	for _, u := range r.IMAUnknown {
		got = append(got, u.Name+" "+u.Reason)
	}
	const expected = "[/usr/bin/forged bad_signature /usr/bin/unsigned not_allowed /usr/bin/stranger not_allowed]"
	if r.IMA.Unknown != 3 || fmt.Sprint(got) != expected {
		t.Errorf("%d unknown: %v, want %s", r.IMA.Unknown, got, expected)
	}
	if r := attest.Appraise(covered, d.want()); r.IMA.Unknown != 0 || r.IMAUnknown != nil {
		t.Errorf("judged without a list: %+v", r.IMA)
	}
}

// TestAttack_L5_AggregateNameHidesNothing: a file that calls itself
// boot_aggregate is judged like any other.
func TestAttack_L5_AggregateNameHidesNothing(t *testing.T) {
	d := booted(t)
	for range 20 {
		d.file("boot_aggregate", "evil"+string(bytes.Repeat([]byte("!"), len(d.ima)%7)))
	}
	want := d.want()
	var err error
	if want.IMAAllow, err = ima.NewAllowList("sha256", hashed("sha256", []byte("init"))); err != nil {
		t.Fatal(err)
	}
	r := attest.Appraise(d.evidence(t), want)
	accepted(t, r)
	if r.IMA.Unknown != 20 || len(r.IMAUnknown) != 16 {
		t.Errorf("%d unknown, %d listed", r.IMA.Unknown, len(r.IMAUnknown))
	}
}
