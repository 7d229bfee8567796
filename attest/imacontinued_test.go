package attest_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"troth/attest"
	"troth/attest/ima"
)

// allowing chooses, for any PCR values, an allow-list of contents under an ID.
func allowing(t *testing.T, id string, contents ...string) func(attest.PCRs) attest.IMAFiles {
	t.Helper()
	var packed []byte
	for _, c := range contents {
		packed = append(packed, hashed("sha256", []byte(c))...)
	}
	l, err := ima.NewAllowList("sha256", packed)
	if err != nil {
		t.Fatal(err)
	}
	return func(attest.PCRs) attest.IMAFiles { return attest.IMAFiles{ID: id, Allow: l} }
}

// stored is a state as it comes back from where it was kept.
func stored(t *testing.T, s *attest.IMAState) *attest.IMAState {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	back := &attest.IMAState{}
	if err := json.Unmarshal(raw, back); err != nil || !reflect.DeepEqual(s, back) {
		t.Fatalf("%+v came back as %+v, %v", s, back, err)
	}
	return back
}

// What a list in pieces gives is what the whole list gives: an unknown file is
// one until the next boot, not only at the check-in that brought it.
func TestUnknownFilesRemain(t *testing.T) {
	d := booted(t)
	want := d.want()
	want.IMAFiles = allowing(t, "release 1", "init", "good")
	var state *attest.IMAState
	sent := 0
	for i, files := range [][]string{{"evil"}, {"good"}, {}, {"late"}} {
		for _, content := range files {
			d.file("/usr/bin/"+content, content)
		}
		whole := attest.Appraise(d.evidence(t), want)
		e := d.evidence(t)
		e.IMA, e.IMAFrom = d.ima[sent:], state
		r := attest.Appraise(e, want)
		accepted(t, r)
		if !reflect.DeepEqual(r.IMA, whole.IMA) || !reflect.DeepEqual(r.IMAUnknown, whole.IMAUnknown) || !reflect.DeepEqual(r.IMAState, whole.IMAState) {
			t.Fatalf("check-in %d: %+v %+v, whole %+v %+v", i, r.IMA, r.IMAUnknown, whole.IMA, whole.IMAUnknown)
		}
		if unknown := 1 + i/3; r.IMA.Unknown != unknown || r.IMA.JudgedBy != "release 1" || r.IMACovered != len(e.IMA) {
			t.Fatalf("check-in %d: %+v", i, r.IMA)
		}
		state, sent = stored(t, r.IMAState), len(d.ima)
	}
}

// The release, and with it what may run, is known from the quoted PCRs only.
func TestFilesAreChosenByPCRs(t *testing.T) {
	d := booted(t)
	calls := 0
	want := d.want()
	want.IMAFiles = func(p attest.PCRs) attest.IMAFiles {
		calls++
		if !reflect.DeepEqual(p, d.pcrs) {
			t.Errorf("chosen by %v", p)
		}
		p["sha256"][4][0] ^= 1 // changes nothing of the result
		return attest.IMAFiles{}
	}
	r := attest.Appraise(d.evidence(t), want)
	accepted(t, r)
	if calls != 1 || r.IMA.JudgedBy != "" || r.IMA.Unknown != 0 || !reflect.DeepEqual(r.PCRs, d.pcrs) {
		t.Errorf("%d calls, %+v", calls, r.IMA)
	}
	spoilt := d.evidence(t)
	spoilt.EventLog = spoilt.EventLog[:len(spoilt.EventLog)-1]
	attest.Appraise(spoilt, want)
	spoilt.Signature = nil
	attest.Appraise(spoilt, want)
	if calls != 1 {
		t.Error("chosen by values of evidence that failed")
	}
}

// TestAttack_L5_JudgedByOthers: files that no list judged, or another one, are
// not taken as known.
func TestAttack_L5_JudgedByOthers(t *testing.T) {
	d := booted(t)
	d.file("/usr/bin/evil", "evil")
	for _, first := range []func(attest.PCRs) attest.IMAFiles{nil, allowing(t, "release 1", "init", "evil")} {
		want := d.want()
		want.IMAFiles = first
		r := attest.Appraise(d.evidence(t), want)
		accepted(t, r)
		e := d.evidence(t)
		e.IMA, e.IMAFrom = []byte{}, stored(t, r.IMAState)
		want.IMAFiles = allowing(t, "release 2", "init")
		again := attest.Appraise(e, want)
		refused(t, again, attest.CodeIMAJudged)
		e.IMA, e.IMAFrom = d.ima, nil
		if whole := attest.Appraise(e, want); whole.IMA.Unknown != 1 || !whole.Verified {
			t.Errorf("whole: %+v", whole.IMA)
		}
		// Where nothing is judged any more, nothing is unknown.
		e.IMA, e.IMAFrom, want.IMAFiles = []byte{}, r.IMAState, nil
		none := attest.Appraise(e, want)
		accepted(t, none)
		if none.IMA.JudgedBy != "" || none.IMA.Unknown != 0 || none.IMAState.JudgedBy != "" {
			t.Errorf("judged by nothing: %+v", none.IMA)
		}
	}
}

