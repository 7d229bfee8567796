package storetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/store"
)

// everyRead calls each reading method once.
func everyRead(ctx context.Context, s *store.Store) map[string]error {
	result := map[string]error{}
	note := func(name string, err error) { result[name] = err }
	note("Device", failure(s.Device(ctx, id(1))))
	note("Devices", failure(s.Devices(ctx, fleet.DeviceFilter{})))
	note("Overdue", failure(s.Overdue(ctx, epoch, 10)))
	note("Posture", failure(s.Posture(ctx, id(1))))
	note("Postures", failure(s.Postures(ctx, []fleet.DeviceID{id(1)})))
	note("Progress", failure(s.Progress(ctx, id(1))))
	note("Decision", failure(s.Decision(ctx, "d")))
	note("Decisions", failure(s.Decisions(ctx, id(1), 3)))
	note("DecisionLog", failure(s.DecisionLog(ctx, fleet.DecisionFilter{})))
	note("Blob", failure(s.Blob(ctx, blob("one").Digest)))
	note("HasBlob", failure(s.HasBlob(ctx, blob("one").Digest)))
	note("TakeEnrollment", failure(s.TakeEnrollment(ctx, "e")))
	note("Certificate", failure(s.Certificate(ctx, "c")))
	note("CertificateBySerial", failure(s.CertificateBySerial(ctx, "01")))
	note("Certificates", failure(s.Certificates(ctx, id(1))))
	note("Intents", failure(s.Intents(ctx, epoch)))
	note("LiveCertificates", failure(s.LiveCertificates(ctx, epoch)))
	note("ToRevoke", failure(s.ToRevoke(ctx, epoch, 10)))
	note("LongestToRevoke", failure(s.LongestToRevoke(ctx, epoch)))
	note("Succeeding", failure(s.Succeeding(ctx, epoch)))
	note("Feed", failure(s.Feed(ctx)))
	note("Vulnerabilities", failure(s.Vulnerabilities(ctx, fleet.VulnerabilityFilter{})))
	note("VulnerabilitiesWithID", failure(s.VulnerabilitiesWithID(ctx, []string{"v"})))
	nothing := func(fleet.Vulnerability) error { return nil }
	note("EachVulnerability", s.EachVulnerability(ctx, []string{"p"}, nothing))
	note("EachVulnerabilityNamed", s.EachVulnerabilityNamed(ctx, []string{"n"}, nothing))
	note("Running", failure(s.Running(ctx, "m")))
	note("Manufacturers", failure(s.Manufacturers(ctx)))
	note("Alert", failure(s.Alert(ctx, "a")))
	note("Alerts", failure(s.Alerts(ctx, fleet.AlertFilter{})))
	note("Rollout", failure(s.Rollout(ctx, "r")))
	note("Rollouts", failure(s.Rollouts(ctx, fleet.RolloutFilter{})))
	note("Members", failure(s.Members(ctx, "r")))
	_, _, err := s.Membership(ctx, id(1))
	note("Membership", err)
	note("TokenBySHA256", failure(s.TokenBySHA256(ctx, []byte{1})))
	note("Tokens", failure(s.Tokens(ctx)))
	note("Events", failure(s.Events(ctx, "", 1)))
	note("Bundle", failure(s.Bundle(ctx, "7")))
	note("Bundles", failure(s.Bundles(ctx)))
	note("ActiveBundle", failure(s.ActiveBundle(ctx)))
	note("ShadowBundle", failure(s.ShadowBundle(ctx)))
	note("Replicas", failure(s.Replicas(ctx, epoch)))
	note("ShadowCounts", failure(s.ShadowCounts(ctx, "7")))
	note("ShadowDevices", failure(s.ShadowDevices(ctx, "7", 10)))
	note("Replays", failure(s.Replays(ctx, "", 10)))
	note("ReplaysSince", failure(s.ReplaysSince(ctx, epoch, "", 10)))
	note("CountReplays", failure(s.CountReplays(ctx, time.Time{})))
	note("CountReplaysSince", failure(s.CountReplays(ctx, epoch)))
	return result
}

// failure is the error of a read, whatever else it answers.
func failure[T any](_ T, err error) error { return err }

