package differential_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/tpm"
)

// altered are quotes made from a good one that nobody may accept.
func altered(t testing.TB, q quoteCase) map[string]quoteCase {
	t.Helper()
	out := map[string]quoteCase{}
	change := func(what string, f func(*quoteCase)) {
		c := q
		c.quote, c.signature, c.nonce = append([]byte{}, q.quote...), append([]byte{}, q.signature...), append([]byte{}, q.nonce...)
		c.pcrs = cloned(t, q.pcrs)
		f(&c)
		out[what] = c
	}
	change("another nonce", func(c *quoteCase) { c.nonce = append(c.nonce, 1) })
	change("a bit of the signature", func(c *quoteCase) { c.signature[len(c.signature)-1] ^= 1 })
	change("a bit of the quote", func(c *quoteCase) { c.quote[len(c.quote)-1] ^= 1 })
	change("a signature cut short", func(c *quoteCase) { c.signature = c.signature[:len(c.signature)-1] })
	change("a quote cut short", func(c *quoteCase) { c.quote = c.quote[:len(c.quote)-1] })
	change("a bit of a PCR value", func(c *quoteCase) { c.pcrs[anyBank(c.pcrs)][0][0] ^= 1 })
	change("a PCR value left out", func(c *quoteCase) { c.pcrs = without(c.pcrs, 0) })
	return out
}

func anyBank(p attest.PCRs) string { return banksOf(p)[0] }

// opinionsOfQuotes compares genuine quotes and altered ones.
func opinionsOfQuotes(t testing.TB, quotes map[string]quoteCase) (all []found, compared int) {
	t.Helper()
	for _, name := range sorted(quotes) {
		cases := altered(t, quotes[name])
		cases["quote"] = quotes[name]
		for _, subject := range sorted(cases) {
			mine := opinion{subject: verdict(ourQuote(cases[subject]))}
			if subject != "quote" && mine[subject] == accepted {
				t.Errorf("%s: we accept %s", name, subject)
			}
			for library, ask := range map[string]func(quoteCase) error{"go-attestation": attestationQuote, "go-tpm-tools": toolsQuote} {
				all = append(all, compare(library, name, mine, opinion{subject: verdict(ask(cases[subject]))})...)
				compared++
			}
		}
	}
	return all, compared
}

// softwareTPM boots a software TPM and quotes it with each kind of AK.
func softwareTPM(t testing.TB) (map[string]quoteCase, map[string][]byte) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tr") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	maker, err := attesttest.NewManufacturer(filepath.Join(dir, "m"), "swtpm")
	if err != nil {
		t.Fatal(err)
	}
	s, err := maker.NewBareTPM(context.Background(), filepath.Join(dir, "s"))
	if err != nil {
		t.Skipf("NOT TESTED: no software TPM (packages swtpm, swtpm-tools): %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	c, err := tpm.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	logs, err := attesttest.Boot(c, attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	quotes := map[string]quoteCase{}
	for _, kind := range []tpm.AKKind{tpm.ECCP256, tpm.ECCP384, tpm.RSA2048, tpm.RSA2048PSS} {
		device := tpm.New(c, tpm.WithAK(kind))
		ak, err := device.CreateAK()
		if err != nil {
			t.Fatal(err)
		}
		for _, bank := range []string{"sha1", "sha256", "sha384"} {
			nonce := fmt.Appendf(nil, "a nonce for %s", bank)
			made, err := device.Quote(ak, nonce, map[string][]int{bank: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 23}})
			if err != nil {
				t.Fatal(err)
			}
			q := quoteCase{ak: ak.Public, quote: made.Attest, signature: made.Signature, nonce: nonce, pcrs: attest.PCRs{}}
			for i, v := range made.PCRs[bank] {
				put(q.pcrs, bank, i, v)
			}
			quotes[fmt.Sprintf("swtpm/%v %s", kind, bank)] = q
		}
	}
	return quotes, map[string][]byte{"swtpm/boot": logs.EventLog}
}
