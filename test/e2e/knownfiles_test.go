package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/attest/attesttest"
	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/store"
	"troth/policies"
)

// listed is the release that says which files may run with it.
const listed = "1.2.0"

// tool is a file that it lists and that no boot opens.
var tool = attesttest.File{Path: "/usr/bin/tool", Content: []byte("tool")}

// publishListed has the command line publish the release with its allow-list, and
// waits until the service knows it.
func (s *service) publishListed(t testing.TB) {
	t.Helper()
	image, dir := attesttest.NewImage(model, listed), t.TempDir()
	pcrs := map[string]string{}
	for index, value := range attesttest.Reference(attesttest.PlatformFor(model), image) {
		pcrs[fmt.Sprint(index)] = fmt.Sprintf("%x", value)
	}
	var sums bytes.Buffer // as sha256sum prints them
	for _, f := range append(image.Files, tool) {
		fmt.Fprintf(&sums, "%x  .%s\n", sha256.Sum256(f.Content), f.Path)
	}
	for name, content := range map[string][]byte{
		"image": image.Bytes(), "files.txt": sums.Bytes(),
		"reference.json": must(json.Marshal(map[string]any{"bank": "sha256", "pcrs": pcrs}))(t),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bin := must(programs())(t)
	eventually(t, 10*time.Second, "the release is published", func() (string, bool) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "troth"), "firmware", "publish", filepath.Join(dir, "image"),
			"--repo", s.path("data", "tuf"), "--keys", s.path("data", "tuf-keys"), "--name", model+"/"+listed+".img",
			"--model", model, "--version", listed, "--counter", "2",
			"--reference", filepath.Join(dir, "reference.json"), "--ima-allow-list", filepath.Join(dir, "files.txt"))
		cmd.Env = []string{"TROTH_CONFIG=" + filepath.Join(dir, "config.yaml")} // knows no server
		out, err := cmd.CombinedOutput()
		return string(out), err == nil // it fails while the service re-signs
	})
	eventually(t, 10*time.Second, "the service knows the release", func() (string, bool) {
		var list api.ReleaseList
		s.get(t, api.PathReleases, &list)
		return fmt.Sprint(list), len(list.Releases) == 2
	})
}

// mustShow checks in from a version of the firmware, and requires the verdict for
// what ran.
func (a *attacker) mustShow(version, verdict string) {
	a.t.Helper()
	out := must(a.checkIn(func(v *visit) {
		v.Reported = edited(a.t, v.Reported, map[string]any{"firmware": map[string]string{"slot": "a", "version": version}})
	}))(a.t)
	if out.Verdict != verdict || out.Lifecycle != "active" || out.Firmware != version {
		a.t.Fatalf("%s and %s on %q, want %s on %s: %v", out.Verdict, out.Lifecycle, out.Firmware, verdict, version, out.Findings)
	}
}

// opens has the system open a file for the first time.
func (a *attacker) opens(f attesttest.File) {
	a.t.Helper()
	a.logs.IMA = must(attesttest.MeasureFile(a.link, a.logs.IMA, f))(a.t)
}

