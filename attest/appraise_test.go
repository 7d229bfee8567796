package attest_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
	"troth/attest/eventlog"
)

func TestAppraiseWholeBoot(t *testing.T) {
	d := booted(t)
	r := d.appraise(t)
	accepted(t, r)
	if len(r.Problems) != 0 {
		t.Errorf("problems: %+v", r.Problems)
	}
	if r.EventLog == nil || !r.EventLog.Replayed || r.EventLog.Events != 21 || len(r.EventLog.UnexplainedPCRs) != 0 {
		t.Errorf("event log: %+v", r.EventLog)
	}
	if v := r.EventLog.SCRTMVersion; v == nil || v.Text != "model-a 1.0" || !v.Verified {
		t.Errorf("S-CRTM version: %+v", v)
	}
	loaders := r.EventLog.BootLoaders
	if len(loaders) != 1 || loaders[0].Digests.Hex("sha256") != hex.EncodeToString(hashed("sha256", []byte("boot loader"))) {
		t.Errorf("boot loaders: %+v", loaders)
	}
	lines := r.EventLog.CommandLines
	if len(lines) != 1 || lines[0].Text != "/vmlinuz ro quiet" || !lines[0].Verified {
		t.Errorf("command lines: %+v", lines)
	}
	s := r.SecureBoot
	signer := hex.EncodeToString(hashed("sha256", []byte("a signer")))
	if s == nil || !s.Enabled || !slices.Equal(s.DB, []string{signer}) || !slices.Equal(s.DBX, []string{strings.Repeat("00", 32)}) {
		t.Errorf("secure boot: %+v", s)
	}
	if r.IMA == nil || *r.IMA != (attest.IMAResult{Entries: 2, Replayed: true, BootAggregate: attest.BootAggregateVerified}) {
		t.Errorf("IMA: %+v", r.IMA)
	}
	if r.Clock == nil || *r.Clock != (attest.Clock{ResetCount: 7, RestartCount: 2, Clock: 123456, Safe: true}) {
		t.Errorf("clock: %+v", r.Clock)
	}
}

func TestAppraiseWithoutLogs(t *testing.T) {
	d := booted(t)
	e := d.evidence(t)
	e.EventLog, e.IMA = nil, nil
	r := attest.Appraise(e, d.want())
	accepted(t, r)
	if r.IMA != nil || r.SecureBoot != nil {
		t.Errorf("facts without logs: %+v", r)
	}
	// A missing log is not a log that agrees.
	if l := r.EventLog; l == nil || l.Given || l.Replayed || l.Events != 0 || !slices.Equal(l.UnexplainedPCRs, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("event log %+v", l)
	}
	if got := codes(r, attest.SeverityWarning); !slices.Equal(got, []string{attest.CodeUnexplainedPCR}) {
		t.Errorf("warnings %v", got)
	}
}