// TestAttack_L5_UnknownNamesAreBounded: a name of 4 KiB is not kept for ever.
func TestAttack_L5_UnknownNamesAreBounded(t *testing.T) {
	d := booted(t)
	for i := range 40 {
		d.file("/tmp/"+strings.Repeat("\x1b", 4000), fmt.Sprint(i))
	}
	want := d.want()
	want.IMAFiles = allowing(t, "x", "init")
	r := attest.Appraise(d.evidence(t), want)
	accepted(t, r)
	if len(r.IMAUnknown) != 16 || r.IMA.Unknown != 40 || len(r.IMAState.UnknownFiles) != 16 || len(r.IMAUnknown[0].Name) != 256 {
		t.Errorf("%d of %d, names of %d bytes", len(r.IMAUnknown), r.IMA.Unknown, len(r.IMAUnknown[0].Name))
	}
}

// TestAttack_L5_JoinedLists: what cannot be joined to what was counted before,
// or leaves nothing to join to, is not continued.
func TestAttack_L5_JoinedLists(t *testing.T) {
	d, e := continued(t)
	e.IMAFrom.Form = ima.FormBinarySHA1
	refused(t, attest.Appraise(e, d.want()), attest.CodeIMAState)

	d, e = continued(t)
	e.IMAFrom.Unknown = e.IMAFrom.Entries + 1
	refused(t, attest.Appraise(e, d.want()), attest.CodeIMAState)

	d, e = continued(t)
	e.IMAFrom.Entries = ima.MaxEntries
	refused(t, attest.Appraise(e, d.want()), attest.CodeTooLarge)

	d, e = continued(t)
	e.IMA = e.IMA[:len(e.IMA)-1] // the last line without its end
	r := attest.Appraise(e, d.want())
	accepted(t, r)
	if r.IMAState != nil {
		t.Errorf("can be continued: %+v", r.IMAState)
	}
}

// Entries that run ahead are counted when they are sent again.
func TestAheadIsCountedOnce(t *testing.T) {
	d := booted(t)
	e := d.evidence(t)
	covered := len(d.ima)
	d.file("/usr/bin/late", "late")
	e.IMA = d.ima
	r := attest.Appraise(e, d.want())
	accepted(t, r)
	if r.IMACovered != covered || r.IMA.Ahead != 1 || r.IMAState.Entries != 2 {
		t.Fatalf("%d bytes of %+v", r.IMACovered, r.IMA)
	}
	e = d.evidence(t)
	e.IMA, e.IMAFrom = d.ima[r.IMACovered:], r.IMAState
	r = attest.Appraise(e, d.want())
	accepted(t, r)
	if r.IMA.Entries != 3 || r.IMA.Ahead != 0 || r.IMACovered != len(e.IMA) {
		t.Errorf("%+v", r.IMA)
	}
}

// TestAttack_Q7_ClockOfTheQuote: what the clock says against the last one is a
// finding, in evidence that holds all the same.
func TestAttack_Q7_ClockOfTheQuote(t *testing.T) {
	d := booted(t)
	want := d.want()
	first := attest.Appraise(d.evidence(t), want)
	accepted(t, first)
	if first.ClockProblems != nil {
		t.Errorf("against nothing: %+v", first.ClockProblems)
	}
	want.LastClock = *first.Clock
	if r := attest.Appraise(d.evidence(t), want); r.ClockProblems != nil || !r.Verified {
		t.Errorf("the same moment: %+v", r.ClockProblems)
	}
	want.LastClock.ResetCount++
	r := attest.Appraise(d.evidence(t), want)
	accepted(t, r)
	if len(r.ClockProblems) != 1 || r.ClockProblems[0].Code != attest.CodeResetCountWentBack {
		t.Errorf("%+v", r.ClockProblems)
	}
	e := d.evidence(t)
	e.Signature = nil
	if r := attest.Appraise(e, want); r.ClockProblems != nil {
		t.Errorf("a clock that nobody signed: %+v", r.ClockProblems)
	}
}
