package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/store"
)

// id is a device id that sorts by n.
func id(n int) fleet.DeviceID { return fleet.DeviceID(fmt.Sprintf("%064x", n)) }

func device(n int) fleet.Device {
	d := fill[fleet.Device](n)
	d.ID, d.Name, d.Model = id(n), fmt.Sprintf("device-%d", n), "model-a"
	d.Lifecycle, d.Verdict, d.Revision = fleet.Active, fleet.Compliant, 0
	return d
}

func alert(name, subject, key string) fleet.Alert {
	a := fill[fleet.Alert](7)
	a.ID, a.Subject, a.Key, a.State, a.Revision = name, subject, key, fleet.AlertOpen, 0
	return a
}

func rollout(name, model, version string, state fleet.RolloutState) fleet.Rollout {
	r := fill[fleet.Rollout](8)
	r.ID, r.Model, r.Version, r.State, r.Revision = name, model, version, state, 0
	return r
}

func certificate(name string, d fleet.DeviceID) fleet.Certificate {
	c := fill[fleet.Certificate](9)
	c.ID, c.Device, c.State, c.Serial, c.EndedAt = name, d, fleet.CertificateIntended, "", epoch
	c.Authority.ConfirmedAt = time.Time{}
	return c
}

// bundle is a policy bundle that nobody has pushed yet.
func bundle(counter uint64, state fleet.BundleState) fleet.Bundle {
	b := fill[fleet.Bundle](25)
	b.ID, b.Counter, b.State, b.ShadowBy, b.Revision = fmt.Sprint(counter), counter, state, "", 0
	return b
}

func token(name string, role fleet.Role) fleet.Token {
	sum := sha256.Sum256([]byte(name))
	return fleet.Token{ID: name, Operator: "op", Role: role, SHA256: sum[:], CreatedAt: epoch, ExpiresAt: epoch.AddDate(1, 0, 0)}
}

func blob(content string) fleet.Blob {
	sum := sha256.Sum256([]byte(content))
	return fleet.Blob{Digest: hex.EncodeToString(sum[:]), Content: []byte(content)}
}

// background is what the store holds before wholeChange.
func background() []fleet.Change {
	spent := token("spent", fleet.RoleBootstrap)
	old := certificate("cert-old", id(1))
	issued := old
	issued.State, issued.Serial = fleet.CertificateIssued, "01"
	ended := certificate("cert-ended", id(2))
	ended.State, ended.Serial = fleet.CertificateInDoubt, "03"
	return []fleet.Change{
		{
			Devices: []fleet.Device{device(1)}, Certificates: []fleet.Certificate{old, certificate("cert-ended", id(2))},
			Alerts: []fleet.Alert{alert("alert-old", string(id(1)), "silent")}, Tokens: []fleet.Token{spent},
		},
		{Certificates: []fleet.Certificate{issued, certificate("cert-new", id(1)), ended}},
	}
}

// wholeChange touches everything a change can touch, on top of background.
func wholeChange() fleet.Change {
	changed, posture := device(1), fill[fleet.Posture](20)
	changed.Revision, changed.Lifecycle = 1, fleet.Quarantined
	posture.Device = id(1)
	progress := fill[fleet.Progress](24)
	progress.Device = id(1)
	issued := certificate("cert-new", id(1))
	issued.State, issued.Serial, issued.EndedAt = fleet.CertificateIssued, "02", epoch
	confirmed := certificate("cert-ended", id(2))
	confirmed.Authority.ConfirmedAt = epoch
	resolved := alert("alert-old", string(id(1)), "silent").Resolve(epoch)
	resolved.Revision = 1
	roll := rollout("rollout-1", "model-a", "2.0", fleet.RolloutRunning)
	spent := token("spent", fleet.RoleBootstrap)
	spent.UsedAt = epoch
	decision := fill[fleet.Decision](21)
	decision.Device = id(1)
	counted := fill[fleet.Decision](25)
	counted.Device = id(1)
	event := fill[fleet.Event](22)
	event.Subject = string(id(1))
	return fleet.Change{
		Devices: []fleet.Device{device(2), changed}, Posture: &posture, Progress: &progress, Decisions: []fleet.Decision{decision}, Counted: []fleet.Decision{counted},
		Blobs: []fleet.Blob{blob("one"), blob("two")}, Certificates: []fleet.Certificate{issued, certificate("cert-next", id(2))},
		Revocations: []fleet.Certificate{confirmed}, RotateKeys: id(1), FirstUse: &issued,
		RevokeOthers: &issued, Restrict: id(1), RevokeAll: id(1),
		Alerts:  []fleet.Alert{alert("alert-new", string(id(1)), "silent"), resolved},
		Rollout: &roll, Members: []fleet.Member{{Rollout: roll.ID, Device: id(1), State: fleet.MemberPending}, {Rollout: roll.ID, Device: id(2), State: fleet.MemberPending}},
		Manufacturers: []fleet.Manufacturer{fill[fleet.Manufacturer](23)},
		Tokens:        []fleet.Token{spent, token("api", fleet.RoleAdmin)},
		Bundles:       []fleet.Bundle{bundle(7, fleet.BundleVerified)}, Replica: &fleet.Replica{ID: "r", Bundle: "7", At: epoch},
		ShadowCounts: []fleet.ShadowCount{{Bundle: "7", Replica: "r", Decided: 1}}, ShadowDevices: []fleet.ShadowDevice{{Bundle: "7", Device: id(1), At: epoch}},
		Import: &fleet.Import{At: epoch, Records: []fleet.Vulnerability{vulnerability("A-1", []string{"CVE-1"}, []string{"npm/x"})}}, Events: []fleet.Event{event},
	}
}

