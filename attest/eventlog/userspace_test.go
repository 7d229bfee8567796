package eventlog_test

import (
	"strings"
	"testing"

	"troth/attest/eventlog"
)

const (
	digest256 = `"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`
	phase     = `{"pcr":11,"digests":[{"hashAlg":"sha256","digest":` + digest256 + `}],"content_type":"systemd",` +
		`"content":{"string":"","bootId":"8d1f5b2c3a4e4d1f9d4b6c7a8e9f0a1b","timestamp":42,"eventType":"phase"}}`
)

func sequence(records ...string) []byte {
	var out strings.Builder
	for _, r := range records {
		out.WriteString("\x1e" + r + "\n")
	}
	return []byte(out.String())
}

func TestParseUserspace(t *testing.T) {
	// Between them a record of an NV index, an unknown bank, and one of another writer.
	got, err := eventlog.ParseUserspace(sequence(phase,
		`{"nv_index":30474752,"digests":[{"hashAlg":"sha256","digest":`+digest256+`}]}`,
		`{"pcr":15,"digests":[{"hashAlg":"sm3_256","digest":"00"},{"hashAlg":"sha256","digest":`+digest256+`}],"content_type":"cel","content":[1]}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].PCR != 11 || got[0].Type != "phase" || got[1].PCR != 15 || got[1].Sequence != 2 || len(got[1].Digests) != 1 {
		t.Errorf("records %+v", got)
	}
	if !got[0].Recomputed([]string{"sha256"}) || got[0].Recomputed(nil) || got[0].Recomputed([]string{"sha384"}) {
		t.Error("the digest of an empty text")
	}
	if empty, err := eventlog.ParseUserspace(nil); err != nil || len(empty) != 0 {
		t.Errorf("an empty log: %v, %v", empty, err)
	}
}

func TestAttack_L2_UserspaceLog(t *testing.T) {
	digests := `"digests":[{"hashAlg":"sha256","digest":` + digest256 + `}]`
	for name, log := range map[string][]byte{
		"no sequence":      []byte(phase),
		"an array":         []byte("[" + phase + "]"),
		"truncated":        sequence(phase, phase)[:len(phase)*2-3],
		"no newline":       []byte("\x1e" + phase),
		"two in one":       []byte("\x1e" + phase + phase + "\n"),
		"empty record":     sequence(phase, ""),
		"PCR -1":           sequence(`{"pcr":-1,` + digests + `}`),
		"PCR 24":           sequence(`{"pcr":24,` + digests + `}`),
		"PCR 1.5":          sequence(`{"pcr":1.5,` + digests + `}`),
		"PCR of IMA":       sequence(`{"pcr":10,` + digests + `}`),
		"PCR of firmware":  sequence(`{"pcr":7,` + digests + `}`),
		"no digests":       sequence(`{"pcr":11}`),
		"short digest":     sequence(`{"pcr":11,"digests":[{"hashAlg":"sha256","digest":"00"}]}`),
		"no hexadecimal":   sequence(`{"pcr":11,"digests":[{"hashAlg":"sha1","digest":"zz"}]}`),
		"digest repeated":  sequence(`{"pcr":11,"digests":[{"hashAlg":"sha256","digest":` + digest256 + `},{"hashAlg":"sha256","digest":` + digest256 + `}]}`),
		"content no text":  sequence(`{"pcr":11,` + digests + `,"content_type":"systemd","content":{"string":1}}`),
		"too many records": sequence(strings.Split(strings.Repeat("{}\n", eventlog.MaxUserspaceRecords+1), "\n")...),
		"too large":        sequence(strings.Repeat(" ", eventlog.MaxUserspaceSize)),
		"deep":             sequence(`{"pcr":11,` + digests + `,"content":` + strings.Repeat("[", 20000) + `}`),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := eventlog.ParseUserspace(log); err == nil {
				t.Errorf("accepted: %+v", got)
			}
		})
	}
}

func FuzzParseUserspace(f *testing.F) {
	f.Add(sequence(phase, phase))
	f.Add(sequence(`{"pcr":0,"digests":[{"hashAlg":"sha1","digest":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}],"content_type":"systemd","content":{"string":"os-separator"}}`))
	f.Fuzz(func(t *testing.T, log []byte) {
		records, err := eventlog.ParseUserspace(log)
		if err != nil && records != nil {
			t.Error("records beside an error")
		}
		for _, r := range records {
			if r.PCR < 0 || r.PCR > eventlog.MaxPCR || r.PCR == 10 || len(r.Digests) == 0 {
				t.Errorf("record %+v", r)
			}
			for _, bank := range r.Digests.Banks() {
				if r.Extend(nil, bank, make([]byte, 64)) == nil {
					t.Errorf("bank %q cannot be extended", bank)
				}
			}
		}
	})
}
