package attest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"troth/attest"
	"troth/attest/eventlog"
)

// underived is the evidence without PCR values.
func underived(t *testing.T, d *device) attest.Evidence {
	t.Helper()
	e := d.evidence(t)
	e.PCRs = nil
	return e
}

func TestDerivedPCRsAreTheQuoted(t *testing.T) {
	d := booted(t)
	e := underived(t, d)
	d.file("/usr/bin/late", "late")
	ahead := d.ima
	for name, list := range map[string][]byte{"exact": e.IMA, "ahead": ahead} {
		t.Run(name, func(t *testing.T) {
			e.IMA = list
			r := attest.Appraise(e, d.want())
			accepted(t, r)
			d := booted(t)
			got, _ := json.Marshal(r.PCRs)
			want, _ := json.Marshal(d.pcrs)
			if !bytes.Equal(got, want) || r.IMA.Entries != 2 || !r.EventLog.Replayed {
				t.Errorf("%s, want %s; IMA %+v", got, want, r.IMA)
			}
		})
	}
}

func TestDerivedPCRsWithoutIMA(t *testing.T) {
	d := newDevice(t, "sha256", "sha384")
	d.boot()
	accepted(t, attest.Appraise(underived(t, d), d.want()))
	locality := newDevice(t, "sha256")
	locality.pcrs["sha256"][0][31] = 3
	locality.record(0, eventlog.NoAction, nil, []byte("StartupLocality\x00\x03"))
	locality.plain(4, eventlog.Separator, zeroSeparator)
	accepted(t, attest.Appraise(underived(t, locality), locality.want()))
}

func TestDerivedPCRsPaddedSHA1(t *testing.T) {
	d := booted(t)
	lines := bytes.Fields(d.ima)
	value := make([]byte, 48)
	for _, at := range []int{1, 6} {
		var digest []byte
		if _, err := fmt.Sscanf(string(lines[at]), "%x", &digest); err != nil {
			t.Fatal(err)
		}
		value = hashed("sha384", value, digest, make([]byte, 28))
	}
	d.pcrs["sha384"][10] = value
	accepted(t, attest.Appraise(underived(t, d), d.want()))
}

// TestAttack_L3_DerivedPCRsExplainEverything: values that are derived verify
// nothing that the logs leave out.
func TestAttack_L3_DerivedPCRsExplainEverything(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*device, *attest.Evidence)
		code   string
	}{
		"a PCR without an event": {func(d *device, e *attest.Evidence) {
			d.extend(9, []byte("unlogged"))
			q := d.evidence(t)
			e.Quote, e.Signature = q.Quote, q.Signature
		}, attest.CodePCRDigestMismatch},
		"no IMA list":      {func(_ *device, e *attest.Evidence) { e.IMA = nil }, attest.CodePCRDigestMismatch},
		"an empty list":    {func(_ *device, e *attest.Evidence) { e.IMA = []byte{} }, attest.CodePCRDigestMismatch},
		"the list behind":  {func(_ *device, e *attest.Evidence) { e.IMA = e.IMA[:bytes.IndexByte(e.IMA, '\n')+1] }, attest.CodePCRDigestMismatch},
		"no event log":     {func(_ *device, e *attest.Evidence) { e.EventLog = nil }, attest.CodePCRDigestMismatch},
		"a malformed log":  {func(_ *device, e *attest.Evidence) { e.EventLog = e.EventLog[1:] }, attest.CodeEventLogMalformed},
		"a malformed list": {func(_ *device, e *attest.Evidence) { e.IMA = e.IMA[1:] }, attest.CodeIMAMalformed},
		"a relabelled event": {func(_ *device, e *attest.Evidence) {
			e.EventLog = bytes.Replace(e.EventLog, variable(globalGUID, "SecureBoot", []byte{1}), variable(globalGUID, "SecureBoot", []byte{0}), 1)
		}, attest.CodeEventDataMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			d := booted(t)
			e := underived(t, d)
			tt.change(d, &e)
			refused(t, attest.Appraise(e, d.want()), tt.code)
		})
	}
}

func TestBootAggregate(t *testing.T) {
	for name, tt := range map[string]struct {
		measure func(*device)
		want    attest.BootAggregate
	}{
		"PCR 0 to 9":   {func(d *device) { d.aggregate("sha256", 9) }, attest.BootAggregateVerified},
		"PCR 0 to 7":   {func(d *device) { d.aggregate("sha256", 7) }, attest.BootAggregateVerified},
		"another name": {func(d *device) { d.file("/usr/bin/init", "init") }, attest.BootAggregateAbsent},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, "sha256")
			d.boot()
			tt.measure(d)
			r := d.appraise(t)
			accepted(t, r)
			if r.IMA.BootAggregate != tt.want {
				t.Errorf("boot aggregate %q", r.IMA.BootAggregate)
			}
		})
	}
	d := booted(t)
	delete(d.pcrs["sha256"], 9)
	r := d.appraise(t)
	accepted(t, r)
	if r.IMA.BootAggregate != attest.BootAggregateUnknown {
		t.Errorf("without PCR 9: %q", r.IMA.BootAggregate)
	}
}

// TestBootAggregateLegacy is SHA-1 over PCR 0 to 7, in template "ima".
func TestBootAggregateLegacy(t *testing.T) {
	d := newDevice(t, "sha1")
	d.boot()
	var values []byte
	for pcr := range 8 {
		values = append(values, d.pcrs["sha1"][pcr]...)
	}
	digest := hashed("sha1", values)
	template := append(bytes.Clone(digest), make([]byte, 256)...)
	copy(template[20:], "boot_aggregate")
	d.extend(10, template)
	d.ima = fmt.Appendf(nil, "10 %x ima %x boot_aggregate\n", hashed("sha1", template), digest)
	want := attest.Expectation{QualifyingData: d.nonce, AllowSHA1: true}
	e := attest.Evidence{AK: d.akPublic(), PCRs: d.pcrs, EventLog: d.log, IMA: d.ima}
	e.Quote = quoteOf(d.nonce, d.pcrs)
	e.Signature = sign(t, d.ak, e.Quote)
	r := attest.Appraise(e, want)
	accepted(t, r)
	if r.IMA.BootAggregate != attest.BootAggregateVerified {
		t.Errorf("boot aggregate %q", r.IMA.BootAggregate)
	}
}

// TestAttack_L5_AnotherBootsAggregate: a list that replays, from a boot of
// something else.
func TestAttack_L5_AnotherBootsAggregate(t *testing.T) {
	d := newDevice(t, "sha256")
	d.boot()
	d.file("boot_aggregate", "the PCRs of another boot")
	d.file("/usr/bin/init", "init")
	r := d.appraise(t)
	refused(t, r, attest.CodeIMABootAggregate)
	if r.IMA.BootAggregate != attest.BootAggregateMismatch {
		t.Errorf("boot aggregate %q", r.IMA.BootAggregate)
	}
}
