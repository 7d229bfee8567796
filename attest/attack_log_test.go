package attest_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"troth/attest"
	"troth/attest/eventlog"
)

// TestAttack_L1_DataDoesNotMatchDigest rewrites what the log says beside digests
// that still replay.
func TestAttack_L1_DataDoesNotMatchDigest(t *testing.T) {
	for name, tt := range map[string]struct{ old, new []byte }{
		"secure boot on":     {variable(globalGUID, "SecureBoot", []byte{0}), variable(globalGUID, "SecureBoot", []byte{1})},
		"another signer":     {[]byte("a signer"), []byte("b signer")},
		"another variable":   {utf16le("SecureBoot"), utf16le("secureboot")},
		"action":             {[]byte("Exit Boot Services"), []byte("Quit Boot Services")},
		"a separator's data": {append([]byte{4, 0, 0, 0}, zeroSeparator...), []byte{4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, "sha256")
			d.plain(0, eventlog.SCRTMVersion, append(utf16le("model-a 1.0"), 0, 0))
			d.secureBootVariables(0)
			d.plain(7, eventlog.Separator, zeroSeparator)
			d.load()
			if !bytes.Contains(d.log, tt.old) {
				t.Fatal("nothing to rewrite")
			}
			d.log = bytes.Replace(d.log, tt.old, tt.new, 1)
			r := d.appraise(t)
			refused(t, r, attest.CodeEventDataMismatch)
			if r.SecureBoot != nil {
				t.Errorf("facts from a log that does not agree: %+v", r.SecureBoot)
			}
		})
	}
}

// TestAttack_L1_CommandLineOnlyClaimed: the text of a command line is shown as
// verified only where it was recomputed.
func TestAttack_L1_CommandLineOnlyClaimed(t *testing.T) {
	d := newDevice(t, "sha256")
	d.measure(8, eventlog.IPL, []byte("/vmlinuz init=/bin/sh"), []byte("kernel_cmdline: /vmlinuz ro quiet\x00"))
	r := d.appraise(t)
	accepted(t, r)
	if lines := r.EventLog.CommandLines; len(lines) != 1 || lines[0].Verified {
		t.Errorf("command lines %+v", lines)
	}
}

// TestAttack_L1_VersionOnlyClaimed: real firmware measures something else as its
// S-CRTM version, so another text is no error, but it is said to be unverified.
func TestAttack_L1_VersionOnlyClaimed(t *testing.T) {
	d := booted(t)
	d.log = bytes.Replace(d.log, utf16le("model-a 1.0"), utf16le("model-a 2.0"), 1)
	r := d.appraise(t)
	accepted(t, r)
	if v := r.EventLog.SCRTMVersion; v == nil || v.Verified || v.Text != "model-a 2.0" {
		t.Errorf("version %+v", v)
	}
	if got := codes(r, attest.SeverityWarning); !slices.Equal(got, []string{attest.CodeEventUnverified}) {
		t.Errorf("warnings %v", got)
	}
}

// TestAttack_L1_SecureBootPosed starts with Secure Boot off, hides it, and then
// poses as firmware by extending PCR 7 itself.
func TestAttack_L1_SecureBootPosed(t *testing.T) {
	off := variable(globalGUID, "SecureBoot", []byte{0})
	pose := func(d *device) {
		d.secureBootVariables(1)
		d.plain(7, eventlog.Separator, zeroSeparator)
	}
	for name, tt := range map[string]struct {
		boot func(*device)
		code string
	}{
		"measured again": {func(d *device) {
			d.secureBootVariables(0)
			d.plain(7, eventlog.Separator, zeroSeparator)
			d.secureBootVariables(1)
		}, attest.CodeEventRepeated},
		"repeated before the separator": {func(d *device) {
			d.plain(7, eventlog.EFIVariableDriverConfig, off)
			pose(d)
		}, attest.CodeEventRepeated},
		"the true separator kept": {func(d *device) {
			d.plain(7, eventlog.Separator, zeroSeparator)
			pose(d)
		}, attest.CodeSeparatorInvalid},
		"the true separator as an action": {func(d *device) {
			d.plain(7, eventlog.EFIAction, zeroSeparator)
			pose(d)
		}, attest.CodeEventMalformed},
		"no separator": {func(d *device) { d.secureBootVariables(1) }, attest.CodeSeparatorInvalid},
		"the true state as an authority": {func(d *device) {
			d.measure(7, eventlog.EFIVariableAuthority, off, []byte("what?"))
			pose(d)
		}, attest.CodeEventDataMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, "sha256")
			tt.boot(d)
			d.load()
			r := d.appraise(t)
			found := slices.Contains(codes(r, attest.SeverityError), tt.code)
			if r.Verified || !found || r.SecureBoot != nil {
				t.Errorf("verified %v, Secure Boot %+v, problems %+v, want %s", r.Verified, r.SecureBoot, r.Problems, tt.code)
			}
		})
	}
}

