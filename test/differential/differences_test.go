package differential_test

import (
	"flag"
	"fmt"
	"os"
	"path"
	"sort"
	"strings"
	"testing"
)

// difference is one that is on purpose. Patterns are those of path.Match, over
// the second opinion, a name of the corpus with its bank, and a subject.
type difference struct{ library, name, subject string }

// reason is why we are right in all of its differences.
type reason struct {
	title, why  string
	differences []difference
}

func reasons() []reason {
	return []reason{
		{"PCR banks of SHA-384", "go-attestation compares event data with SHA-1 and SHA-256 digests only, and so finds no Secure Boot state in a log that a SHA-384 quote vouches for. The profile defines the same hash for every bank.",
			[]difference{{"go-attestation", "*/* sha384", "secure boot"}, {"go-attestation", "*/* sha384", "appraisal"}}},
		{"A SecureBoot variable without a value", "Firmware that has no such variable, or is in setup mode, measures it with no data. We say that Secure Boot is not enabled, which a policy can act on; the others cannot say anything. Only one byte of 1 ever means enabled here.",
			[]difference{
				{"*", "go-attestation/crypto_agile_eventlog sha256", "secure boot"}, {"*", "go-attestation/crypto_agile_eventlog sha256", "appraisal"},
				{"*", "go-tpm-tools/arch-linux-workstation.bin *", "secure boot"}, {"*", "go-tpm-tools/arch-linux-workstation.bin *", "appraisal"}}},
		{"A certificate that Go cannot parse", "This machine's platform key has a certificate with a negative serial number. The others parse each certificate and give up on the whole state. We name a key by the digest of its bytes, so that an odd one costs nothing.",
			[]difference{{"*", "go-tpm-tools/glinux-alex.bin *", "secure boot"}, {"*", "go-tpm-tools/glinux-alex.bin *", "appraisal"}}},
		{"An image before “Calling EFI Application from Boot Option”", "Firmware loads applications of its own, and a kernel handed over by the emulator has no boot option, so images come before that event or without it. It authenticates nothing. We list every image of PCR 4 in order, and policy judges all of them.",
			[]difference{
				{"go-eventlog", "*/*", "boot loaders"}, {"go-eventlog", "captured/qemu-kernel *", "appraisal"},
				{"go-eventlog", "go-attestation/ebs_event_missing_eventlog sha1", "appraisal"}, {"go-eventlog", "go-attestation/option_rom_eventlog sha1", "appraisal"}}},
		{"An S-CRTM version that is not what was hashed", "This firmware measures its version otherwise than the profile says, and images before the boot option as above. We say that the text is only claimed, in a warning; go-eventlog refuses the log.",
			[]difference{{"go-eventlog", "go-tpm-tools/gdc-host.bin sha256", "appraisal"}}},
		{"No separator", "These machines ran firmware that measured no separator into PCR 0, 4 and 5. The profile (section 10.4.1, EV_SEPARATOR) requires one in each of PCR 0 to 7: it is what tells the firmware's events from those of software that ran later. go-attestation looks at PCR 7 and 2 only. Later firmware of the same maker, in the other logs, measures them. The Secure Boot facts of PCR 7 are the same.",
			[]difference{{"go-attestation", "go-attestation/sb_cert_eventlog *", "appraisal"}, {"go-attestation", "go-attestation/windows_gcp_shielded_vm.json sha1", "appraisal"}}},
		{"A log that says nothing", "It holds one event, which extends no PCR. The others accept it, and report Secure Boot as disabled. Nothing measured is not a state.",
			[]difference{{"*", "go-attestation/short_no_action_eventlog sha1", "secure boot"}, {"*", "go-attestation/short_no_action_eventlog sha1", "appraisal"}}},
		{"Logs of no TPM", "These are logs of Intel TDX, whose registers RTMR0 to 3 have indexes of another meaning, and whose header is in index 1. A TPM quote vouches for none of it, and facts read by PCR index would be wrong.",
			[]difference{{"*", "go-eventlog/CCEL_unpadded.data.bin", "log"}, {"*", "go-eventlog/cos-113-intel-tdx-dupe-separator-unpadded.bin", "log"}}},
		{"Quotes of several banks at once", "TPM2_Quote signs any selection. The others read one bank of it, and refuse the quote.",
			[]difference{{"*", "captured/* all", "quote"}}},
		{"Quotes without a nonce", "Such a quote may be of any age: freshness is part of what we verify, so there is no way to leave it out. Quotes of such a machine with a nonce (`go-tpm-tools/gce-cos-85-nonce9009.pb`) are accepted by all three.",
			[]difference{{"*", "go-attestation/windows_gcp_shielded_vm.json", "quote"}, {"*", "go-tpm-tools/gce-cos-85-no-nonce.pb *", "quote"}}},
		{"RSAPSS", "A TPM key may pin RSAPSS (TPM 2.0 Library, Part 2, TPMT_RSA_SCHEME). The others verify RSASSA only.",
			[]difference{{"*", "swtpm/rsa-2048-pss *", "quote"}}},
	}
}

