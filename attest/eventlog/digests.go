package eventlog

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// Digests are those of one measurement, at most one for each bank. In JSON they
// are an object of lower-case hex by bank: {"sha256":"hex"}.
type Digests []BankDigest

// BankDigest is a digest in a bank ("sha1", "sha256", "sha384" or "sha512").
type BankDigest struct {
	Bank   string
	Digest []byte
}

// In is the digest in a bank; nil where there is none.
func (d Digests) In(bank string) []byte {
	for i := range d {
		if d[i].Bank == bank {
			return d[i].Digest
		}
	}
	return nil
}

// Hex is In as lower-case hex; empty where there is none.
func (d Digests) Hex(bank string) string { return hex.EncodeToString(d.In(bank)) }

// Banks are those that there is a digest for.
func (d Digests) Banks() []string {
	banks := make([]string, len(d))
	for i := range d {
		banks[i] = d[i].Bank
	}
	return banks
}

// Equal says whether both have the same banks, in any order, with the same digests.
func (d Digests) Equal(other Digests) bool {
	return len(d) == len(other) && !slices.ContainsFunc(d, func(b BankDigest) bool {
		theirs := other.In(b.Bank)
		return theirs == nil || !bytes.Equal(b.Digest, theirs)
	})
}

// MarshalJSON writes the object that Digests describes, banks by name.
func (d Digests) MarshalJSON() ([]byte, error) {
	texts := make(map[string]string, len(d))
	for _, b := range d {
		texts[b.Bank] = hex.EncodeToString(b.Digest)
	}
	return json.Marshal(texts)
}

// shelf is where many short lists of digests share an allocation: a log has some
// hundreds of them.
type shelf struct{ lists []BankDigest }

func newShelf(lists int) *shelf { return &shelf{lists: make([]BankDigest, 0, lists)} }

// list has room for n digests.
func (s *shelf) list(n int) Digests {
	if cap(s.lists)-len(s.lists) < n {
		s.lists = make([]BankDigest, 0, max(n, 64))
	}
	at := len(s.lists)
	s.lists = s.lists[:at+n]
	return s.lists[at : at : at+n]
}
