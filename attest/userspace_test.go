package attest_test

import (
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"troth/attest"
	"troth/attest/eventlog"
)

// userspaceLog is a machine that has booted, with what its systemd then measured.
type userspaceLog struct {
	*device
	records [][]byte
}

// write writes a record as systemd does (tpm2-util.c), and extends nothing.
func (u *userspaceLog) write(t testing.TB, pcr int, kind, text string, measured []byte) {
	t.Helper()
	digests := []map[string]string{}
	for _, bank := range u.banks {
		digests = append(digests, map[string]string{"hashAlg": bank, "digest": hex.EncodeToString(hashed(bank, measured))})
	}
	record, err := json.Marshal(map[string]any{"pcr": pcr, "digests": digests, "content_type": "systemd", "content": map[string]any{
		"string": text, "bootId": "8d1f5b2c3a4e4d1f9d4b6c7a8e9f0a1b", "timestamp": 1234567, "eventType": kind}})
	if err != nil {
		t.Fatal(err)
	}
	u.records = append(u.records, append(append([]byte{0x1e}, record...), '\n'))
}

func (u *userspaceLog) phase(t testing.TB, text string) {
	u.extend(11, []byte(text))
	u.write(t, 11, "phase", text, []byte(text))
}

func (u *userspaceLog) appraise(t testing.TB) attest.Result {
	t.Helper()
	e := u.evidence(t)
	e.UserspaceLog = slices.Concat(u.records...)
	return attest.Appraise(e, u.want())
}

// running is a unified kernel image that came up.
func running(t testing.TB) *userspaceLog {
	t.Helper()
	u := &userspaceLog{device: newDevice(t, "sha256", "sha384")}
	for _, bank := range u.banks {
		for pcr := 11; pcr < 16; pcr++ {
			u.pcrs[bank][pcr] = make([]byte, bankHash(bank).Size())
		}
	}
	u.boot()
	u.measure(11, eventlog.IPL, []byte(".linux\x00"), utf16le(".linux"))
	u.measure(11, eventlog.IPL, []byte("a kernel"), utf16le(".linux"))
	u.phase(t, "enter-initrd")
	u.phase(t, "leave-initrd")
	u.extend(15, []byte("machine-id:0123"))
	u.write(t, 15, "machine-id", "machine-id:0123", []byte("machine-id:0123"))
	u.extend(15, []byte("keyed with a volume key"))
	u.write(t, 15, "volume-key", "cryptsetup:root:uuid", []byte("keyed with a volume key"))
	u.phase(t, "sysinit")
	return u
}

func TestUserspaceLog(t *testing.T) {
	u := running(t)
	r := u.appraise(t)
	accepted(t, r)
	want := &attest.UserspaceResult{Records: 5, Replayed: true, Events: []attest.UserspaceEvent{
		{PCR: 11, Type: "phase", Text: "enter-initrd", Verified: true},
		{PCR: 11, Type: "phase", Text: "leave-initrd", Verified: true},
		{PCR: 15, Type: "machine-id", Text: "machine-id:0123", Verified: true},
		{PCR: 15, Type: "volume-key", Text: "cryptsetup:root:uuid"},
		{PCR: 11, Type: "phase", Text: "sysinit", Verified: true},
	}}
	if !reflect.DeepEqual(r.UserspaceLog, want) {
		t.Errorf("userspace log %+v", r.UserspaceLog)
	}
	if len(r.EventLog.UnexplainedPCRs) > 0 || !r.EventLog.Replayed || len(r.EventLog.Boot.Sections) != 1 {
		t.Errorf("event log %+v", r.EventLog)
	}

	// The log is read after the quote, and systemd goes on measuring.
	u.write(t, 11, "phase", "ready", []byte("ready"))
	u.write(t, 15, "filesystem", "file-system:/:ext4", []byte("file-system:/:ext4"))
	if r = u.appraise(t); !r.Verified || r.UserspaceLog.Records != 5 || r.UserspaceLog.Ahead != 2 || len(r.UserspaceLog.Events) != 5 {
		t.Errorf("a log that runs ahead: %+v, %+v", r.UserspaceLog, r.Problems)
	}
}

// TestUserspaceLogDerivesPCRs: no PCR values are given, and the logs explain all.
func TestUserspaceLogDerivesPCRs(t *testing.T) {
	u := running(t)
	e := u.evidence(t)
	e.PCRs, e.IMA, e.UserspaceLog = nil, nil, slices.Concat(u.records...)
	accepted(t, attest.Appraise(e, u.want()))
}

