package differential_test

import (
	"bytes"
	"strings"
	"testing"

	"troth/attest/eventlog"
)

// found is a difference as it was found.
type found struct {
	library, name, subject string
	ours, theirs           string
}

// compare lists the subjects on which two opinions differ. Where a verifier
// refuses, its reason is not compared.
func compare(library, name string, mine, theirs opinion) []found {
	var out []found
	for _, subject := range sorted(theirs) {
		a, known := mine[subject]
		b := theirs[subject]
		if !known && !strings.HasPrefix(mine["secure boot"], accepted) && strings.HasPrefix(subject, "secure boot: ") {
			continue // said under "secure boot"
		}
		if a != b && !(strings.HasPrefix(a, refused) && strings.HasPrefix(b, refused)) {
			out = append(out, found{library, name, subject, a, b})
		}
	}
	return out
}

// opinionsOfLogs compares all logs in all banks.
func opinionsOfLogs(t testing.TB, logs map[string][]byte) (all []found, compared int) {
	for _, name := range sorted(logs) {
		banks, values := []string{""}, map[string]map[int][]byte{}
		if parsed, err := eventlog.Parse(logs[name]); err == nil {
			banks, values = parsed.Banks, parsed.Replay()
		}
		for _, bank := range banks {
			mine := ours(t, logs[name], bank)
			at := strings.TrimSpace(name + " " + bank)
			for library, ask := range map[string]func([]byte, string, map[int][]byte) opinion{"go-attestation": attestationLog, "go-eventlog": toolsLog} {
				theirs := ask(logs[name], bank, values[bank])
				all = append(all, compare(library, at, mine, theirs)...)
				compared += len(theirs)
			}
		}
	}
	return all, compared
}

// TestOthersRefuseAlteredValues shows that their agreement means something: each
// refuses the replayed values with one byte altered.
func TestOthersRefuseAlteredValues(t *testing.T) {
	logs := logCorpus(t)
	for _, name := range sorted(logs) {
		parsed, err := eventlog.Parse(logs[name])
		if err != nil {
			continue
		}
		for bank, values := range parsed.Replay() {
			for pcr, value := range values {
				altered := bytes.Clone(value)
				altered[0] ^= 1
				one := map[int][]byte{pcr: altered}
				if a := attestationLog(logs[name], bank, one); a["replay"] == accepted {
					t.Errorf("%s: go-attestation takes any value of PCR %d in bank %s", name, pcr, bank)
				}
				if e := toolsLog(logs[name], bank, one); e["replay"] == accepted {
					t.Errorf("%s: go-eventlog takes any value of PCR %d in bank %s", name, pcr, bank)
				}
			}
		}
	}
}