func (d difference) covers(f found) bool {
	for _, pair := range [][2]string{{d.library, f.library}, {d.subject, f.subject}, {d.name, f.name}} {
		if ok, err := path.Match(pair[0], pair[1]); err != nil || !ok {
			return false
		}
	}
	return true
}

var update = flag.Bool("update", false, "write docs/second-opinions.md anew")

const document = "../../docs/second-opinions.md"

// TestDifferences compares everything: no difference without a reason, no reason
// without a difference, and the document says what was found.
func TestDifferences(t *testing.T) {
	quotes, logs := softwareTPM(t)
	for name, log := range logCorpus(t) {
		logs[name] = log
	}
	for name, q := range quoteCorpus(t) {
		quotes[name] = q
	}
	all, ofLogs := opinionsOfLogs(t, logs)
	more, ofQuotes := opinionsOfQuotes(t, quotes)
	all = append(all, more...)
	sort.Slice(all, func(i, j int) bool { return fmt.Sprint(all[i]) < fmt.Sprint(all[j]) })
	t.Logf("%d logs, %d quotes, %d opinions, %d differences", len(logs), len(quotes), ofLogs+ofQuotes, len(all))

	by := make([][]found, len(reasons()))
	explained := map[found]bool{}
	for i, r := range reasons() {
		for _, d := range r.differences {
			used := false
			for _, f := range all {
				if d.covers(f) {
					used = true
					if !explained[f] {
						explained[f] = true
						by[i] = append(by[i], f)
					}
				}
			}
			if !used {
				t.Errorf("%q lists a difference that is gone: %+v", r.title, d)
			}
		}
	}
	for _, f := range all {
		if !explained[f] {
			t.Errorf("%s on %s, %s: we say %.200q, it says %.200q", f.library, f.name, f.subject, f.ours, f.theirs)
		}
	}
	checkDocument(t, render(len(logs), len(quotes), ofLogs, ofQuotes, by))
}

func checkDocument(t *testing.T, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have := string(read(t, document)); have != text {
		t.Errorf("%s is not what was found; go test . -run Differences -update", document)
	}
}

const preamble = `# Second opinions

<!-- Made by: go test . -run Differences -update, in test/differential -->

Our verifier is compared with two that others wrote: [go-attestation](https://github.com/google/go-attestation) v0.6.4, and [go-tpm-tools](https://github.com/google/go-tpm-tools) v0.4.11 with the event log library that it uses, [go-eventlog](https://github.com/google/go-eventlog), at its release v0.0.2. ` + "`make test`" + ` does it over every event log and quote in their own test data, over real boots captured under QEMU, and over a software TPM with four kinds of attestation key: %d logs and %d quotes. Each log is compared in each of its banks: is it a log, does it replay, is Secure Boot on and with which keys, what was loaded, what did GRUB execute (%d answers). Each quote is compared as it is and altered in seven ways (%d answers). A third opinion, tpm2-tools, replays and verifies the captured boots.

Everything agrees but for what follows. The test fails where a difference is not listed, and where a listed one is gone.
`

// render groups what was found by reason.
func render(logs, quotes, ofLogs, ofQuotes int, by [][]found) string {
	var out strings.Builder
	fmt.Fprintf(&out, preamble, logs, quotes, ofLogs, ofQuotes)
	for i, r := range reasons() {
		fmt.Fprintf(&out, "\n## %s\n\n%s\n\n| second opinion | about | we | it | where |\n| --- | --- | --- | --- | --- |\n", r.title, r.why)
		for _, row := range rows(by[i]) {
			fmt.Fprintln(&out, row)
		}
	}
	return out.String()
}

// rows joins differences that say the same about several names.
func rows(list []found) []string {
	names := map[string][]string{}
	var order []string
	for _, f := range list {
		key := fmt.Sprintf("| %s | %s | %s | %s |", f.library, f.subject, short(f.ours), short(f.theirs))
		if names[key] == nil {
			order = append(order, key)
		}
		names[key] = append(names[key], "`"+f.name+"`")
	}
	for i, key := range order {
		order[i] = key + " " + strings.Join(names[key], ", ") + " |"
	}
	return order
}

// short is a verdict without its reason, which differs from log to log, or the
// beginning of a value.
func short(value string) string {
	if strings.HasPrefix(value, refused) {
		return refused
	}
	value = strings.NewReplacer("|", "/", "\n", " ").Replace(value)
	switch {
	case value == "":
		return "nothing"
	case len(value) > 40:
		return value[:16] + "…"
	}
	return value
}
