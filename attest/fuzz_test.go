package attest_test

import (
	"testing"

	"troth/attest"
)

// The fuzz targets look for panics and for acceptance: no bytes but the genuine
// ones verify.

func FuzzQuote(f *testing.F) {
	d := booted(f)
	e, want := d.evidence(f), d.want()
	e.EventLog, e.IMA = nil, nil
	genuine := string(e.Quote)
	f.Add(e.Quote)
	f.Add(sized(e.Quote))
	f.Add([]byte("\xffTCG\x80\x18"))
	f.Fuzz(func(t *testing.T, quote []byte) {
		e.Quote = quote
		r := attest.Appraise(e, want)
		if r.Verified && string(quote) != genuine && string(quote) != string(sized([]byte(genuine))) {
			t.Errorf("accepted %x", quote)
		}
		signedAnyhow(t, d, quote)
	})
}

// signedAnyhow reaches the parser behind the signature.
func signedAnyhow(t *testing.T, d *device, quote []byte) {
	e := attest.Evidence{AK: d.akPublic(), Quote: quote, Signature: sign(t, d.ak, quote), PCRs: d.pcrs}
	if r := attest.Appraise(e, d.want()); r.Verified && len(r.PCRs) == 0 {
		t.Error("verified without a PCR")
	}
}

func FuzzAK(f *testing.F) {
	d := booted(f)
	e, want := d.evidence(f), d.want()
	e.EventLog, e.IMA = nil, nil
	f.Add(e.AK)
	f.Add(sized(e.AK))
	f.Add(pemOf(f, &d.ak.PublicKey))
	f.Fuzz(func(t *testing.T, ak []byte) {
		e.AK = ak
		r := attest.Appraise(e, want)
		if name, err := attest.CheckAK(ak); err == nil && len(name) < 34 {
			t.Errorf("name %x", name)
		}
		_, err := attest.CheckCertify(ak, ak, ak, ak, ak)
		if err == nil {
			t.Error("certified by noise")
		}
		_, _, _ = attest.MakeCredential(zeroReader{}, ak, append([]byte{0, 0x0b}, make([]byte, 32)...), make([]byte, 32))
		if r.Verified != (r.Err() == nil) {
			t.Error("Err and Verified disagree")
		}
	})
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzSignature(f *testing.F) {
	d := booted(f)
	e, want := d.evidence(f), d.want()
	e.EventLog, e.IMA = nil, nil
	genuine := string(e.Signature)
	f.Add(e.Signature)
	f.Add(zeroSignature())
	f.Add([]byte{0, 0x14, 0, 0x0b, 0, 0})
	f.Fuzz(func(t *testing.T, signature []byte) {
		e.Signature = signature
		if r := attest.Appraise(e, want); r.Verified && string(signature) != genuine {
			t.Errorf("accepted %x", signature)
		}
	})
}

func FuzzLogs(f *testing.F) {
	d := booted(f)
	e, want := d.evidence(f), d.want()
	f.Add(e.EventLog, e.IMA)
	f.Fuzz(func(t *testing.T, log, list []byte) {
		e.EventLog, e.IMA = log, list
		r := attest.Appraise(e, want)
		if log != nil && r.Verified && !r.EventLog.Replayed {
			t.Error("verified with a log that does not replay")
		}
		if list != nil && r.Verified && !r.IMA.Replayed {
			t.Error("verified with a list that does not replay")
		}
	})
}