func TestResultJSON(t *testing.T) {
	d := booted(t)
	var got map[string]any
	raw, err := json.Marshal(d.appraise(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if got["verified"] != true || got["problems"] == nil {
		t.Errorf("JSON %s", raw)
	}
	pcrs := got["pcrs"].(map[string]any)["sha256"].(map[string]any)
	if pcrs["0"] != d.pcrs["sha256"][0].String() {
		t.Errorf("PCR 0 in JSON is %v", pcrs["0"])
	}
	for object, keys := range map[string][]string{
		"event_log":   {"events", "replayed", "unexplained_pcrs", "boot_loaders", "command_lines", "s_crtm_version"},
		"secure_boot": {"enabled", "pk", "kek", "db", "dbx"},
		"ima":         {"entries", "violations", "replayed"},
		"clock":       {"reset_count", "restart_count", "clock", "safe"},
	} {
		inner, _ := got[object].(map[string]any)
		for _, key := range keys {
			if v, ok := inner[key]; !ok || v == nil {
				t.Errorf("JSON lacks %s.%s: %s", object, key, raw)
			}
		}
	}
	empty, err := json.Marshal(attest.Appraise(attest.Evidence{}, attest.Expectation{}))
	if err != nil || !bytes.Contains(empty, []byte(`"pcrs":{}`)) {
		t.Errorf("empty evidence: %s, %v", empty, err)
	}
}

// TestKeysAndSchemes signs the same quote with every key that is accepted.
func TestKeysAndSchemes(t *testing.T) {
	d := booted(t)
	p384 := newECC(t, elliptic.P384())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	quoted := quoteOf(d.nonce, d.pcrs)
	want := d.want()
	for name, e := range map[string]attest.Evidence{
		"P-256":      {AK: d.akPublic(), Signature: sign(t, d.ak, quoted)},
		"P-256 PEM":  {AK: pemOf(t, &d.ak.PublicKey), Signature: sign(t, d.ak, quoted)},
		"TPM2B":      {AK: sized(d.akPublic()), Signature: sign(t, d.ak, quoted)},
		"P-384":      {AK: tpm2.Marshal(eccPublic(&p384.PublicKey, tpm2.TPMECCNistP384, tpm2.TPMAlgSHA256)), Signature: sign(t, p384, quoted)},
		"RSASSA":     {AK: tpm2.Marshal(rsaPublic(&rsaKey.PublicKey, tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256)), Signature: signAs(t, rsaKey, tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256, quoted)},
		"RSAPSS":     {AK: tpm2.Marshal(rsaPublic(&rsaKey.PublicKey, tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA256)), Signature: signAs(t, rsaKey, tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA256, quoted)},
		"RSASSA PEM": {AK: pemOf(t, &rsaKey.PublicKey), Signature: signAs(t, rsaKey, tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256, quoted)},
	} {
		t.Run(name, func(t *testing.T) {
			e.PCRs, e.Quote = d.pcrs, quoted
			r := attest.Appraise(e, want)
			accepted(t, r)
			if pem := strings.HasSuffix(name, "PEM"); pem != slices.Contains(codes(r, attest.SeverityWarning), attest.CodeAKAttributesUnknown) {
				t.Errorf("warnings %v", r.Problems)
			}
			e.Quote = sized(quoted)
			accepted(t, attest.Appraise(e, want))
		})
	}
	require := want
	require.RequireAttributes = true
	refused(t, attest.Appraise(attest.Evidence{AK: pemOf(t, &d.ak.PublicKey), Quote: quoted,
		Signature: sign(t, d.ak, quoted), PCRs: d.pcrs}, require), attest.CodeAKAttributesUnknown)
}

// TestSHA384Scheme covers a PCR digest in the signing scheme's hash.
func TestSHA384Scheme(t *testing.T) {
	d := booted(t)
	key := newECC(t, elliptic.P384())
	quoted := quoteOf(d.nonce, d.pcrs, func(_ *tpm2.TPMSAttest, info *tpm2.TPMSQuoteInfo) {
		var values [][]byte
		for _, bank := range d.banks {
			for i := range 11 {
				values = append(values, d.pcrs[bank][i])
			}
		}
		info.PCRDigest.Buffer = hashed("sha384", values...)
	})
	accepted(t, attest.Appraise(attest.Evidence{
		AK:    tpm2.Marshal(eccPublic(&key.PublicKey, tpm2.TPMECCNistP384, tpm2.TPMAlgSHA384)),
		Quote: quoted, Signature: signAs(t, key, tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA384, quoted), PCRs: d.pcrs,
	}, d.want()))
}

func pemOf(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func sized(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// A log that was read before leads to the same result, whatever the quote, and no
// appraisal changes what another one reads.
func TestReadLogIsTheLog(t *testing.T) {
	for _, c := range capturedBoots(t) {
		if c.Name == "grub-no-log" {
			continue
		}
		read, err := eventlog.Read(c.read(t, "eventlog"))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, quote := range []string{"sha1", "sha256", "sha384", "all"} {
				e, want := c.evidence(t, quote), c.want(t, quote)
				for _, change := range []func(){
					func() {}, func() { e.IMA = nil }, func() { e.PCRs = clone(e.PCRs); e.PCRs[banksOf(quote)[0]][4][0] ^= 1 }, func() { e.PCRs = nil },
				} {
					change()
					kept := e
					kept.EventLog, kept.ReadLog = nil, read
					if a, b := attest.Appraise(e, want), attest.Appraise(kept, want); !reflect.DeepEqual(a, b) {
						t.Errorf("%s, quote %s: %+v, read before %+v", c.Name, quote, a, b)
					}
				}
			}
		}
	}
}