// A release that is published with an allow-list vouches for the files that run
// with it: those may run, and one that is not listed costs the device its verdict
// until it boots without it. Where an allow-list is required, a release without
// one will not do.
func TestAttack_L6_UnlistedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, policies.FS); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "config", "ima"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config", "ima", "data.json"), []byte(`{"require_allow_list": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const control = "ima-known-files"
	s := newService(t, quick+"policy_dir: "+dir+"\n")
	a := newAttacker(t, s)
	onlyUnknown := func(reason string) {
		t.Helper()
		if failing := a.failing(); len(failing) != 1 || !strings.Contains(failing[control], reason) {
			t.Fatalf("%s should fail for %q: %v", control, reason, failing)
		}
		if alert, open := s.kept(t, a.id).open("control:" + control); !open || !strings.Contains(alert.Reason, reason) {
			t.Fatalf("no alert says so: %+v", alert)
		}
		if yes, code := s.may(t, a.id); yes || code != "device_noncompliant" {
			t.Fatalf("/authz says %v, %s", yes, code)
		}
	}
	a.enroll()
	a.mustShow(factory, "noncompliant")
	onlyUnknown("not judged")

	s.publishListed(t)
	a.boot(listed)
	a.mustShow(listed, "compliant")
	a.opens(tool)
	a.mustShow(listed, "compliant")
	if yes, code := s.may(t, a.id); !yes {
		t.Fatalf("with listed files only: %s", code)
	}
	// A listed file's name does not help another content.
	a.opens(attesttest.File{Path: tool.Path, Content: []byte("implant")})
	a.mustShow(listed, "noncompliant")
	onlyUnknown(`1 file ran that nothing vouches for, for one "/usr/bin/tool"`)
	a.mustShow(listed, "noncompliant") // it ran, whatever runs since

	a.boot(listed)
	a.opens(tool)
	a.mustShow(listed, "compliant")
	if k := s.kept(t, a.id); len(k.failing()) > 0 {
		t.Fatalf("alerts are open: %v", k.failing())
	}
	if yes, code := s.may(t, a.id); !yes {
		t.Fatalf("after the reboot: %s", code)
	}
}

// failing are the keys of the controls' open alerts.
func (k kept) failing() (keys []string) {
	for _, a := range k.Alerts {
		if _, open := k.open(a.Key); open && strings.HasPrefix(a.Key, "control:") {
			keys = append(keys, a.Key)
		}
	}
	return keys
}

// An allow-list that is damaged on the service's disk allows nothing: check-ins
// with the release are put off, people are told once, and once more when the list
// is whole again.
func TestAttack_S9_DamagedAllowList(t *testing.T) {
	t.Parallel()
	s := newService(t, quick)
	a := newAttacker(t, s)
	a.enroll()
	a.mustShow(factory, "compliant")
	s.publishListed(t)
	found := must(filepath.Glob(s.path("data", "tuf", "targets", model, "*"+listed+".img.ima-allow")))(t)
	if len(found) != 1 {
		t.Fatalf("allow-lists: %v", found)
	}
	whole := must(os.ReadFile(found[0]))(t)
	damaged := bytes.Clone(whole)
	damaged[0] ^= 1 // another digit, and so another file
	if err := os.WriteFile(found[0], damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	a.boot(listed)
	before := s.kept(t, a.id)
	for range 2 {
		_, err := a.checkIn()
		wantCode(t, err, "file_rules_unavailable")
		var p *api.Problem
		if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
			t.Fatalf("the answer is %v", err)
		}
	}
	same(t, "of a device that nobody can judge", before.Posture, s.kept(t, a.id).Posture)
	told := func() fleet.Alert {
		t.Helper()
		db := must(store.Open(t.Context(), s.dsn))(t)
		defer db.Close()
		alerts := must(db.Alerts(t.Context(), fleet.AlertFilter{Subject: "release:" + model + "/" + listed}))(t)
		if len(alerts) != 1 || alerts[0].Key != fleet.KeyFileRules || alerts[0].Count != 1 {
			t.Fatalf("one alert of the release is wanted: %+v", alerts)
		}
		return alerts[0]
	}
	if alert := told(); alert.State != fleet.AlertOpen || !strings.Contains(alert.Reason, "allow-list") {
		t.Fatalf("the alert is %+v", alert)
	}

	if err := os.WriteFile(found[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil { // one that starts anew looks at once
		t.Fatal(err)
	}
	s.restart(t)
	eventually(t, 10*time.Second, "the alert is resolved", func() (string, bool) {
		alert := told()
		return fmt.Sprintf("%+v", alert), alert.State == fleet.AlertResolved
	})
	a.mustShow(listed, "compliant")
}
