package bundle_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"troth/internal/bundle"
	"troth/internal/fleet"
	"troth/policy"
)

// From the push to every replica, over two persons, and back again.
func TestLife(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	one, first := r.replica()
	two, second := r.replica()
	base := first.Digest()
	content := pack(t, changed(map[string]string{"troth/posture/own.rego": control("ours", `ours := lib.pass("It is so.")`)}))
	b, err := one.Push(ctx, r.shelf.put(7, content), "ada")
	if err != nil || b.State != fleet.BundleVerified || b.Checks.Tests != 1 || b.Checks.Controls == 0 {
		t.Fatalf("%+v, %v", b, err)
	}
	_, err = one.Activate(ctx, "7", "bob")
	code(t, err, "policy_state")
	_, err = one.Approve(ctx, "7", "Ada")
	code(t, err, "second_person_needed")
	r.now = r.now.Add(time.Second)
	if _, err = two.Approve(ctx, "7", "bob"); err != nil {
		t.Fatal(err)
	}
	if first.Digest() != base {
		t.Error("an approval alone changed what decides")
	}
	r.now = r.now.Add(time.Second)
	if _, err = one.Activate(ctx, "7", "ada"); err != nil {
		t.Fatal(err)
	}
	if first.Digest() != b.Policy || second.Digest() != base {
		t.Errorf("at once in the one replica: %s, %s", first.Digest(), second.Digest())
	}
	if err := two.Sync(ctx); err != nil || second.Digest() != b.Policy {
		t.Errorf("in the other: %s, %v", second.Digest(), err)
	}
	if _, third := r.replica(); third.Digest() != b.Policy {
		t.Error("a replica that starts decides by something else than what is active")
	}

	r.now = r.now.Add(time.Minute)
	_, err = one.Activate(ctx, fleet.BaseBundle, "bob")
	code(t, err, "policy_state")
	if _, err = one.Rollback(ctx, fleet.BaseBundle, "bob", "it was better"); err != nil {
		t.Fatal(err)
	}
	_, err = one.Approve(ctx, fleet.BaseBundle, "bob")
	code(t, err, "second_person_needed")
	if _, err = one.Approve(ctx, fleet.BaseBundle, "ada"); err != nil {
		t.Fatal(err)
	}
	if _, err = two.Activate(ctx, fleet.BaseBundle, "bob"); err != nil || second.Digest() != base {
		t.Fatalf("back: %s, %v", second.Digest(), err)
	}
	if err := one.Sync(ctx); err != nil || first.Digest() != base {
		t.Errorf("back in the other: %s, %v", first.Digest(), err)
	}
	var said []string
	events, err := r.store.Events(ctx, "policy:7", 0)
	for _, e := range events {
		said = append(said, e.Actor+" "+e.Action)
	}
	slices.Sort(said)
	if got := strings.Join(said, ", "); err != nil || got != "ada policy.activate, ada policy.push, bob policy.approve, system policy.verify" {
		t.Errorf("the trail says: %s", got)
	}
}

