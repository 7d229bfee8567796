package attest

import (
	"crypto"
	_ "crypto/sha1"   // the sha1 bank, where it is allowed
	_ "crypto/sha256" // registers the bank's hash
	_ "crypto/sha512" // registers the banks' hashes
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"troth/attest/eventlog"

	"github.com/google/go-tpm/tpm2"
)

// maxPCR is the highest PCR of the PC Client Platform TPM Profile.
const maxPCR = 23

// Digest is a hash value; lower-case hex in JSON.
type Digest []byte

// MarshalText writes lower-case hex.
func (d Digest) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, d), nil
}

// UnmarshalText reads hex of at most 64 bytes.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) > 2*64 {
		return fmt.Errorf("digest of %d hex digits", len(text))
	}
	out, err := hex.AppendDecode(nil, text)
	if err != nil {
		return fmt.Errorf("decode digest: %w", err)
	}
	*d = out
	return nil
}

// String is lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d) }

// PCRs maps a bank ("sha1", "sha256", "sha384", "sha512") and a PCR index to the
// PCR's value. In JSON: {"sha256":{"0":"hex"}}.
type PCRs map[string]map[int]Digest

func (p PCRs) clone() PCRs {
	out := make(PCRs, len(p))
	for bank, values := range p {
		size := 0
		for _, v := range values {
			size += len(v)
		}
		all := make([]byte, 0, size) // one allocation, and no value reaches into the next
		copied := make(map[int]Digest, len(values))
		for i, v := range values {
			at := len(all)
			all = append(all, v...)
			copied[i] = all[at:len(all):len(all)]
		}
		out[bank] = copied
	}
	return out
}

// whole says whether check has nothing to report, without sorting anything.
func (p PCRs) whole() bool {
	for bank, values := range p {
		h, ok := eventlog.HashOf(bank)
		if !ok {
			return false
		}
		for i, v := range values {
			if i < 0 || i > maxPCR || len(v) != h.Size() {
				return false
			}
		}
	}
	return true
}

// check reports the first value that is outside the banks and PCRs that exist.
func (p PCRs) check() error {
	if p.whole() {
		return nil
	}
	for _, bank := range slices.Sorted(maps.Keys(p)) {
		h, ok := eventlog.HashOf(bank)
		if !ok {
			return fmt.Errorf("unknown bank %.16q", bank)
		}
		for _, i := range slices.Sorted(maps.Keys(p[bank])) {
			if i < 0 || i > maxPCR {
				return fmt.Errorf("no PCR %d in bank %s", i, bank)
			}
			if len(p[bank][i]) != h.Size() {
				return fmt.Errorf("PCR %d of bank %s has %d bytes, not %d", i, bank, len(p[bank][i]), h.Size())
			}
		}
	}
	return nil
}

// bankSelection is one bank of a signed selection, indexes ascending.
type bankSelection struct {
	bank    string
	indexes []int
}

// selection is a signed PCR selection in its signed order, which is the order in
// which the TPM hashes the values. Banks without a selected PCR are left out.
type selection []bankSelection

func readSelection(list []pcrSelection) (selection, error) {
	var out selection
	for _, s := range list {
		indexes := make([]int, 0, maxPCR+1)
		for i := 0; i < 8*len(s.bitmap); i++ {
			if s.bitmap[i/8]&(1<<(i%8)) != 0 {
				indexes = append(indexes, i)
			}
		}
		if len(indexes) == 0 {
			continue
		}
		bank := algorithmBank(s.hash)
		if bank == "" {
			return nil, fmt.Errorf("bank 0x%04x is not supported", uint16(s.hash))
		}
		if last := indexes[len(indexes)-1]; last > maxPCR {
			return nil, fmt.Errorf("PCR %d is above %d", last, maxPCR)
		}
		if out.of(bank) != nil {
			return nil, fmt.Errorf("bank %s is selected twice", bank)
		}
		out = append(out, bankSelection{bank, indexes})
	}
	return out, nil
}

func (s selection) of(bank string) []int {
	for _, b := range s {
		if b.bank == bank {
			return b.indexes
		}
	}
	return nil
}

func (s selection) String() string {
	text := ""
	for i, b := range s {
		if i > 0 {
			text += "+"
		}
		text += b.bank + ":" + fmt.Sprint(b.indexes)
	}
	return text
}

// equals compares with a required selection, in which the order of banks and
// indexes does not matter.
func (s selection) equals(want map[string][]int) bool {
	banks := 0
	for bank, indexes := range want {
		if len(indexes) == 0 {
			continue
		}
		banks++
		sorted := slices.Clone(indexes)
		slices.Sort(sorted)
		if !slices.Equal(slices.Compact(sorted), s.of(bank)) {
			return false
		}
	}
	return banks == len(s)
}

// digest hashes the selected values as TPM2_Quote does (Part 3, section 18.4;
// Part 1, "Selecting Multiple PCR").
func (s selection) digest(h crypto.Hash, values PCRs) []byte {
	d := h.New()
	for _, b := range s {
		bank := values[b.bank]
		for _, i := range b.indexes {
			d.Write(bank[i])
		}
	}
	return d.Sum(nil)
}

func algorithmBank(a tpm2.TPMAlgID) string {
	switch a {
	case tpm2.TPMAlgSHA1:
		return "sha1"
	case tpm2.TPMAlgSHA256:
		return "sha256"
	case tpm2.TPMAlgSHA384:
		return "sha384"
	case tpm2.TPMAlgSHA512:
		return "sha512"
	}
	return ""
}
