//go:build linux && amd64

package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"troth/attest/tpm"
)

// The nonce comes from the machine's firmware configuration and so is part of no
// command line that anybody measures.
const nonceFile = "/sys/firmware/qemu_fw_cfg/by_name/opt/troth/nonce/raw"

// quotes writes the EK, an AK made for the occasion, and its quotes. The TPM is
// asked before the logs are read, so that no log is behind a quote.
func quotes(w *blockWriter) error {
	text, err := os.ReadFile(nonceFile)
	if err != nil {
		return fmt.Errorf("read nonce: %w", err)
	}
	nonce, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil {
		return fmt.Errorf("read nonce: %w", err)
	}
	conn, err := tpm.Open("/dev/tpm0")
	if err != nil {
		return err
	}
	t := tpm.New(conn)
	defer t.Close()
	ek, err := t.EK()
	if err != nil {
		return err
	}
	ak, err := t.CreateAK()
	if err != nil {
		return err
	}
	w.keep("ek.der", ek.Certificate)
	w.keep("ek.public", ek.Public)
	w.keep("ak.public", ak.Public)
	all := []string{"sha1", "sha256", "sha384"}
	for _, bank := range all {
		if err := quote(w, t, ak, nonce, bank, []string{bank}); err != nil {
			return err
		}
	}
	return quote(w, t, ak, nonce, "all", all)
}

func quote(w *blockWriter, t *tpm.TPM, ak tpm.Key, nonce []byte, name string, banks []string) error {
	selection := map[string][]int{}
	for _, bank := range banks {
		for pcr := range 24 {
			selection[bank] = append(selection[bank], pcr)
		}
	}
	q, err := t.Quote(ak, nonce, selection)
	if err != nil {
		return err
	}
	values := map[string]map[int]string{}
	for bank, pcrs := range q.PCRs {
		values[bank] = map[int]string{}
		for pcr, value := range pcrs {
			values[bank][pcr] = hex.EncodeToString(value)
		}
	}
	pcrs, err := json.Marshal(values)
	if err != nil {
		return err
	}
	w.keep("quote-"+name, q.Attest)
	w.keep("quote-"+name+".signature", q.Signature)
	w.keep("quote-"+name+".pcrs.json", append(pcrs, '\n'))
	return w.err
}

// logs writes what the kernel kept of the boot, and what it sees besides. Where
// the boot loader went around the kernel's EFI stub there is no event log.
func logs(w *blockWriter) error {
	for _, f := range []struct{ name, path string }{
		{"ima.ascii", "/sys/kernel/security/ima/ascii_runtime_measurements"},
		{"ima.binary", "/sys/kernel/security/ima/binary_runtime_measurements"},
		{"eventlog", "/sys/kernel/security/tpm0/binary_bios_measurements"},
		{"cmdline", "/proc/cmdline"},
		{"version", "/proc/version"},
	} {
		data, err := os.ReadFile(f.path)
		if errors.Is(err, fs.ErrNotExist) && f.name == "eventlog" {
			continue
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		w.keep(f.name, data)
	}
	for _, variable := range []string{"SecureBoot", "PK", "KEK", "db", "dbx"} {
		found, err := filepath.Glob("/sys/firmware/efi/efivars/" + variable + "-*")
		if err != nil {
			return err
		}
		for _, path := range found { // absent where no keys are enrolled
			data, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("read EFI variable: %w", err)
			}
			name, _, _ := strings.Cut(filepath.Base(path), "-")
			w.keep("efivar-"+name, data)
		}
	}
	return w.err
}
