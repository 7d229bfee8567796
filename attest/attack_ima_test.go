package attest_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"troth/attest"
)

func TestAttack_L5_ListBehindOrAltered(t *testing.T) {
	d := booted(t)
	lines := bytes.SplitAfter(d.ima, []byte("\n"))
	for name, list := range map[string][]byte{
		"behind":         lines[0],
		"first dropped":  lines[1],
		"reordered":      append(bytes.Clone(lines[1]), lines[0]...),
		"empty":          {},
		"entry repeated": append(append(bytes.Clone(lines[0]), lines[0]...), lines[1]...),
	} {
		t.Run(name, func(t *testing.T) {
			d.ima = list
			r := d.appraise(t)
			refused(t, r, attest.CodeIMAMismatch)
			if r.IMA == nil || r.IMA.Replayed || r.IMA.Entries != 0 {
				t.Errorf("IMA %+v", r.IMA)
			}
		})
	}
	for name, change := range map[string][2]string{
		"file digest":  {"ima-ng sha256:", "ima-ng sha256:0"},
		"file name":    {"/usr/bin/init", "/usr/bin/evil"},
		"algorithm":    {"ima-ng sha256:", "ima-ng sha512:"},
		"template":     {"ima-ng", "ima-sig"},
		"another PCR":  {"\n10 ", "\n11 "},
		"no such name": {"ima-ng", "ima-xx"},
		"upper case":   {"sha256:", "SHA256:"},
	} {
		t.Run(name, func(t *testing.T) {
			d := booted(t)
			d.ima = []byte(strings.Replace(string(d.ima), change[0], change[1], 1))
			refused(t, d.appraise(t), attest.CodeIMAMalformed)
		})
	}
}

func TestAttack_L5_ListRunsAhead(t *testing.T) {
	d := booted(t)
	e := d.evidence(t)
	d.file("/usr/bin/late", "late")
	e.IMA = d.ima
	r := attest.Appraise(e, d.want())
	accepted(t, r)
	if *r.IMA != (attest.IMAResult{Entries: 2, Replayed: true, Ahead: 1, BootAggregate: attest.BootAggregateVerified}) {
		t.Errorf("IMA %+v", r.IMA)
	}
}

// TestAttack_L5_NothingCovered: PCR 10 never moved, so the list is made up.
func TestAttack_L5_NothingCovered(t *testing.T) {
	d := newDevice(t, "sha256")
	list := booted(t).ima
	d.log, d.ima = nil, list
	refused(t, d.appraise(t), attest.CodeIMAMismatch)
	d.ima = []byte{}
	accepted(t, d.appraise(t))
	delete(d.pcrs["sha256"], 10)
	refused(t, d.appraise(t), attest.CodeIMANotQuoted)
}

func TestAttack_L5_ViolationsAreExplicit(t *testing.T) {
	d := booted(t)
	violation := fmt.Sprintf("10 %s ima-ng sha256:%s /var/log/open\n", strings.Repeat("0", 40), strings.Repeat("0", 64))
	d.ima = append(d.ima, violation...)
	for _, bank := range d.banks {
		d.pcrs[bank][10] = hashed(bank, d.pcrs[bank][10], bytes.Repeat([]byte{0xff}, bankHash(bank).Size()))
	}
	d.file("/usr/bin/after", "after")
	r := d.appraise(t)
	accepted(t, r)
	if *r.IMA != (attest.IMAResult{Entries: 4, Violations: 1, Replayed: true, BootAggregate: attest.BootAggregateVerified}) {
		t.Errorf("IMA %+v", r.IMA)
	}
	// An entry cannot be passed off as a violation, nor a violation as nothing.
	d.ima = bytes.Replace(d.ima, []byte(violation), nil, 1)
	refused(t, d.appraise(t), attest.CodeIMAMismatch)
}

// TestAttack_L5_PaddedSHA1 is a kernel without SHA-384 when IMA started.
func TestAttack_L5_PaddedSHA1(t *testing.T) {
	d := booted(t)
	value := make([]byte, 48)
	var values []byte
	for pcr := range 10 {
		values = append(values, d.pcrs["sha256"][pcr]...)
	}
	for _, f := range [][2]string{{"boot_aggregate", string(values)}, {"/usr/bin/init", "init"}} {
		digest := hashed("sha1", templateNG(hashed("sha256", []byte(f[1])), f[0]))
		value = hashed("sha384", value, digest, make([]byte, 28))
	}
	d.pcrs["sha384"][10] = value
	r := d.appraise(t)
	accepted(t, r)
	if got := codes(r, attest.SeverityWarning); !slices.Equal(got, []string{attest.CodeIMASHA1Padded}) {
		t.Errorf("warnings %v", got)
	}
}

// TestAttack_L5_HostileNames: a newline in a name must not become an entry, and
// no byte of a name is lost.
func TestAttack_L5_HostileNames(t *testing.T) {
	d := booted(t)
	fake := fmt.Sprintf("10 %s ima-ng sha256:%s /bin/good", strings.Repeat("a", 40), strings.Repeat("b", 64))
	for _, name := range []string{
		"/tmp/x\n" + strings.ReplaceAll(fake, " ", "_"), "/tmp/\n\n\n", "/tmp/\x1b]0;title\a", "/tmp/\xff\xfe",
		"/tmp/<script>alert(1)</script>", "=cmd()", strings.Repeat("/a", 2047),
	} {
		d.file(name, "hostile")
	}
	d.file("/usr/bin/after", "after")
	r := d.appraise(t)
	accepted(t, r)
	if r.IMA.Entries != 10 {
		t.Errorf("IMA %+v", r.IMA)
	}
}

// TestAttack_L5_BanksDisagree covers different numbers of entries in two banks.
func TestAttack_L5_BanksDisagree(t *testing.T) {
	d := booted(t)
	before := bytes.Clone(d.pcrs["sha384"][10])
	d.file("/usr/bin/late", "late")
	d.pcrs["sha384"][10] = before
	refused(t, d.appraise(t), attest.CodeIMAMismatch)
}
