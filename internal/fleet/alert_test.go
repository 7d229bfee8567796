package fleet_test

import (
	"slices"
	"testing"
	"time"

	"troth/internal/fleet"
)

func control(name string, o fleet.Outcome) fleet.Control {
	return fleet.Control{ID: name, Title: "Title of " + name, Severity: fleet.High, Outcome: o, Reason: name + " is " + string(o)}
}

func posture(controls ...fleet.Control) fleet.Posture {
	return fleet.Posture{Device: id("a"), Verdict: fleet.Noncompliant, Controls: controls}
}

// reconcile applies what ReconcileControls returns to the open alerts and says
// what it did.
func reconcile(open []fleet.Alert, p fleet.Posture, now time.Time) (after []fleet.Alert, did []string) {
	after = slices.Clone(open)
	for _, a := range fleet.ReconcileControls(open, fleet.Device{ID: id("a")}, p, now) {
		did = append(did, string(a.State)+" "+a.Key)
		after = slices.DeleteFunc(after, func(b fleet.Alert) bool { return b.ID == a.ID })
		if a.State != fleet.AlertResolved {
			after = append(after, a)
		}
	}
	slices.Sort(did)
	return after, did
}

// One story of one device, told in postures.
func TestReconcileControls(t *testing.T) {
	soon := now.Add(time.Hour)
	grace := control("patch", fleet.Fail)
	grace.EnforcedAt = &soon
	story := []struct {
		name    string
		posture fleet.Posture
		want    []string
	}{
		{"all is well", posture(control("boot", fleet.Pass), control("ima", fleet.NotApplicable)), nil},
		{"one fails", posture(control("boot", fleet.Fail)), []string{"open control:boot"}},
		{"it keeps failing", posture(control("boot", fleet.Fail)), nil},
		{"errors that follow from it add nothing", posture(control("boot", fleet.Fail), control("version", fleet.Errored)), nil},
		{"another one fails", posture(control("boot", fleet.Fail), control("ima", fleet.Fail)), []string{"open control:ima"}},
		{"what cannot be decided has not passed", posture(control("boot", fleet.Fail), control("ima", fleet.Errored)), nil},
		{"one passes again", posture(control("boot", fleet.Fail), control("ima", fleet.Pass)), []string{"resolved control:ima"}},
		{"in grace it does not count", posture(control("boot", fleet.Pass), grace), []string{"resolved control:boot"}},
		{"an error alone counts", posture(control("version", fleet.Errored)), []string{"open control:version"}},
		{"a control that policy dropped", posture(), []string{"resolved control:version"}},
	}
	var open []fleet.Alert
	for i, step := range story {
		var did []string
		open, did = reconcile(open, step.posture, now.Add(time.Duration(i)*time.Second))
		if !slices.Equal(did, step.want) {
			t.Errorf("%s: %v, want %v", step.name, did, step.want)
		}
	}
	if len(open) != 0 {
		t.Errorf("left open: %+v", open)
	}
}

func TestGraceRunsOut(t *testing.T) {
	soon := now.Add(time.Hour)
	c := control("patch", fleet.Fail)
	c.EnforcedAt = &soon
	if _, did := reconcile(nil, posture(c), soon.Add(-1)); len(did) != 0 {
		t.Errorf("in grace: %v", did)
	}
	if _, did := reconcile(nil, posture(c), soon); !slices.Equal(did, []string{"open control:patch"}) {
		t.Errorf("grace is over: %v", did)
	}
}

func TestAcceptedPostureEndsSilence(t *testing.T) {
	open := []fleet.Alert{
		{ID: "1", Subject: string(id("a")), Key: fleet.KeySilent, State: fleet.AlertOpen},
		{ID: "2", Subject: string(id("a")), Key: fleet.KeyEvidenceRefused, State: fleet.AlertAcknowledged},
		{ID: "3", Subject: string(id("a")), Key: "something_else", State: fleet.AlertOpen},
	}
	after, did := reconcile(open, posture(control("boot", fleet.Pass)), now)
	if !slices.Equal(did, []string{"resolved " + fleet.KeyEvidenceRefused, "resolved " + fleet.KeySilent}) || len(after) != 1 {
		t.Errorf("did %v, left %+v", did, after)
	}
}

func TestRaise(t *testing.T) {
	cause := fleet.Alert{Subject: "s", Key: "k", Title: "T", Severity: fleet.Low, Reason: "first"}
	first := fleet.Raise(nil, cause, now)
	if first.ID == "" || first.State != fleet.AlertOpen || first.Count != 1 || !first.OpenedAt.Equal(now) {
		t.Fatalf("raised %+v", first)
	}
	seen, err := first.Acknowledge("ada", now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	cause.Reason, cause.Severity = "second", fleet.Critical
	again := fleet.Raise([]fleet.Alert{seen}, cause, now.Add(time.Hour))
	if again.ID != first.ID || again.Count != 2 || again.State != fleet.AlertAcknowledged || again.AcknowledgedBy != "ada" ||
		again.Reason != "second" || again.Severity != fleet.Critical || !again.OpenedAt.Equal(now) || !again.LastAt.Equal(now.Add(time.Hour)) {
		t.Errorf("raised again: %+v", again)
	}
	others := []fleet.Alert{again.Resolve(now), {ID: "x", Subject: "s", Key: "other"}, {ID: "y", Subject: "other", Key: "k"}}
	if fresh := fleet.Raise(others, cause, now); slices.ContainsFunc(others, func(a fleet.Alert) bool { return a.ID == fresh.ID }) || fresh.Count != 1 {
		t.Errorf("raised %+v, want a new alert beside %+v", fresh, others)
	}
}

func TestAcknowledge(t *testing.T) {
	open := fleet.Alert{ID: "1", State: fleet.AlertOpen}
	seen, err := open.Acknowledge("ada", now)
	if err != nil || seen.State != fleet.AlertAcknowledged || seen.AcknowledgedBy != "ada" {
		t.Fatalf("%+v, %v", seen, err)
	}
	if twice, err := seen.Acknowledge("bob", now.Add(1)); err != nil || twice.AcknowledgedBy != "ada" {
		t.Errorf("the second to see it: %+v, %v", twice, err)
	}
	once := fleet.Alert{ID: "2", Key: fleet.KeyNewKeys, State: fleet.AlertOpen}
	if over, err := once.Acknowledge("ada", now); err != nil || over.State != fleet.AlertResolved || over.AcknowledgedBy != "ada" {
		t.Errorf("what happened once and was seen: %+v, %v", over, err)
	}
	if _, err := seen.Resolve(now).Acknowledge("bob", now); fleet.CodeOf(err) != "alert_resolved" {
		t.Errorf("a resolved alert: %v", err)
	}
}