// TestAttack_L1_UnknownTypesFeedNothing relabels what is measured as a type that
// nothing is recomputed for.
func TestAttack_L1_UnknownTypesFeedNothing(t *testing.T) {
	for name, typ := range map[string]eventlog.EventType{
		"unknown type": 0x80001234, "unused": eventlog.Unused, "a type of another PCR": eventlog.EFIPlatformFirmwareBlob,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, "sha256")
			d.plain(7, typ, variable(globalGUID, "SecureBoot", []byte{0}))
			d.secureBootVariables(1)
			d.plain(7, eventlog.Separator, zeroSeparator)
			d.load()
			r := d.appraise(t)
			accepted(t, r)
			if r.SecureBoot != nil || !slices.Contains(codes(r, attest.SeverityWarning), attest.CodeEventOutOfPlace) {
				t.Errorf("Secure Boot %+v, problems %+v", r.SecureBoot, r.Problems)
			}
			if len(r.EventLog.BootLoaders) != 1 {
				t.Errorf("PCR 4 has no fault, but boot loaders %+v", r.EventLog.BootLoaders)
			}
		})
	}
}

// TestAttack_L1_BootLoaderHidden measures a second boot loader under a type that
// PCR 4 may have: it is listed all the same.
func TestAttack_L1_BootLoaderHidden(t *testing.T) {
	d := newDevice(t, "sha256")
	d.boot()
	d.measure(4, eventlog.IPL, []byte("bootkit"), []byte("MBR"))
	r := d.appraise(t)
	accepted(t, r)
	if len(r.EventLog.BootLoaders) != 2 {
		t.Errorf("boot loaders %+v", r.EventLog.BootLoaders)
	}
}

// TestAttack_L1_Separators holds exactly one separator of an allowed value.
func TestAttack_L1_Separators(t *testing.T) {
	for name, tt := range map[string]struct {
		separators [][]byte
		code       string
	}{
		"zeros":  {[][]byte{zeroSeparator}, ""},
		"ones":   {[][]byte{{0xff, 0xff, 0xff, 0xff}}, ""},
		"error":  {[][]byte{{1, 0, 0, 0}}, attest.CodeSeparatorInvalid},
		"long":   {[][]byte{make([]byte, 8)}, attest.CodeSeparatorInvalid},
		"two":    {[][]byte{zeroSeparator, zeroSeparator}, attest.CodeSeparatorInvalid},
		"none":   {nil, attest.CodeSeparatorInvalid},
		"no end": {[][]byte{{}}, attest.CodeSeparatorInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, "sha256")
			d.measure(2, eventlog.NonhostCode, []byte("rom"), []byte("rom"))
			for _, s := range tt.separators {
				d.plain(2, eventlog.Separator, s)
			}
			if r := d.appraise(t); tt.code == "" {
				accepted(t, r)
			} else {
				refused(t, r, tt.code)
			}
		})
	}
}

// TestAttack_L1_FactsOnlyFromQuotedPCRs gives a log whose PCR 7 the quote does
// not cover.
func TestAttack_L1_FactsOnlyFromQuotedPCRs(t *testing.T) {
	d := booted(t)
	d.ima = nil
	for _, bank := range d.banks {
		d.pcrs[bank] = map[int]attest.Digest{0: d.pcrs[bank][0]}
	}
	r := d.appraise(t)
	accepted(t, r)
	if r.SecureBoot != nil || r.EventLog.BootLoaders != nil || r.EventLog.CommandLines != nil || r.EventLog.SCRTMVersion == nil {
		t.Errorf("facts %+v, Secure Boot %+v", r.EventLog, r.SecureBoot)
	}
}

func TestAttack_L1_LogThatCannotBeCompared(t *testing.T) {
	d := booted(t)
	d.ima = nil
	other := newDevice(t, "sha256")
	other.extend(12, []byte("x"))
	other.log = d.log
	for i := range 12 {
		delete(other.pcrs["sha256"], i)
	}
	other.pcrs["sha256"][12] = make([]byte, 32)
	other.log = withoutBank(t)
	refused(t, other.appraise(t), attest.CodeEventLogBank)

	d.pcrs = attest.PCRs{"sha256": {12: make([]byte, 32)}}
	refused(t, d.appraise(t), attest.CodeEventLogNotQuoted)
}

// withoutBank is a log of another bank than the ones that are quoted.
func withoutBank(t *testing.T) []byte {
	d := newDevice(t, "sha384")
	d.boot()
	return d.log
}

