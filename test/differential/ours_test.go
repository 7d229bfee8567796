package differential_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
	"troth/attest/eventlog"
)

// opinion is what a verifier says of one thing, by subject. Subjects that it has
// no word on are left out.
type opinion map[string]string

const (
	accepted = "accepted"
	refused  = "refused"
)

// verdict keeps the reason beside a refusal, for the report.
func verdict(err error) string {
	if err == nil {
		return accepted
	}
	return refused + ": " + err.Error()
}

// list writes a set of digests: order is compared elsewhere.
func list(digests []string) string {
	digests = slices.Clone(digests)
	slices.Sort(digests)
	if len(digests) == 0 {
		return "none"
	}
	return strings.Join(digests, " ")
}

// ours is our opinion of a log in one bank, as if a quote covered all of it.
func ours(t testing.TB, log []byte, bank string) opinion {
	t.Helper()
	parsed, err := eventlog.Parse(log)
	o := opinion{"log": verdict(err)}
	if err != nil {
		return o
	}
	values := parsed.Replay()[bank]
	if values == nil {
		return o
	}
	o["replay"] = accepted
	o["appraisal"] = verdict(appraiseAlone(t, log, bank, values).Err())
	covered := eventlog.Coverage{}
	for pcr := range values {
		covered[pcr] = []string{bank}
	}
	facts := parsed.FactsFrom(covered)
	o["secure boot"] = refused
	if s := facts.SecureBoot; s != nil {
		o["secure boot"] = accepted
		o["secure boot: enabled"] = yes(s.Enabled)
		o["secure boot: PK"], o["secure boot: KEK"] = list(s.PK), list(s.KEK)
		o["secure boot: db"], o["secure boot: dbx"] = list(s.DB), list(s.DBX)
	}
	oursOfBoot(o, facts, bank)
	return o
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// oursOfBoot keeps order, as the others' lists do.
func oursOfBoot(o opinion, facts eventlog.Facts, bank string) {
	var images, lines []string
	for _, i := range facts.BootLoaders {
		if i.Type == eventlog.EFIBootServicesApplication {
			images = append(images, i.Digests.Hex(bank))
		}
	}
	for _, c := range facts.CommandLines {
		if c.PCR == 8 && c.Verified {
			lines = append(lines, c.Text)
		}
	}
	o["boot loaders"], o["GRUB: command line"] = strings.Join(images, " "), strings.Join(lines, "\n")
	var files, commands []string
	if facts.Boot != nil {
		for _, f := range facts.Boot.Files {
			files = append(files, f.Digests.Hex(bank))
		}
		for _, c := range facts.Boot.Commands {
			if c.Verified {
				commands = append(commands, c.Text)
			}
		}
	}
	o["GRUB: files"], o["GRUB: commands"] = strings.Join(files, " "), strings.Join(commands, "\n")
}

// appraiseAlone appraises a log against a quote made for it, of what it replays
// to, so that only the log itself can be a reason to refuse.
func appraiseAlone(t testing.TB, log []byte, bank string, values map[int][]byte) attest.Result {
	t.Helper()
	pcrs := attest.PCRs{}
	for i, v := range values {
		put(pcrs, bank, i, v)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nonce := []byte("a nonce")
	q := madeQuote(t, key, nonce, pcrs)
	q.pcrs = pcrs
	e := q.evidence()
	e.EventLog = log
	return attest.Appraise(e, attest.Expectation{QualifyingData: nonce, AllowSHA1: true})
}

func algorithm(bank string) tpm2.TPMAlgID {
	return map[string]tpm2.TPMAlgID{"sha1": tpm2.TPMAlgSHA1, "sha256": tpm2.TPMAlgSHA256, "sha384": tpm2.TPMAlgSHA384, "sha512": tpm2.TPMAlgSHA512}[bank]
}

// madeQuote is a quote of PCRs of one bank, made and signed here.
func madeQuote(t testing.TB, key *ecdsa.PrivateKey, nonce []byte, pcrs attest.PCRs) quoteCase {
	t.Helper()
	var info tpm2.TPMSQuoteInfo
	d := sha256.New()
	for bank, values := range pcrs {
		bitmap := make([]byte, 3)
		for i := range 24 {
			if v, ok := values[i]; ok {
				bitmap[i/8] |= 1 << (i % 8)
				d.Write(v)
			}
		}
		info.PCRSelect.PCRSelections = append(info.PCRSelect.PCRSelections, tpm2.TPMSPCRSelection{Hash: algorithm(bank), PCRSelect: bitmap})
	}
	info.PCRDigest.Buffer = d.Sum(nil)
	quote := tpm2.Marshal(tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestQuote, ExtraData: tpm2.TPM2BData{Buffer: nonce},
		ClockInfo: tpm2.TPMSClockInfo{Safe: true}, Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &info),
	})
	digest := sha256.Sum256(quote)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA,
		&tpm2.TPMSSignatureECC{Hash: tpm2.TPMAlgSHA256, SignatureR: tpm2.TPM2BECCParameter{Buffer: r.Bytes()}, SignatureS: tpm2.TPM2BECCParameter{Buffer: s.Bytes()}})})
	return quoteCase{ak: akPublic(t, key), quote: quote, signature: signature, nonce: nonce}
}

func akPublic(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	raw, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.Marshal(tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: raw[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: raw[33:]}}),
	})
}

// ourQuote is our opinion of a quote. SHA-1 is allowed, as the others allow it.
func ourQuote(q quoteCase) error {
	return attest.Appraise(q.evidence(), attest.Expectation{QualifyingData: q.nonce, AllowSHA1: true, RequireAttributes: true}).Err()
}

func cloned(t testing.TB, p attest.PCRs) attest.PCRs {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var out attest.PCRs
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func hexSum(data []byte) string {
	d := sha256.Sum256(data)
	return hex.EncodeToString(d[:])
}
