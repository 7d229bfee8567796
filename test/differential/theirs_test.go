package differential_test

import (
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	goattest "github.com/google/go-attestation/attest"
	"github.com/google/go-eventlog/extract"
	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
	tpmpb "github.com/google/go-tpm-tools/proto/tpm"
	"github.com/google/go-tpm-tools/quote"

	"troth/attest"
	"troth/attest/eventlog"
)

// keyLists is what both libraries say of a key database.
func keyLists(certs []x509.Certificate, hashes [][]byte) string {
	var out []string
	for _, c := range certs {
		out = append(out, hexSum(c.Raw))
	}
	for _, h := range hashes {
		out = append(out, hex.EncodeToString(h))
	}
	return list(out)
}

// attestationLog is go-attestation's opinion of a log, against the values that we
// replay it to.
func attestationLog(log []byte, bank string, values map[int][]byte) opinion {
	parsed, err := goattest.ParseEventLog(log)
	o := opinion{"log": verdict(err)}
	h, known := eventlog.HashOf(bank)
	if err != nil || !known || values == nil {
		return o
	}
	var pcrs []goattest.PCR
	for i, v := range values {
		pcrs = append(pcrs, goattest.PCR{Index: i, Digest: v, DigestAlg: h})
	}
	events, err := parsed.Verify(pcrs)
	o["replay"], o["appraisal"] = verdict(err), verdict(err)
	if err != nil {
		return o
	}
	s, err := goattest.ParseSecurebootState(events)
	o["secure boot"], o["appraisal"] = verdict(err), verdict(err)
	if err == nil {
		o["secure boot: enabled"] = yes(s.Enabled)
		o["secure boot: PK"], o["secure boot: KEK"] = keyLists(s.PlatformKeys, s.PlatformKeyHashes), keyLists(s.ExchangeKeys, s.ExchangeKeyHashes)
		o["secure boot: db"], o["secure boot: dbx"] = keyLists(s.PermittedKeys, s.PermittedHashes), keyLists(s.ForbiddenKeys, s.ForbiddenHashes)
	}
	return o
}

// registers are PCR values as go-eventlog takes them.
func registers(bank crypto.Hash, values map[int][]byte) []register.MR {
	var out []register.MR
	for i, v := range values {
		out = append(out, register.PCR{Index: i, Digest: v, DigestAlg: bank})
	}
	return out
}

// toolsLog is the opinion of go-eventlog, which go-tpm-tools hands its logs to.
func toolsLog(log []byte, bank string, values map[int][]byte) opinion {
	_, err := tcg.ParseEventLog(log, tcg.ParseOpts{})
	o := opinion{"log": verdict(err)}
	h, known := eventlog.HashOf(bank)
	if err != nil || !known || values == nil {
		return o
	}
	events, err := tcg.ParseAndReplay(log, registers(h, values), tcg.ParseOpts{})
	o["replay"], o["appraisal"] = verdict(err), verdict(err)
	if err != nil {
		return o
	}
	_, err = extract.FirmwareLogState(events, h, extract.TPMRegisterConfig, extract.Opts{})
	o["appraisal"] = verdict(err)
	s, err := extract.ParseSecurebootState(events, extract.TPMRegisterConfig)
	o["secure boot"] = verdict(err)
	if err == nil {
		o["secure boot: enabled"] = yes(s.Enabled)
		o["secure boot: PK"], o["secure boot: KEK"] = keyLists(s.PlatformKeys, s.PlatformKeyHashes), keyLists(s.ExchangeKeys, s.ExchangeKeyHashes)
		o["secure boot: db"], o["secure boot: dbx"] = keyLists(s.PermittedKeys, s.PermittedHashes), keyLists(s.ForbiddenKeys, s.ForbiddenHashes)
	}
	toolsBoot(o, h, events)
	return o
}

// toolsBoot leaves out what go-eventlog has no opinion on: boot loaders where it
// saw no ExitBootServices, and logs that are not GRUB's.
func toolsBoot(o opinion, h crypto.Hash, events []tcg.Event) {
	efi, err := extract.EfiState(h, events, extract.TPMRegisterConfig)
	switch {
	case err != nil:
		o["boot loaders"] = verdict(err)
	case efi != nil:
		var apps []string
		for _, a := range efi.GetApps() {
			apps = append(apps, hex.EncodeToString(a.GetDigest()))
		}
		o["boot loaders"] = strings.Join(apps, " ")
	}
	grub, err := extract.GrubStateFromTPMLog(h, events)
	if err != nil {
		return
	}
	var files, commands []string
	for _, f := range grub.GetFiles() {
		files = append(files, hex.EncodeToString(f.GetDigest()))
	}
	for _, c := range grub.GetCommands() {
		text, isCommand := strings.CutPrefix(strings.TrimRight(c, "\x00"), "grub_cmd")
		if isCommand {
			commands = append(commands, strings.TrimLeft(text, ": "))
		}
	}
	o["GRUB: files"], o["GRUB: commands"] = strings.Join(files, " "), strings.Join(commands, "\n")
	kernel, err := extract.LinuxKernelStateFromGRUB(grub)
	if err != nil {
		o["GRUB: command line"] = verdict(err)
		return
	}
	o["GRUB: command line"] = strings.TrimRight(kernel.GetCommandLine(), "\x00")
}

// attestationQuote is go-attestation's opinion of a quote.
func attestationQuote(q quoteCase) error {
	ak, err := goattest.ParseAKPublic(q.ak)
	if err != nil {
		return err
	}
	pcrs := attestationPCRs(q)
	if err := ak.Verify(goattest.Quote{Quote: q.quote, Signature: q.signature}, pcrs, q.nonce); err != nil {
		return err
	}
	for i := range pcrs {
		if !pcrs[i].QuoteVerified() {
			return errors.New("a PCR value that the quote does not cover")
		}
	}
	return nil
}

// attestationPCRs leaves out banks that have no hash here: a quote over them does
// not verify.
func attestationPCRs(q quoteCase) []goattest.PCR {
	var pcrs []goattest.PCR
	for bank, values := range q.pcrs {
		h, known := eventlog.HashOf(bank)
		if !known {
			continue
		}
		for i, v := range values {
			pcrs = append(pcrs, goattest.PCR{Index: i, Digest: v, DigestAlg: h})
		}
	}
	return pcrs
}

// toolsQuote is go-tpm-tools' opinion of a quote; it takes the values of one bank.
func toolsQuote(q quoteCase) error {
	ak, err := goattest.ParseAKPublic(q.ak)
	if err != nil {
		return err
	}
	if len(q.pcrs) != 1 {
		return errors.New("go-tpm-tools has no form for PCR values of several banks")
	}
	pcrs := &tpmpb.PCRs{Pcrs: map[uint32][]byte{}}
	for bank, values := range q.pcrs {
		pcrs.Hash = tpmpb.HashAlgo(algorithm(bank))
		for i, v := range values {
			pcrs.Pcrs[uint32(i)] = v
		}
	}
	return quote.Verify(&tpmpb.Quote{Quote: q.quote, RawSig: q.signature, Pcrs: pcrs}, ak.Public, q.nonce)
}

// without is the values with one taken out; several banks lose it all.
func without(p attest.PCRs, index int) attest.PCRs {
	for _, values := range p {
		delete(values, index)
	}
	return p
}

func banksOf(p attest.PCRs) []string { return slices.Sorted(slices.Values(sorted(p))) }
