package eventlog

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Limits on a userspace log, beyond which ParseUserspace refuses it.
const (
	MaxUserspaceSize    = 1 << 20 // bytes of the whole log
	MaxUserspaceRecords = 1 << 12
)

// UserspaceRecord is one measurement that systemd made after the firmware had
// ended, as its log tells it. All text is hostile.
type UserspaceRecord struct {
	Sequence int // of all records in the file, from 0
	PCR      int
	// Digests are those that were extended, as Event.Digests.
	Digests Digests
	// Type is systemd's event type: "phase", "filesystem", "machine-id",
	// "volume-key", …; empty where systemd knew none.
	Type string
	// Text is what was measured, or for a volume key, what it is called.
	Text string
}

// ParseUserspace reads /run/log/systemd/tpm2-measure.log: records close to the
// TCG Canonical Event Log's JSON form, as a JSON text sequence (RFC 7464;
// systemd.io/TPM2_PCR_MEASUREMENTS). Records of registers that no quote covers
// (NV indexes) are passed over. A log that ends within a record, a record that
// extends nothing, and one that measures where userspace has no business (PCR 10;
// PCR 0 to 7 but for systemd's separator) are errors.
func ParseUserspace(log []byte) ([]UserspaceRecord, error) {
	const separator = 0x1e
	switch {
	case len(log) > MaxUserspaceSize:
		return nil, fmt.Errorf("parse userspace log: %d bytes, more than %d", len(log), MaxUserspaceSize)
	case len(log) == 0:
		return []UserspaceRecord{}, nil
	case log[0] != separator:
		return nil, errors.New("parse userspace log: no JSON text sequence: it does not begin with a record separator (0x1e)")
	}
	texts := bytes.Split(log[1:], []byte{separator})
	if len(texts) > MaxUserspaceRecords {
		return nil, fmt.Errorf("parse userspace log: more than %d records", MaxUserspaceRecords)
	}
	out := make([]UserspaceRecord, 0, len(texts))
	for n, text := range texts {
		if !bytes.HasSuffix(text, []byte{'\n'}) {
			return nil, fmt.Errorf("parse userspace log: record %d: truncated", n)
		}
		record, extends, err := parseUserspaceRecord(text)
		if err != nil {
			return nil, fmt.Errorf("parse userspace log: record %d: %w", n, err)
		}
		if extends {
			record.Sequence = n
			out = append(out, record)
		}
	}
	return out, nil
}

// parseUserspaceRecord reads one JSON text; false for one that extends no PCR.
func parseUserspaceRecord(text []byte) (UserspaceRecord, bool, error) {
	var raw struct {
		PCR     *int `json:"pcr"`
		Digests []struct {
			Algorithm string `json:"hashAlg"`
			Digest    string `json:"digest"`
		} `json:"digests"`
		ContentType string          `json:"content_type"`
		Content     json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return UserspaceRecord{}, false, err
	}
	if raw.PCR == nil {
		return UserspaceRecord{}, false, nil
	}
	out := UserspaceRecord{PCR: *raw.PCR}
	for _, d := range raw.Digests {
		h, known := HashOf(d.Algorithm)
		if !known {
			continue
		}
		digest, err := hex.DecodeString(d.Digest)
		if err != nil || len(digest) != h.Size() || out.Digests.In(d.Algorithm) != nil {
			return UserspaceRecord{}, false, fmt.Errorf("digest of bank %s is malformed or repeated", d.Algorithm)
		}
		out.Digests = append(out.Digests, BankDigest{d.Algorithm, digest})
	}
	if len(out.Digests) == 0 {
		return UserspaceRecord{}, false, errors.New("no digest of a bank that is known")
	}
	if raw.ContentType == "systemd" && len(raw.Content) > 0 {
		var content struct {
			String    string `json:"string"`
			EventType string `json:"eventType"`
		}
		if err := json.Unmarshal(raw.Content, &content); err != nil {
			return UserspaceRecord{}, false, fmt.Errorf("content: %w", err)
		}
		out.Text, out.Type = content.String, content.EventType
	}
	return out, true, out.inPlace()
}

// userspaceSeparator is what systemd measures into the firmware's PCRs to end
// what they say of the boot.
const userspaceSeparator = "os-separator"

// inPlace says where userspace has no business: PCR 0 to 7 are the firmware's, but
// for the separator, and PCR 10 is IMA's. Otherwise whoever controls the log could
// move the end of the firmware's log here, where nobody looks for a boot loader.
func (r UserspaceRecord) inPlace() error {
	switch {
	case r.PCR < 0 || r.PCR > MaxPCR:
		return fmt.Errorf("PCR index %d", r.PCR)
	case r.PCR == 10:
		return errors.New("PCR 10 is extended by IMA, not by systemd")
	case r.PCR <= 7 && r.Text != userspaceSeparator:
		return fmt.Errorf("PCR %d is the firmware's: only %q may be measured there", r.PCR, userspaceSeparator)
	}
	return nil
}

// Recomputed says whether the digests are the hash of Text in every one of banks.
func (r UserspaceRecord) Recomputed(banks []string) bool {
	return Event{Digests: r.Digests}.isDigestOf([]byte(r.Text), banks)
}

// MayBeSecret says whether the digest may be another than the text's hash: that
// of a volume key is keyed with the key (PCR 15).
func (r UserspaceRecord) MayBeSecret() bool { return r.PCR == 15 }

// Extend appends to dst the value that the record's PCR has in a bank after it,
// given its value before, which dst may overlap; nil where the record has no
// digest for the bank.
func (r UserspaceRecord) Extend(dst []byte, bank string, value []byte) []byte {
	h, ok := HashOf(bank)
	digest := r.Digests.In(bank)
	if !ok || digest == nil {
		return nil
	}
	d := h.New()
	d.Write(value)
	d.Write(digest)
	return d.Sum(dst)
}