// Each of these is refused with words that help its author; the active bundle goes
// on deciding, and people are told.
func TestAttack_P4_BundlesThatDoNotPass(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	s, current := r.replica()
	before := current.Digest()
	counter := uint64(0)
	endless := `ours := lib.pass("done") if {
	some a in numbers.range(1, 100000)
	some b in numbers.range(1, 100000)
	a * b == -1
} else := lib.fail("not")`
	for name, row := range map[string]struct {
		files map[string]string
		says  string
	}{
		"runtime conflict":   {map[string]string{"troth/access/access.rego": "package troth.access\n\ndecision := {\"allow\": true, \"code\": \"\", \"reason\": r} if r := pick(input)\n\npick(_) := \"a\" if true\n\npick(_) := \"b\" if true\n"}, "conflict"},
		"endless evaluation": {map[string]string{"troth/posture/own.rego": control("ours", endless)}, "in time"},
		"wrong type":         {map[string]string{"troth/access/access.rego": "package troth.access\n\ndecision := {\"allow\": \"yes\", \"code\": \"\", \"reason\": \"r\"}\n"}, "allow"},
		"allow that denies":  {map[string]string{"troth/access/access.rego": "package troth.access\n\ndecision := {\"allow\": true, \"code\": \"no\", \"reason\": \"r\"}\n"}, "contradicts"},
		"control undefined":  {map[string]string{"troth/posture/own.rego": control("ours", `ours := lib.pass("It is so.") if input.reported.ours == true`)}, "ours"},
		"failing test":       {map[string]string{"troth/own_test.rego": "package troth.own_test\n\ntest_it if 1 == 2\n"}, "troth/own_test.rego:3 test_it fail"},
		"skipped test":       {map[string]string{"troth/own_test.rego": "package troth.own_test\n\ntodo_test_it if 1 == 1\n"}, "1 were skipped"},
		"no tests":           {map[string]string{"troth/own_test.rego": ""}, "no tests"},
		"compile error":      {map[string]string{"troth/posture/own.rego": "package troth.posture\n\nx := undeclared\n"}, "undeclared"},
		"stripped built-in":  {map[string]string{"troth/posture/own.rego": "package troth.posture\n\nx := http.send({\"url\": \"https://example.com\", \"method\": \"get\"})\n"}, "http.send"},
		"test that reaches":  {map[string]string{"troth/own_test.rego": "package troth.own_test\n\ntest_it if http.send({\"url\": \"https://example.com\", \"method\": \"get\"}).status_code\n"}, "http.send"},
		"a document is gone": {map[string]string{"troth/access/access.rego": ""}, "data.troth.access.decision"},
		"two rules decide":   {map[string]string{"troth/access/more.rego": "package troth.access\n\ndecision := {\"allow\": false, \"code\": \"no\", \"reason\": \"r\"}\n"}, "data.troth.access.decision is to be one rule"},
		"control without id": {map[string]string{"troth/posture/own.rego": "package troth.posture\n\ncontrols contains {\"id\": \"x\"}\n"}, "METADATA"},
	} {
		t.Run(name, func(t *testing.T) {
			counter++
			b, err := s.Push(ctx, r.shelf.put(counter, pack(t, changed(row.files))), "ada")
			code(t, err, "policy_refused")
			if b.State != fleet.BundleRefused || !strings.Contains(err.Error(), row.says) || b.Reason == "" {
				t.Errorf("%s: %v, want one that says %q", b.State, err, row.says)
			}
			if current.Digest() != before {
				t.Error("what decides has changed")
			}
			open, alertErr := r.store.Alerts(ctx, fleet.AlertFilter{Subject: b.Subject(), Key: fleet.KeyPolicyRefused, Open: true})
			if alertErr != nil || len(open) != 1 {
				t.Errorf("alerts %v, %v", open, alertErr)
			}
			_, err = s.Approve(ctx, b.ID, "bob")
			code(t, err, "policy_state")
		})
	}
	if d, err := current.Operator(ctx, policy.OperatorInput{Operator: "ada", Role: "admin", Action: "device.list"}); err != nil || !d.Allow {
		t.Errorf("the active bundle does not decide any more: %v", err)
	}
}

func TestAttack_P3_ArchivesThatAreRefused(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	s, current := r.replica()
	before, counter := current.Digest(), uint64(0)
	roots := [2]string{".manifest", `{"roots": ["troth"]}`}
	module := [2]string{"troth/a.rego", "package troth.a\n\nx := 1\n"}
	for name, row := range map[string]struct {
		content []byte
		says    string
	}{
		"no archive":        {[]byte("not an archive"), "no gzip file"},
		"syntax error":      {raw(t, roots, [2]string{"troth/a.rego", "package troth.a\n\nx := {\n"}), "troth/a.rego:"},
		"outside its roots": {raw(t, roots, module, [2]string{"other/b.rego", "package other.b\n\nx := 1\n"}), "package other.b is outside of the declared roots troth"},
		"undeclared roots":  {raw(t, [2]string{".manifest", "{}"}, module), "roots are not declared"},
		"no manifest":       {raw(t, module), "roots of a bundle are declared"},
		"delta":             {raw(t, roots, module, [2]string{"patch.json", "{}"}), "delta bundle"},
		"100 MB of data":    {raw(t, roots, module, [2]string{"troth/data.json", `{"a": "` + strings.Repeat("a", 100<<20) + `"}`}), "bytes"},
	} {
		counter++
		b, err := s.Push(ctx, r.shelf.put(counter, row.content), "ada")
		if fleet.CodeOf(err) != "policy_refused" || !strings.Contains(err.Error(), row.says) || b.State != fleet.BundleRefused || current.Digest() != before {
			t.Errorf("%s: %s, %v; want one that says %q", name, b.State, err, row.says)
		}
	}
}