// testReads: each read selects what it says, in the order it says.
func testReads(t *testing.T, database Database) {
	t.Run("nothing", func(t *testing.T) {
		lists := []string{"Devices", "Overdue", "Postures", "Decisions", "DecisionLog", "HasBlob", "Certificates", "Intents", "LiveCertificates", "ToRevoke", "Succeeding", "Manufacturers", "Alerts", "Rollouts", "Members", "Tokens", "Events",
			"Bundles", "ActiveBundle", "Replicas", "ShadowCounts", "ShadowDevices", "Replays", "ReplaysSince", "CountReplays", "CountReplaysSince",
			"Feed", "Vulnerabilities", "VulnerabilitiesWithID", "EachVulnerability", "EachVulnerabilityNamed", "Running"}
		for name, err := range everyRead(context.Background(), Open(t, database(t))) {
			if slices.Contains(lists, name) != (err == nil) || (err != nil && !errors.Is(err, fleet.ErrNotFound)) {
				t.Errorf("%s of an empty store: %v", name, err)
			}
		}
	})
	t.Run("devices", func(t *testing.T) { testDeviceFilter(t, database) })
	t.Run("overdue", func(t *testing.T) { testOverdue(t, database) })
	t.Run("alerts", func(t *testing.T) { testAlertFilter(t, database) })
	t.Run("rollouts", func(t *testing.T) { testRolloutFilter(t, database) })
	t.Run("membership", func(t *testing.T) { testMembership(t, database) })
	t.Run("decision log", func(t *testing.T) { testDecisionLog(t, database) })
	t.Run("newest first", func(t *testing.T) { testNewestFirst(t, database) })
	t.Run("intents", func(t *testing.T) { testIntents(t, database) })
	t.Run("many postures", func(t *testing.T) { testManyPostures(t, database) })
}

func testDeviceFilter(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	models, states := []string{"a", "b"}, []fleet.Lifecycle{fleet.Pending, fleet.Active, fleet.Quarantined, fleet.Retired}
	names := []string{"", "x", "it's 100%_"}
	labels := []map[string]string{
		nil, {"site": "lyon"}, {"line": "3", "site": "lyon"}, {"site": "Lyon"}, {"site": "lyons"}, {"web": "x", "website": "lyon"},
		{`a"site`: "lyon"}, {"a": `","site":"lyon`}, {"a": `,"site":"lyon"`}, {"a": "b", "site": "lyon", "z": "{}"}, {"lyon": "site"},
	}
	var c fleet.Change
	taken := map[string]bool{}
	for n := range 48 {
		d := device(n)
		d.ID = fleet.DeviceID(strings.Repeat(string("0123456789abcdef"[n%16]), 62) + string(id(n))[62:])
		d.Model, d.Lifecycle, d.Name = models[n%2], states[n/2%4], names[n%3]
		if d.Lifecycle != fleet.Retired {
			if taken[d.Name] {
				d.Name = ""
			}
			taken[d.Name] = true
		}
		d.Labels = labels[n%len(labels)]
		c.Devices = append(c.Devices, d)
	}
	apply(t, s, c)
	every := get[[]fleet.Device](t)(s.Devices(ctx, fleet.DeviceFilter{}))
	same(t, "all", len(every), len(c.Devices))
	if !slices.IsSortedFunc(every, func(a, b fleet.Device) int { return strings.Compare(string(a.ID), string(b.ID)) }) {
		t.Error("devices are not in the order of their ids")
	}
	for _, scope := range []fleet.Scope{{}, {"site": "lyon"}, {"site": "lyon", "line": "3"}, {"z": "{}"}, {"site": "%"}, {"site": ""}, {"line": "lyon"}} {
		for _, limit := range []int{0, 1, 3} {
			f := fleet.DeviceFilter{Scope: scope, After: every[3].ID, Limit: limit}
			same(t, scope.String(), get[[]fleet.Device](t)(s.Devices(ctx, f)), selectDevices(every, f))
		}
	}
	for _, model := range append(models, "", "c") {
		for _, lifecycle := range append(states, "", "%") {
			for _, name := range append(names, "%", "X") {
				for _, prefix := range []string{"", "0", "ff", "f0", string(every[7].ID), "F", "%", "g", string(every[7].ID) + "0"} {
					for _, after := range []fleet.DeviceID{"", every[0].ID, every[20].ID, every[47].ID} {
						for _, limit := range []int{0, 1, 3} {
							f := fleet.DeviceFilter{Model: model, Lifecycle: lifecycle, Name: name, IDPrefix: prefix, After: after, Limit: limit}
							same(t, "devices", get[[]fleet.Device](t)(s.Devices(ctx, f)), selectDevices(every, f))
							if t.Failed() {
								t.Fatalf("filter %+v", f)
							}
						}
					}
				}
			}
		}
	}
}

