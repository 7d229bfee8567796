package cli

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/attest/ima"
)

// fileKind is what a file of evidence is, in words that follow "is".
type fileKind string

// Kinds of files that people hand in, the right one or another.
const (
	kindUnknown   fileKind = ""
	kindEmpty     fileKind = "an empty file"
	kindGzip      fileKind = "compressed with gzip"
	kindCert      fileKind = "a certificate"
	kindPrivate   fileKind = "a private key"
	kindPEMKey    fileKind = "a PEM public key"
	kindPublic    fileKind = "the public area of a TPM key"
	kindQuote     fileKind = "a quote"
	kindEventLog  fileKind = "a firmware event log"
	kindIMA       fileKind = "an IMA list"
	kindUserspace fileKind = "systemd's measurement log"
	kindPCRs      fileKind = "a file of PCR values"
	kindJSON      fileKind = "a JSON document"
)

// recognise says what a file is, by its contents alone.
func recognise(raw []byte) fileKind {
	switch {
	case len(raw) == 0:
		return kindEmpty
	case bytes.HasPrefix(raw, []byte{0x1f, 0x8b}):
		return kindGzip
	case bytes.HasPrefix(raw, []byte{0xff, 'T', 'C', 'G'}),
		len(raw) > 6 && bytes.HasPrefix(raw[2:], []byte{0xff, 'T', 'C', 'G'}):
		return kindQuote
	case raw[0] == 0x1e:
		return kindUserspace
	}
	if block, _ := pem.Decode(raw); block != nil {
		return kindOfPEM(block.Type)
	}
	if _, err := x509.ParseCertificate(raw); err == nil {
		return kindCert
	}
	var pcrs attest.PCRs
	switch {
	case json.Unmarshal(raw, &pcrs) == nil:
		return kindPCRs
	case json.Valid(raw):
		return kindJSON
	}
	if _, err := attest.CheckAK(raw); err == nil {
		return kindPublic
	}
	if _, err := eventlog.Parse(raw); err == nil {
		return kindEventLog
	}
	if list, err := ima.Parse(raw); err == nil && len(list.Entries) > 0 {
		return kindIMA
	}
	return kindUnknown
}

func kindOfPEM(label string) fileKind {
	switch label {
	case "CERTIFICATE", "TRUSTED CERTIFICATE":
		return kindCert
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return kindPEMKey
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "TSS2 PRIVATE KEY":
		return kindPrivate
	}
	return kindUnknown
}

// kindHint is what to add to a refusal of a file, where the file is another kind
// than the wanted ones.
func kindHint(raw []byte, wanted ...fileKind) string {
	kind := recognise(raw)
	for _, w := range append(wanted, kindUnknown) {
		if kind == w {
			return ""
		}
	}
	hint := fmt.Sprintf("; it is %s", kind)
	switch kind {
	case kindGzip:
		hint += ": decompress it first"
	case kindCert:
		if len(wanted) > 0 && wanted[0] == kindPublic {
			hint += ": take its key out with openssl x509 -pubkey -noout"
		}
	case kindPrivate:
		hint += ": keep it to yourself"
	}
	return hint
}