// Contents is all that the public reads show of a store in which background and
// wholeChange may have been written.
type contents struct {
	Devices       []fleet.Device
	Postures      map[fleet.DeviceID]fleet.Posture
	Progress      []fleet.Progress
	Decisions     []fleet.Decision
	Blobs         []bool
	Certificates  [][]fleet.Certificate
	Alerts        []fleet.Alert
	Rollouts      []fleet.Rollout
	Members       []fleet.Member
	Manufacturers []fleet.Manufacturer
	Tokens        []fleet.Token
	Events        []fleet.Event
	Bundles       []fleet.Bundle
	Replicas      []fleet.Replica
	ShadowCounts  []fleet.ShadowCount
	ShadowDevices []fleet.ShadowDevice
	Vulnerable    []fleet.Vulnerability
}

func read(t testing.TB, s *store.Store) contents {
	t.Helper()
	ctx := context.Background()
	c := contents{
		Devices:       get[[]fleet.Device](t)(s.Devices(ctx, fleet.DeviceFilter{})),
		Postures:      get[map[fleet.DeviceID]fleet.Posture](t)(s.Postures(ctx, []fleet.DeviceID{id(1), id(2)})),
		Decisions:     get[[]fleet.Decision](t)(s.Decisions(ctx, id(1), 0)),
		Alerts:        get[[]fleet.Alert](t)(s.Alerts(ctx, fleet.AlertFilter{})),
		Rollouts:      get[[]fleet.Rollout](t)(s.Rollouts(ctx, fleet.RolloutFilter{})),
		Members:       get[[]fleet.Member](t)(s.Members(ctx, "rollout-1")),
		Manufacturers: get[[]fleet.Manufacturer](t)(s.Manufacturers(ctx)),
		Tokens:        get[[]fleet.Token](t)(s.Tokens(ctx)),
		Events:        get[[]fleet.Event](t)(s.Events(ctx, "", 0)),
		Vulnerable:    get[[]fleet.Vulnerability](t)(s.Vulnerabilities(ctx, fleet.VulnerabilityFilter{})),
		Bundles:       get[[]fleet.Bundle](t)(s.Bundles(ctx)),
		Replicas:      get[[]fleet.Replica](t)(s.Replicas(ctx, epoch)),
		ShadowCounts:  get[[]fleet.ShadowCount](t)(s.ShadowCounts(ctx, "7")),
		ShadowDevices: get[[]fleet.ShadowDevice](t)(s.ShadowDevices(ctx, "7", 0)),
	}
	for _, b := range wholeChange().Blobs {
		c.Blobs = append(c.Blobs, get[bool](t)(s.HasBlob(ctx, b.Digest)))
	}
	for _, d := range []fleet.DeviceID{id(1), id(2)} {
		c.Certificates = append(c.Certificates, get[[]fleet.Certificate](t)(s.Certificates(ctx, d)))
		if p, err := s.Progress(ctx, d); !fleet.IsKind(err, fleet.NotFound) {
			c.Progress = append(c.Progress, get[fleet.Progress](t)(p, err))
		}
	}
	return c
}

// Populate writes rows of every kind but enrolments into an empty store.
func Populate(t testing.TB, s *store.Store) {
	t.Helper()
	for _, c := range append(background(), wholeChange()) {
		apply(t, s, c)
	}
}

// Contents is what the reads of a store show after Populate, as JSON.
func Contents(t testing.TB, s *store.Store) []byte {
	t.Helper()
	text, err := json.MarshalIndent(read(t, s), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// Missing names what is in contents, as an earlier Contents returned it, and is
// not what the store shows now. Fields that contents does not know do not count.
func Missing(t testing.TB, s *store.Store, contents []byte) []string {
	t.Helper()
	var got, want any
	if err := errors.Join(json.Unmarshal(Contents(t, s), &got), json.Unmarshal(contents, &want)); err != nil {
		t.Fatal(err)
	}
	return missing("", got, want)
}

func missing(at string, got, want any) (names []string) {
	switch w := want.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		for key, v := range w {
			names = append(names, missing(at+"."+key, g[key], v)...)
		}
	case []any:
		g, _ := got.([]any)
		if len(g) != len(w) {
			return []string{at}
		}
		for i, v := range w {
			names = append(names, missing(fmt.Sprintf("%s[%d]", at, i), g[i], v)...)
		}
	default:
		if got != want {
			return []string{at}
		}
	}
	return names
}