// selectDevices says the same as the store, without SQL.
func selectDevices(list []fleet.Device, f fleet.DeviceFilter) (found []fleet.Device) {
	for _, d := range list {
		if (f.Model == "" || f.Model == d.Model) && (f.Lifecycle == "" || f.Lifecycle == d.Lifecycle) && (f.Name == "" || f.Name == d.Name) &&
			strings.HasPrefix(string(d.ID), f.IDPrefix) && d.ID > f.After && f.Scope.Matches(d.Labels) && (f.Limit == 0 || len(found) < f.Limit) {
			found = append(found, d)
		}
	}
	return found
}

func testOverdue(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	at := func(n int, l fleet.Lifecycle, v fleet.Verdict, fresh time.Time) fleet.Device {
		d := device(n)
		d.Lifecycle, d.Verdict, d.FreshUntil = l, v, fresh
		return d
	}
	minute := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Minute) }
	apply(t, s, fleet.Change{Devices: []fleet.Device{
		at(1, fleet.Active, fleet.Compliant, minute(-1)),
		at(2, fleet.Quarantined, fleet.Noncompliant, minute(-3)),
		at(3, fleet.Active, fleet.Undecided, minute(-2)),
		at(4, fleet.Active, fleet.Compliant, time.Time{}), // believed by mistake, never fresh
		at(5, fleet.Active, fleet.Unknown, minute(-9)),
		at(6, fleet.Pending, fleet.Compliant, minute(-9)),
		at(7, fleet.Retired, fleet.Compliant, minute(-9)),
		at(8, fleet.Active, fleet.Compliant, epoch), // fresh at its last instant
		at(9, fleet.Active, fleet.Compliant, minute(1)),
	}})
	ids := func(limit int) (list []fleet.DeviceID) {
		for _, d := range get[[]fleet.Device](t)(s.Overdue(ctx, epoch, limit)) {
			list = append(list, d.ID)
		}
		return list
	}
	same(t, "overdue", ids(0), []fleet.DeviceID{id(4), id(2), id(3), id(1)})
	same(t, "the longest overdue", ids(2), []fleet.DeviceID{id(4), id(2)})
}

func testAlertFilter(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	add := func(name, subject string, minute int, state fleet.AlertState) {
		a := alert(name, subject, name)
		a.OpenedAt, a.State = epoch.Add(time.Duration(minute)*time.Minute), state
		apply(t, s, fleet.Change{Alerts: []fleet.Alert{a}})
	}
	add("a", "s", 1, fleet.AlertOpen)
	add("b", "s", 3, fleet.AlertResolved)
	add("c", "s", 2, fleet.AlertAcknowledged)
	add("d", "t", 2, fleet.AlertOpen)
	for _, row := range []struct {
		filter fleet.AlertFilter
		want   string
	}{
		{fleet.AlertFilter{}, "bdca"},
		{fleet.AlertFilter{Limit: 2}, "bd"},
		{fleet.AlertFilter{Open: true}, "dca"},
		{fleet.AlertFilter{Subject: "s"}, "bca"},
		{fleet.AlertFilter{Subject: "s", Open: true, Limit: 1}, "c"},
		{fleet.AlertFilter{Subject: "nobody"}, ""},
		{fleet.AlertFilter{Key: "c", Open: true}, "c"},
		{fleet.AlertFilter{Key: "b", Open: true}, ""},
		{fleet.AlertFilter{Key: "b"}, "b"},
	} {
		got := ""
		for _, a := range get[[]fleet.Alert](t)(s.Alerts(ctx, row.filter)) {
			got += a.ID
		}
		same(t, "alerts", got, row.want)
	}
}

func testRolloutFilter(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	for i, r := range []fleet.Rollout{
		rollout("a", "m", "1", fleet.RolloutCompleted), rollout("b", "m", "2", fleet.RolloutHalted), rollout("c", "n", "1", fleet.RolloutRunning),
	} {
		r.CreatedAt = epoch.Add(time.Duration(i) * time.Minute)
		apply(t, s, fleet.Change{Rollout: &r})
	}
	for _, row := range []struct {
		filter fleet.RolloutFilter
		want   string
	}{
		{fleet.RolloutFilter{}, "cba"},
		{fleet.RolloutFilter{Model: "m"}, "ba"},
		{fleet.RolloutFilter{Version: "1"}, "ca"},
		{fleet.RolloutFilter{Model: "m", Version: "1"}, "a"},
		{fleet.RolloutFilter{States: []fleet.RolloutState{fleet.RolloutRunning, fleet.RolloutHalted}}, "cb"},
		{fleet.RolloutFilter{Model: "n", States: []fleet.RolloutState{fleet.RolloutHalted}}, ""},
	} {
		got := ""
		for _, r := range get[[]fleet.Rollout](t)(s.Rollouts(ctx, row.filter)) {
			got += r.ID
		}
		same(t, "rollouts", got, row.want)
	}
}