// TestUserspaceLogOfSeparator: newer systemd ends the firmware's PCRs.
func TestUserspaceLogOfSeparator(t *testing.T) {
	u := running(t)
	for _, pcr := range []int{0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14} {
		u.extend(pcr, []byte("os-separator"))
		u.write(t, pcr, "os-separator", "os-separator", []byte("os-separator"))
	}
	r := u.appraise(t)
	accepted(t, r)
	if r.SecureBoot == nil || len(r.EventLog.BootLoaders) != 1 {
		t.Errorf("Secure Boot %+v, event log %+v", r.SecureBoot, r.EventLog)
	}
}

// TestAttack_L3_UserspaceExtendsUnexplained: without systemd's log its extends
// cannot be told from tampering, and the message says what they may be.
func TestAttack_L3_UserspaceExtendsUnexplained(t *testing.T) {
	u := running(t)
	u.records = nil
	e := u.evidence(t)
	e.UserspaceLog = nil
	r := attest.Appraise(e, u.want())
	refused(t, r, attest.CodeEventLogMismatch)
	if !strings.Contains(r.Problems[0].Message, "PCR 11") || !strings.Contains(r.Problems[0].Message, "tpm2-measure.log") {
		t.Errorf("message %q", r.Problems[0].Message)
	}
}

// TestAttack_L3_UserspaceLogDoesNotReplay drops, doubles, swaps and adds records.
func TestAttack_L3_UserspaceLogDoesNotReplay(t *testing.T) {
	for name, change := range map[string]func(*userspaceLog){
		"empty":             func(u *userspaceLog) { u.records = nil },
		"first dropped":     func(u *userspaceLog) { u.records = u.records[1:] },
		"last dropped":      func(u *userspaceLog) { u.records = u.records[:len(u.records)-1] },
		"doubled":           func(u *userspaceLog) { u.records = slices.Insert(u.records, 1, u.records[0]) },
		"swapped":           func(u *userspaceLog) { u.records[0], u.records[1] = u.records[1], u.records[0] },
		"extended silently": func(u *userspaceLog) { u.extend(11, []byte("malware")) },
	} {
		t.Run(name, func(t *testing.T) {
			u := running(t)
			change(u)
			want := attest.CodeUserspaceLogMismatch
			if name == "empty" {
				want = attest.CodeEventLogMismatch // nothing continues it
			}
			refused(t, u.appraise(t), want)
		})
	}
	u := running(t)
	u.log = nil
	refused(t, u.appraise(t), attest.CodeUserspaceLogMismatch)
}

// TestAttack_L1_EventsMovedToUserspace: the end of the firmware's log is told as if
// systemd had measured it, where nobody looks for a boot loader or a command line.
func TestAttack_L1_EventsMovedToUserspace(t *testing.T) {
	moved := func(t *testing.T, pcr int, text string) attest.Result {
		u := running(t)
		u.extend(pcr, []byte("a bootkit"))
		u.write(t, pcr, "phase", text, []byte("a bootkit"))
		return u.appraise(t)
	}
	refused(t, moved(t, 4, "a boot loader"), attest.CodeUserspaceLogMalformed)
	refused(t, moved(t, 7, "a boot loader"), attest.CodeUserspaceLogMalformed)
	refused(t, moved(t, 4, "os-separator"), attest.CodeUserspaceLogData)
	refused(t, moved(t, 10, "a file"), attest.CodeUserspaceLogMalformed)
	refused(t, moved(t, 9, "nvpcr-separator"), attest.CodeUserspaceLogData)
	refused(t, moved(t, 11, "ready"), attest.CodeUserspaceLogData)
	if r := moved(t, 15, "cryptsetup:root"); !r.Verified || r.UserspaceLog.Events[5].Verified {
		t.Errorf("a keyed digest: %+v, %+v", r.UserspaceLog, r.Problems)
	}
}

// TestAttack_L3_UserspaceLogLacksBank: a record extends every bank, or is not to
// be believed of any.
func TestAttack_L3_UserspaceLogLacksBank(t *testing.T) {
	u := running(t)
	u.banks = []string{"sha256"}
	u.phase(t, "ready")
	u.banks = []string{"sha256", "sha384"}
	refused(t, u.appraise(t), attest.CodeUserspaceLogMismatch)
}
