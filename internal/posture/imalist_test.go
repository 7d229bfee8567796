package posture_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/ima"
	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/internal/posture"
	"troth/tuf"
)

// measure has the running system open files for the first time.
func (r *rig) measure(files ...string) {
	r.t.Helper()
	for _, f := range files {
		list, err := attesttest.MeasureFile(machine.channel, r.logs.IMA, attesttest.File{Path: "/opt/" + f, Content: []byte(f)})
		if err != nil {
			r.t.Fatal(err)
		}
		r.logs.IMA = list
	}
}

// continued checks in with the list from an entry on, as an agent that was told
// so does. More may be appended that the quote does not cover.
func (r *rig) continued(from int, ahead ...byte) (posture.Answer, error) {
	r.t.Helper()
	return r.checkIn(func(c *posture.CheckIn) {
		at, err := ima.Offset(r.logs.IMA, from)
		if err != nil {
			r.t.Fatal(err)
		}
		tail := append(bytes.Clone(r.logs.IMA[at:]), ahead...)
		c.Evidence = r.quote(attest.Binding{
			Purpose: "checkin", Nonce: c.Nonce, DeviceID: string(r.device), ClientKey: r.key, Reported: []byte(r.report),
			EventLog: sha256.Sum256(r.logs.EventLog), IMA: sha256.Sum256(tail), IMAFrom: uint64(from),
		})
		c.Evidence.EventLog, c.Evidence.IMA, c.Evidence.IMAFrom = logOf(r.logs.EventLog), logOf(tail), from
	})
}

// keptFor is how long evidence stands for later check-ins that say the same.
const keptFor = 24 * time.Hour