func testMembership(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	for n, state := range []fleet.RolloutState{
		fleet.RolloutProposed, fleet.RolloutRunning, fleet.RolloutPaused, fleet.RolloutHalted, fleet.RolloutCompleted, fleet.RolloutAborted,
	} {
		in, out := device(2*n), device(2*n+1)
		r, later := rollout("now "+string(state), string(state), "2", state), rollout("later "+string(state), "not "+string(state), "2", fleet.RolloutRunning)
		later.CreatedAt = r.CreatedAt.Add(time.Second)
		apply(t, s, fleet.Change{Devices: []fleet.Device{in, out}, Rollout: &later, Members: []fleet.Member{{Rollout: later.ID, Device: in.ID}}})
		apply(t, s, fleet.Change{Rollout: &r, Members: []fleet.Member{{Rollout: r.ID, Device: in.ID, Wave: 3}}})
		want := later.ID
		if state.Open() {
			want = r.ID
		}
		got, m, err := s.Membership(ctx, in.ID)
		if err != nil || got.ID != want || m.Rollout != want || m.Device != in.ID {
			t.Errorf("in a rollout that is %s: %v, %v, %v", state, got.ID, m, err)
		}
		if _, _, err := s.Membership(ctx, out.ID); !errors.Is(err, fleet.ErrNotFound) {
			t.Errorf("a device in no rollout: %v", err)
		}
	}
}

func testNewestFirst(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	at := func(minute int) time.Time { return epoch.Add(time.Duration(minute) * time.Minute) }
	apply(t, s, fleet.Change{
		Events:    []fleet.Event{{ID: "z", At: at(2), Subject: "s"}, {ID: "a", At: at(2), Subject: "t"}, {ID: "m", At: at(2), Subject: "s"}},
		Decisions: []fleet.Decision{{ID: "z", Device: id(1), At: at(1)}, {ID: "a", Device: id(1), At: at(2)}, {ID: "m", Device: id(2), At: at(3)}},
	})
	apply(t, s, fleet.Change{Events: []fleet.Event{{ID: "old", At: at(1), Subject: "s"}}})
	events := func(subject string, limit int) (names []string) {
		for _, e := range get[[]fleet.Event](t)(s.Events(ctx, subject, limit)) {
			names = append(names, e.ID)
		}
		return names
	}
	same(t, "events", events("", 0), []string{"m", "a", "z", "old"})
	same(t, "events of a subject", events("s", 2), []string{"m", "z"})
	decisions := get[[]fleet.Decision](t)(s.Decisions(ctx, id(1), 0))
	same(t, "decisions", []string{decisions[0].ID, decisions[1].ID}, []string{"a", "z"})
	same(t, "last decision", get[[]fleet.Decision](t)(s.Decisions(ctx, id(1), 1)), decisions[:1])
}

func testIntents(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	for i, name := range []string{"b", "a", "gone"} {
		c := certificate(name, id(1))
		c.CreatedAt = epoch.Add(time.Duration(-i) * time.Minute)
		apply(t, s, fleet.Change{Certificates: []fleet.Certificate{c}})
	}
	gone := certificate("gone", id(1))
	gone.State = fleet.CertificateFailed
	apply(t, s, fleet.Change{Certificates: []fleet.Certificate{gone}})
	names := func(before time.Time) (list []string) {
		for _, c := range get[[]fleet.Certificate](t)(s.Intents(ctx, before)) {
			list = append(list, c.ID)
		}
		return list
	}
	same(t, "intents", names(epoch), []string{"a"})
	same(t, "later", names(epoch.Add(time.Microsecond)), []string{"a", "b"})
}

func testManyPostures(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	var ids []fleet.DeviceID
	for n := range 1201 {
		ids = append(ids, id(n))
	}
	for _, n := range []int{0, 499, 500, 1200} {
		apply(t, s, fleet.Change{Devices: []fleet.Device{device(n)}, Posture: &fleet.Posture{Device: id(n), Verdict: fleet.Compliant}})
	}
	same(t, "postures", len(get[map[fleet.DeviceID]fleet.Posture](t)(s.Postures(ctx, ids))), 4)
	same(t, "no postures", len(get[map[fleet.DeviceID]fleet.Posture](t)(s.Postures(ctx, nil))), 0)
}