func TestAttack_P3_UnsignedAndOlderBundles(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	s, current := r.replica()
	before := current.Digest()
	_, err := s.Push(ctx, "policies/nobody-signed-this", "ada")
	code(t, err, "policy_unsigned")
	good := pack(t, changed(nil))
	if _, err := s.Push(ctx, r.shelf.put(7, good), "ada"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Push(ctx, "policies/fleet-7", "ada")
	code(t, err, "policy_known")
	_, err = s.Push(ctx, r.shelf.put(6, good), "ada")
	code(t, err, "policy_older")
	if !strings.Contains(err.Error(), "rollback") || current.Digest() != before {
		t.Errorf("%v", err)
	}
	open, err := r.store.Alerts(ctx, fleet.AlertFilter{Key: fleet.KeyPolicyRefused, Open: true})
	if err != nil || len(open) != 2 {
		t.Errorf("alerts %+v, %v", open, err)
	}
}

// A refused bundle may pass another time, unchanged: the machine may have been busy.
func TestPushAgain(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	name := r.shelf.put(7, pack(t, changed(nil)))
	hasty, err := bundle.New(ctx, bundle.Config{Store: r.store, Source: r.shelf, Current: &policy.Current{}, Base: changed(nil), Now: func() time.Time { return r.now }, Deadline: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	_, err = hasty.Push(ctx, name, "ada")
	code(t, err, "policy_refused")
	if !strings.Contains(err.Error(), "was not through its examination") {
		t.Error(err)
	}
	s, _ := r.replica()
	if b, err := s.Push(ctx, name, "eve"); err != nil || b.ProposedBy != "eve" {
		t.Fatalf("%+v, %v", b, err)
	}
	if open, err := r.store.Alerts(ctx, fleet.AlertFilter{Open: true}); err != nil || len(open) != 0 {
		t.Errorf("the alert is still open: %+v, %v", open, err)
	}
}

func TestAttack_P4_MemoryIsCapped(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	s, err := bundle.New(ctx, bundle.Config{
		Store: r.store, Source: r.shelf, Current: &policy.Current{}, Base: changed(nil), Now: func() time.Time { return r.now }, Memory: 32 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	hungry := control("ours", `ours := lib.pass(sprintf("%d", [count(all)])) if {
	all := [s | some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); s := sprintf("%d-%d", [a, b])]
} else := lib.fail("not")`)
	_, err = s.Push(ctx, r.shelf.put(7, pack(t, changed(map[string]string{"troth/posture/own.rego": hungry}))), "ada")
	code(t, err, "policy_refused")
	if !strings.Contains(err.Error(), "memory") && !strings.Contains(err.Error(), "in time") {
		t.Error(err)
	}
}

// A replica that cannot load what is active goes on with what it has, and says so;
// one that starts does not start.
func TestAttack_P4_LastKnownGood(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	s, current := r.replica()
	before := current.Digest()
	r.approved(s, 7, pack(t, changed(nil)))
	b, err := r.store.Bundle(ctx, "7")
	if err != nil {
		t.Fatal(err)
	}
	active, err := r.store.ActiveBundle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b.Policy = strings.Repeat("0", 64) // as if another program had verified it
	next, ended, err := b.Activate(active, "bob", r.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.store.Apply(ctx, fleet.Change{Bundles: []fleet.Bundle{next, ended}}); err != nil {
		t.Fatal(err)
	}
	code(t, s.Sync(ctx), "policy_refused")
	if current.Digest() != before {
		t.Error("it did not keep what it had")
	}
	open, err := r.store.Alerts(ctx, fleet.AlertFilter{Key: fleet.KeyPolicyDiffers, Open: true})
	if err != nil || len(open) != 1 || !strings.Contains(open[0].Reason, "bundle base") {
		t.Errorf("alerts %+v, %v", open, err)
	}
	fresh, err := bundle.New(ctx, bundle.Config{Store: r.store, Source: r.shelf, Current: &policy.Current{}, Base: changed(nil), Now: func() time.Time { return r.now }})
	if err != nil {
		t.Fatal(err)
	}
	code(t, fresh.Start(ctx), "policy_refused")

	// The way out, on the service's machine.
	if was, err := bundle.UseBase(ctx, r.store, r.now); err != nil || was != "7" {
		t.Fatal(was, err)
	}
	if err := fresh.Start(ctx); err != nil {
		t.Error(err)
	}
	r.now = r.now.Add(time.Minute)
	if err := s.Sync(ctx); err != nil {
		t.Error(err)
	}
	if open, err := r.store.Alerts(ctx, fleet.AlertFilter{Key: fleet.KeyPolicyDiffers, Open: true}); err != nil || len(open) != 0 {
		t.Errorf("the alert is still open: %+v, %v", open, err)
	}
}

// Replicas with other base bundles decide differently: an upgrade under way, or a
// directory that is not the same everywhere.
func TestReplicasThatDiffer(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	one, _ := r.replica()
	r.now = r.now.Add(time.Second)
	r.replicaOf(changed(map[string]string{"troth/posture/own.rego": control("ours", `ours := lib.pass("It is so.")`)}))
	open, err := r.store.Alerts(ctx, fleet.AlertFilter{Key: fleet.KeyPolicyDiffers, Open: true})
	if err != nil || len(open) != 1 {
		t.Fatalf("alerts %+v, %v", open, err)
	}
	r.now = r.now.Add(40 * time.Second) // the other one is gone
	if err := one.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if open, err := r.store.Alerts(ctx, fleet.AlertFilter{Key: fleet.KeyPolicyDiffers, Open: true}); err != nil || len(open) != 0 {
		t.Errorf("alerts %+v, %v", open, err)
	}
}

func TestShadow(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	s, current := r.replica()
	before := current.Digest()
	stern := changed(map[string]string{"troth/posture/own.rego": control("ours", `ours := lib.fail("It is not so.")`)})
	if _, err := s.Push(ctx, r.shelf.put(7, pack(t, stern)), "ada"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Shadow(ctx, "7", "ada", true); err != nil {
		t.Fatal(err)
	}
	decide := func(id string) {
		in := policy.PostureInput{Now: r.now, Device: policy.DeviceInput{ID: id, Name: id}}
		if d, err := s.Posture(ctx, in); err != nil || d.Policy != before {
			t.Fatalf("decided by %s, %v", d.Policy, err)
		}
	}
	decide("a")
	decide("b")
	decide("a")
	var got bundle.ShadowReport
	for deadline := time.Now().Add(10 * time.Second); got.Count.Decided < 3 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err := s.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		var err error
		if got, err = s.Differences(ctx, "7", 10); err != nil {
			t.Fatal(err)
		}
	}
	if got.Count.Decided != 3 || got.Count.Differing != 3 || got.Count.Failed != 0 || len(got.Devices) != 2 {
		t.Fatalf("%+v", got)
	}
	d := got.Devices[0]
	if d.Device != "a" || len(d.Changes) != 1 || d.Changes[0].ID != "ours" || d.Changes[0].After != fleet.Fail || d.Changes[0].AfterReason != "It is not so." {
		t.Errorf("%+v", d)
	}
	if _, err := s.Shadow(ctx, "7", "ada", false); err != nil {
		t.Fatal(err)
	}
	decide("c")
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Differences(ctx, "7", 10); err != nil || got.Count.Decided != 3 {
		t.Errorf("it goes on: %+v, %v", got.Count, err)
	}
}

func TestCandidate(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	s, _ := r.replica()
	content := pack(t, changed(nil))
	if e, err := s.Candidate(ctx, "", content); err != nil || e.Digest() == "" {
		t.Error(err)
	}
	_, err := s.Candidate(ctx, "", []byte("no archive"))
	code(t, err, "policy_refused")
	_, err = s.Candidate(ctx, "12", nil)
	code(t, err, "policy_unknown")
	if e, err := s.Candidate(ctx, "active", nil); err != nil || e.Digest() == "" {
		t.Error(err)
	}
	if archived, err := s.Archive(ctx, fleet.BaseBundle); err != nil || len(archived) < 1000 {
		t.Error(len(archived), err)
	}
	if _, err := bundle.New(ctx, bundle.Config{Store: r.store, Base: fstest.MapFS{}}); err == nil {
		t.Error("a base that decides nothing was accepted")
	}
}