func (r *rig) mustContinue(from int, ahead ...byte) posture.Answer {
	r.t.Helper()
	a, err := r.continued(from, ahead...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.again(a)
	return a
}

// again appraises the evidence that the posture names, from the store's blobs
// alone, and compares it with what was found at the check-in.
func (r *rig) again(a posture.Answer) {
	r.t.Helper()
	p, err := r.store.Posture(r.t.Context(), r.device)
	if err != nil {
		r.t.Fatal(err)
	}
	document, err := r.store.Blob(r.t.Context(), p.Evidence)
	if err != nil {
		r.t.Fatal(err)
	}
	result, err := evidence.Again(r.t.Context(), r.store, document)
	if err != nil || !result.Verified {
		r.t.Fatalf("kept evidence: %v, %+v", err, result.Problems)
	}
	if p.Evidence != a.Posture.Evidence {
		return // an unchanged posture: the evidence of an earlier check-in
	}
	then := recorded(r.t, p)
	if then.IMA.Entries != result.IMA.Entries || then.IMA.BootAggregate != result.IMA.BootAggregate {
		r.t.Errorf("kept evidence has IMA %+v, and had %+v", result.IMA, then.IMA)
	}
}

// attestation is what of the recorded result these tests read.
type attestation struct {
	Verified      bool                 `json:"verified"`
	IMA           attest.IMAResult     `json:"ima"`
	IMAUnknown    []attest.UnknownFile `json:"ima_unknown"`
	ClockProblems []attest.Problem     `json:"clock_problems"`
}

func recorded(t testing.TB, p fleet.Posture) (a attestation) {
	t.Helper()
	if err := json.Unmarshal(p.Attestation, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// entries of the list after a boot of the image.
func (r *rig) entries() int { return bytes.Count(r.logs.IMA, []byte("\n")) }

// A list that grows costs what it grows by, is counted once, and what is kept of
// it is the whole list.
func TestListGrows(t *testing.T) {
	r := newRig(t, good())
	a := r.must(fleet.Compliant)
	for i := range 100 {
		if a.IMAEntries != r.entries() {
			t.Fatalf("%d entries are counted of %d", a.IMAEntries, r.entries())
		}
		if i%3 > 0 {
			r.measure(fmt.Sprint("file", i))
		}
		r.clock = r.clock.Add(9 * time.Hour) // the evidence is kept anew every day
		r.report = fmt.Sprintf(`{"firmware":{"version":"1.0.0"},"n":%d}`, i)
		a = r.mustContinue(a.IMAEntries)
		if a.Posture.Verdict != fleet.Compliant {
			t.Fatalf("%v", findings(a.Posture))
		}
	}
	p, err := r.store.Progress(t.Context(), r.device)
	if err != nil || len(p.Segments) > 32 || len(p.Segments) < 2 {
		t.Fatalf("%d segments, %v", len(p.Segments), err)
	}
	var list []byte
	for _, s := range p.Segments {
		b, err := r.store.Blob(t.Context(), s.Digest)
		if err != nil || len(b) != s.Size {
			t.Fatalf("segment of %d bytes: %d, %v", s.Size, len(b), err)
		}
		list = append(list, b...)
	}
	if !bytes.Equal(list, r.logs.IMA) {
		t.Errorf("the segments are not the list: %d bytes, not %d", len(list), len(r.logs.IMA))
	}
	// A service that starts anew, or another replica, knows as much.
	n, err := r.service.Nonce(t.Context(), r.device)
	if err != nil || n.IMAEntries != r.entries() {
		t.Errorf("%d entries, %v", n.IMAEntries, err)
	}
}

// What a device sends beyond its quote is counted when the quote covers it.
func TestAheadOfTheQuote(t *testing.T) {
	r := newRig(t, good())
	a := r.must(fleet.Compliant)
	r.measure("covered")
	quoted := r.entries()
	late := lateLine("/opt/late", "late")
	r.clock = r.clock.Add(keptFor)
	a = r.mustContinue(a.IMAEntries, late...)
	if a.IMAEntries != quoted {
		t.Fatalf("%d entries are counted, %d quoted", a.IMAEntries, quoted)
	}
	r.measure("late") // now the TPM has it too
	r.clock = r.clock.Add(25 * time.Hour)
	r.clock = r.clock.Add(keptFor)
	if a = r.mustContinue(a.IMAEntries); a.IMAEntries != quoted+1 {
		t.Errorf("%d entries are counted of %d", a.IMAEntries, quoted+1)
	}
	if !bytes.HasSuffix(r.logs.IMA, late) {
		t.Fatal("what ran ahead is not what came")
	}
	// The same with the whole list.
	r.clock = r.clock.Add(25 * time.Hour)
	r.clock = r.clock.Add(keptFor)
	if a = r.mustContinue(0, late...); a.IMAEntries != quoted+1 {
		t.Fatalf("%d entries", a.IMAEntries)
	}
}

// lateLine is what the kernel shows of a file: PCR, hash of the template data,
// template, digest, name.
func lateLine(path, content string) []byte {
	digest := sha256.Sum256([]byte(content))
	field := append([]byte("sha256:\x00"), digest[:]...)
	data := append(binary.LittleEndian.AppendUint32(nil, uint32(len(field))), field...)
	data = append(binary.LittleEndian.AppendUint32(data, uint32(len(path)+1)), path+"\x00"...)
	return fmt.Appendf(nil, "10 %x ima-ng sha256:%x %s\n", sha1.Sum(data), digest, path)
}

// TestAttack_L5_ContinuedElsewhere: what does not continue what was counted is
// answered with where to begin, alarms nobody and changes nothing.
func TestAttack_L5_ContinuedElsewhere(t *testing.T) {
	r := newRig(t, good())
	a := r.must(fleet.Compliant)
	r.measure("one", "two")
	before := r.stored()
	for _, from := range []int{1, a.IMAEntries - 1, a.IMAEntries + 1} {
		if _, err := r.continued(from); fleet.CodeOf(err) != "log_required" || !fleet.IsKind(err, fleet.Conflict) {
			t.Errorf("from %d: %v", from, err)
		}
	}
	without := func(c *posture.CheckIn) { c.Evidence.IMA, c.Evidence.IMAFrom = nil, a.IMAEntries }
	if _, err := r.checkIn(without); fleet.CodeOf(err) != "log_required" {
		t.Errorf("without a list: %v", err)
	}
	negative := func(c *posture.CheckIn) { c.Evidence.IMAFrom = -1 }
	if _, err := r.checkIn(negative); fleet.CodeOf(err) != "log_required" {
		t.Errorf("from -1: %v", err)
	}
	// What is sent says where it begins: the quote binds it.
	moved := func(c *posture.CheckIn) { c.Evidence.IMAFrom = a.IMAEntries }
	if s := r.stored(); s.device.Revision != before.device.Revision || len(s.open) != 0 {
		t.Errorf("changed: %+v", s)
	}
	if _, err := r.checkIn(moved); fleet.CodeOf(err) != "nonce_mismatch" {
		t.Errorf("moved after quoting: %v", err)
	}
	r.clock = r.clock.Add(keptFor)
	if a := r.mustContinue(a.IMAEntries); a.IMAEntries != r.entries() {
		t.Errorf("%d entries", a.IMAEntries)
	}
}

// TestAttack_L5_EntryLeftOut: a device that continues without an entry that its
// TPM has is refused, and people are told.
func TestAttack_L5_EntryLeftOut(t *testing.T) {
	r := newRig(t, good())
	a := r.must(fleet.Compliant)
	whole := r.logs.IMA
	r.measure("evil")
	r.logs.IMA = whole
	r.measure("good")
	if _, err := r.continued(a.IMAEntries); fleet.CodeOf(err) != "ima_mismatch" || !fleet.IsKind(err, fleet.Refused) {
		t.Fatalf("got %v", err)
	}
	if s := r.stored(); !slices.Equal(s.open, []string{fleet.KeyEvidenceRefused}) {
		t.Errorf("alerts %v", s.open)
	}
	p, err := r.store.Progress(t.Context(), r.device)
	if err != nil || p.Entries != a.IMAEntries {
		t.Errorf("%d entries are counted, %v", p.Entries, err)
	}
}

// After a reboot, a new enrolment or new keys, nothing is continued.
func TestCountingBeginsAnew(t *testing.T) {
	r := newRig(t, good())
	r.must(fleet.Compliant)
	r.measure("more")
	a := r.must(fleet.Compliant)
	t.Run("reboot", func(t *testing.T) {
		r.t = t
		r.logs = boot(t, good())
		r.measure("other", "files", "still")
		if _, err := r.continued(a.IMAEntries); fleet.CodeOf(err) != "log_required" {
			t.Errorf("continues another boot: %v", err)
		}
		if s := r.stored(); len(s.open) != 0 {
			t.Errorf("a reboot alarms people: %v", s.open)
		}
		if a = r.must(fleet.Compliant); a.IMAEntries != r.entries() {
			t.Errorf("%d entries of %d", a.IMAEntries, r.entries())
		}
		r.clock = r.clock.Add(keptFor)
		r.mustContinue(a.IMAEntries)
	})
	for name, change := range map[string]func(*fleet.Device){
		"enrolment": func(d *fleet.Device) { d.EnrolledAt = d.EnrolledAt.Add(time.Second) },
		"key":       func(d *fleet.Device) { d.AKPublic = append(bytes.Clone(d.AKPublic), 0) },
	} {
		t.Run("another "+name, func(t *testing.T) {
			r.t = t
			before := r.stored().device
			d := before
			change(&d)
			r.apply(fleet.Change{Devices: []fleet.Device{d}})
			if n, err := r.service.Nonce(t.Context(), r.device); err != nil || n.IMAEntries != 0 {
				t.Errorf("%d entries, %v", n.IMAEntries, err)
			}
			if _, err := r.continued(a.IMAEntries); fleet.CodeOf(err) != "log_required" {
				t.Errorf("got %v", err)
			}
			d = r.stored().device
			d.EnrolledAt, d.AKPublic = before.EnrolledAt, before.AKPublic
			r.apply(fleet.Change{Devices: []fleet.Device{d}})
		})
	}
	r.t = t
}

// Two replicas count one list: who comes second is told to begin where the first
// ended, and nothing is counted twice.
func TestTwoCountAtOnce(t *testing.T) {
	race := &counting{}
	r := newRig(t, good(), func(c *posture.Config) { race.Store = c.Store; c.Store = race })
	a := r.must(fleet.Compliant)
	r.measure("one")
	first, err := r.continued(a.IMAEntries)
	if err != nil || first.IMAEntries != a.IMAEntries+1 {
		t.Fatal(first.IMAEntries, err)
	}
	// An answer that was lost: the device sends the same again.
	if _, err := r.continued(a.IMAEntries); fleet.CodeOf(err) != "log_required" {
		t.Errorf("counted twice: %v", err)
	}
	// A replica that read the state before the other wrote.
	r.measure("two")
	race.stale = true
	if _, err := r.continued(first.IMAEntries); err != nil {
		t.Fatal(err)
	}
	if p, err := r.store.Progress(t.Context(), r.device); err != nil || p.Entries != r.entries() || race.stale {
		t.Errorf("%d entries of %d, %v", p.Entries, r.entries(), err)
	}
}

// counting changes the device between the service's reading and its writing.
type counting struct {
	posture.Store
	stale bool
}

func (s *counting) Progress(ctx context.Context, id fleet.DeviceID) (fleet.Progress, error) {
	p, err := s.Store.Progress(ctx, id)
	if s.stale {
		s.stale = false
		d, errDevice := s.Store.Device(ctx, id)
		return p, errors.Join(err, errDevice, s.Store.Apply(ctx, fleet.Change{Devices: []fleet.Device{d}}))
	}
	return p, err
}

// allowed is what may run, and what it answers.
type allowed struct {
	files attest.IMAFiles
	err   error
	asked []string
}

func (f *allowed) IMAFiles(_ context.Context, r fleet.Release) (attest.IMAFiles, error) {
	f.asked = append(f.asked, r.Version)
	return f.files, f.err
}

// allow allows the image's files and those named, under an ID.
func (f *allowed) allow(t *testing.T, id string, files ...string) {
	t.Helper()
	var packed []byte
	add := func(content []byte) { d := sha256.Sum256(content); packed = append(packed, d[:]...) }
	for _, file := range good().Files {
		add(file.Content)
	}
	for _, name := range files {
		add([]byte(name))
	}
	l, err := ima.NewAllowList("sha256", packed)
	if err != nil {
		t.Fatal(err)
	}
	f.files = attest.IMAFiles{ID: id, Allow: l}
}

// An unknown file remains one until the reboot, and is judged anew when what may
// run changes, without the device sending anything again.
func TestUnknownFile(t *testing.T) {
	files := &allowed{}
	files.allow(t, "first", "tool")
	r := newRig(t, good(), func(c *posture.Config) { c.Files = files })
	unknown := func(a posture.Answer) int {
		t.Helper()
		result := recorded(t, a.Posture)
		if result.IMA.JudgedBy != files.files.ID || result.IMA.Unknown != len(result.IMAUnknown) {
			t.Fatalf("%+v, %+v", result.IMA, result.IMAUnknown)
		}
		return result.IMA.Unknown
	}
	check := func(a posture.Answer, err error, want int) posture.Answer {
		t.Helper()
		if err != nil || unknown(a) != want || a.IMAEntries != r.entries() {
			t.Fatalf("%v; %d unknown, want %d", err, unknown(a), want)
		}
		return a
	}
	a, err := r.checkIn()
	check(a, err, 0)
	r.measure("tool", "stranger")
	a, err = r.continued(a.IMAEntries)
	check(a, err, 1)
	r.measure("tool again")
	files.allow(t, "first", "tool", "tool again")
	a, err = r.continued(a.IMAEntries)
	check(a, err, 1)
	files.allow(t, "second", "tool", "tool again", "stranger")
	a, err = r.continued(a.IMAEntries)
	check(a, err, 0)
	files.allow(t, "third")
	r.measure("third")
	a, err = r.continued(a.IMAEntries)
	check(a, err, 4)
	files.files = attest.IMAFiles{}
	a, err = r.continued(a.IMAEntries)
	check(a, err, 0)
	if !slices.Equal(slices.Compact(files.asked), []string{"1.0.0"}) {
		t.Errorf("asked for %v", files.asked)
	}
	before := r.stored()
	files.err = fleet.Errorf(fleet.Unavailable, "firmware_unavailable", "not now")
	if _, err := r.continued(a.IMAEntries); fleet.CodeOf(err) != "firmware_unavailable" {
		t.Errorf("got %v", err)
	}
	if s := r.stored(); s.device.Revision != before.device.Revision || len(s.open) != len(before.open) {
		t.Errorf("changed: %+v", s)
	}
}

// A device whose PCRs no release has is judged by no release's files.
func TestUnknownReleaseHasNoFiles(t *testing.T) {
	files := &allowed{}
	image := good()
	image.BootLoader = append([]byte("bootkit"), image.BootLoader...)
	r := newRig(t, image, func(c *posture.Config) { c.Files = files })
	r.must(fleet.Noncompliant)
	if files.asked != nil {
		t.Errorf("asked for %v", files.asked)
	}
}

// An unchanged list costs no write of it.
func TestUnchangedListIsNotWritten(t *testing.T) {
	written := &writes{}
	r := newRig(t, good(), func(c *posture.Config) { written.Store = c.Store; c.Store = written })
	a := r.must(fleet.Compliant)
	if written.progress != 1 {
		t.Fatalf("%d writes", written.progress)
	}
	written.progress, written.blobs = 0, 0
	a, err := r.checkIn(func(c *posture.CheckIn) {
		c.Evidence = r.quote(attest.Binding{
			Purpose: "checkin", Nonce: c.Nonce, DeviceID: string(r.device), ClientKey: r.key, Reported: []byte(r.report),
			EventLog: sha256.Sum256(r.logs.EventLog), IMA: sha256.Sum256(nil), IMAFrom: uint64(a.IMAEntries),
		})
		none := sha256.Sum256(nil)
		c.Evidence.EventLog, c.Evidence.IMAFrom = &evidence.Log{SHA256: logOf(r.logs.EventLog).SHA256}, a.IMAEntries
		c.Evidence.IMA = &evidence.Log{SHA256: hex.EncodeToString(none[:])}
	})
	if err != nil || a.IMAEntries != r.entries() || written.progress != 0 || written.blobs != 0 {
		t.Errorf("%d of the progress, %d blobs; %v", written.progress, written.blobs, err)
	}
}

// writes counts.
type writes struct {
	posture.Store
	progress, blobs int
}

func (w *writes) Apply(ctx context.Context, c fleet.Change) error {
	if c.Progress != nil {
		w.progress++
	}
	w.blobs += len(c.Blobs)
	return w.Store.Apply(ctx, c)
}

// TestAttack_Q7_SnapshotRollback: a TPM whose state was copied away and is put
// back goes on from an earlier moment. Its quotes hold; its clock does not.
func TestAttack_Q7_SnapshotRollback(t *testing.T) {
	r := newRig(t, good())
	r.must(fleet.Compliant)
	state, copied := filepath.Join(machine.dir, "s"), filepath.Join(t.TempDir(), "snapshot")
	off := func() {
		t.Helper()
		machine.tpm.Close()
		if err := machine.swtpm.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	off()
	if err := os.CopyFS(copied, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	r.logs = boot(t, good())
	r.must(fleet.Compliant)
	r.logs = boot(t, good())
	a := r.must(fleet.Compliant)
	off()
	if err := errors.Join(os.RemoveAll(state), os.CopyFS(state, os.DirFS(copied))); err != nil {
		t.Fatal(err)
	}
	r.logs = boot(t, good())
	if _, err := r.continued(a.IMAEntries); err == nil {
		t.Error("the list of another boot was continued")
	}
	a, err := r.checkIn()
	if err != nil {
		t.Fatal(err)
	}
	result := recorded(t, a.Posture)
	var found []string
	for _, p := range result.ClockProblems {
		found = append(found, p.Code+" "+string(p.Severity))
	}
	if !result.Verified || !slices.Contains(found, "reset_count_went_back error") {
		t.Errorf("clock problems %v", found)
	}
	if findings(a.Posture)["clock-monotonic"] == "" || a.Posture.Verdict != fleet.Noncompliant {
		t.Errorf("verdict %s, findings %v", a.Posture.Verdict, findings(a.Posture))
	}
}

// Nothing is left out of a list: what may run is a set of digests, and no name, and
// no pattern among the names of the allow-list, excuses a file.
func TestAttack_L6_NamesExcuseNothing(t *testing.T) {
	digest := sha256.Sum256([]byte("tool"))
	text := fmt.Sprintf("%x  *\n%x  /opt/**\n%x  !/opt/.*\n%x  ^.*$\n", digest, digest, digest, digest)
	var packed []byte
	for _, file := range good().Files {
		d := sha256.Sum256(file.Content)
		packed = append(packed, d[:]...)
	}
	err := tuf.ParseAllowList(strings.NewReader(text), "sha256", func(d []byte) error { packed = append(packed, d...); return nil })
	if err != nil {
		t.Fatal(err)
	}
	list, err := ima.NewAllowList("sha256", packed)
	if err != nil {
		t.Fatal(err)
	}
	files := &allowed{files: attest.IMAFiles{ID: "patterns", Allow: list}}
	r := newRig(t, good(), func(c *posture.Config) { c.Files = files })
	strange := []string{"*", "**", ".hidden", "log/a.log", "../proc/1/exe", "tmp/x", "tool\n10"}
	r.measure(append(strange, "tool")...)
	a, err := r.checkIn()
	if err != nil {
		t.Fatal(err)
	}
	result := recorded(t, a.Posture)
	if result.IMA.Unknown != len(strange) || len(result.IMAUnknown) != len(strange) || findings(a.Posture)["ima-known-files"] == "" {
		t.Errorf("%d of %d files are unknown: %+v", result.IMA.Unknown, len(strange), findings(a.Posture))
	}
}