func TestAttack_L3_UnexplainedPCR(t *testing.T) {
	d := booted(t)
	d.extend(6, []byte("something"))
	refused(t, d.appraise(t), attest.CodeEventLogMismatch)

	d = newDevice(t, "sha256")
	d.plain(0, eventlog.SCRTMVersion, []byte("1"))
	d.plain(0, eventlog.Separator, zeroSeparator)
	d.extend(9, []byte("an initrd"))
	d.extend(10, []byte("IMA"))
	r := d.appraise(t)
	accepted(t, r)
	if got := codes(r, attest.SeverityWarning); !slices.Equal(got, []string{attest.CodeUnexplainedPCR}) {
		t.Errorf("warnings %v", got)
	}
	d.extend(4, []byte("a boot loader that no event explains"))
	r = d.appraise(t)
	refused(t, r, attest.CodeUnexplainedPCR)
	if !slices.Equal(r.EventLog.UnexplainedPCRs, []int{4, 9}) || r.SecureBoot != nil || r.EventLog.BootLoaders != nil {
		t.Errorf("event log %+v", r.EventLog)
	}
	// Without a log it is a fact for policy.
	d.log = nil
	accepted(t, d.appraise(t))
}

// TestAttack_L3_MismatchNamesPCR: events dropped, reordered, repeated, cut off.
func TestAttack_L3_MismatchNamesPCR(t *testing.T) {
	d := booted(t)
	d.log = d.log[:0]
	d.log = d.specID()
	full := booted(t)
	full.record(9, eventlog.IPL, []byte("never extended"), []byte("/initrd\x00"))
	r := full.appraise(t)
	refused(t, r, attest.CodeEventLogMismatch)
	if !strings.Contains(r.Problems[0].Message, "PCR 9") {
		t.Errorf("message %q does not name PCR 9", r.Problems[0].Message)
	}
	if r.EventLog == nil || r.EventLog.Replayed || len(r.PCRs) == 0 {
		t.Errorf("event log %+v", r.EventLog)
	}
	refused(t, d.appraise(t), attest.CodeEventLogNotQuoted) // a log without events explains nothing
}

func TestAttack_L3_TruncatedLog(t *testing.T) {
	d := booted(t)
	whole := d.log
	e := d.evidence(t)
	for cut := 0; cut < len(whole); cut += 7 { // every part of an event, in time
		e.EventLog = whole[:cut]
		if r := attest.Appraise(e, d.want()); r.Verified {
			t.Fatalf("accepted with a log cut to %d of %d bytes", cut, len(whole))
		}
	}
	e.EventLog = append(bytes.Clone(whole), make([]byte, 8)...)
	refused(t, attest.Appraise(e, d.want()), attest.CodeEventLogMalformed)
}

func TestAttack_L4_StartupLocality(t *testing.T) {
	locality := func(l byte) []byte { return append([]byte("StartupLocality\x00"), l) }
	start := func(t *testing.T, actual byte) *device {
		d := newDevice(t, "sha256")
		d.pcrs["sha256"][0][31] = actual
		return d
	}
	d := start(t, 3)
	d.record(0, eventlog.NoAction, nil, locality(3))
	d.boot()
	accepted(t, d.appraise(t))

	for name, tt := range map[string]struct {
		actual byte
		write  func(*device)
		code   string
	}{
		"not logged":        {3, func(d *device) { d.boot() }, attest.CodeEventLogMismatch},
		"logged, not true":  {0, func(d *device) { d.record(0, eventlog.NoAction, nil, locality(3)); d.boot() }, attest.CodeEventLogMismatch},
		"another locality":  {3, func(d *device) { d.record(0, eventlog.NoAction, nil, locality(4)); d.boot() }, attest.CodeEventLogMismatch},
		"no such locality":  {1, func(d *device) { d.record(0, eventlog.NoAction, nil, locality(1)); d.boot() }, attest.CodeEventLogMalformed},
		"after measurement": {3, func(d *device) { d.boot(); d.record(0, eventlog.NoAction, nil, locality(3)) }, attest.CodeEventLogMalformed},
		"twice": {3, func(d *device) {
			d.record(0, eventlog.NoAction, nil, locality(0))
			d.record(0, eventlog.NoAction, nil, locality(3))
			d.boot()
		}, attest.CodeEventLogMalformed},
		"too long":       {3, func(d *device) { d.record(0, eventlog.NoAction, nil, append(locality(3), 0)); d.boot() }, attest.CodeEventLogMalformed},
		"of another PCR": {3, func(d *device) { d.record(1, eventlog.NoAction, nil, locality(3)); d.boot() }, attest.CodeEventLogMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, tt.actual)
			tt.write(d)
			refused(t, d.appraise(t), tt.code)
		})
	}
}

// TestAttack_L4_NoActionExtendsNothing: relabelling a measurement as one that
// extends nothing takes it out of the replay.
func TestAttack_L4_NoActionExtendsNothing(t *testing.T) {
	d := newDevice(t, "sha256")
	d.boot()
	relabelled := bytes.Replace(d.log, []byte{4, 0, 0, 0, 3, 0, 0, 0x80}, []byte{4, 0, 0, 0, 3, 0, 0, 0}, 1)
	if bytes.Equal(relabelled, d.log) {
		t.Fatal("nothing to relabel")
	}
	d.log = relabelled
	refused(t, d.appraise(t), attest.CodeEventLogMismatch)
}
