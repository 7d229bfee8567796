package firmware_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/firmware"
	"troth/internal/fleet"
	"troth/tuf"
)

// rig is a repository, and the service's view of it.
type rig struct {
	*firmware.Repository
	t         *testing.T
	dir, keys string
	trust     string
	clock     time.Time
}

func newRig(t *testing.T, change ...func(*firmware.Config)) *rig {
	t.Helper()
	base := t.TempDir()
	r := &rig{
		t: t, dir: filepath.Join(base, "tuf"), keys: filepath.Join(base, "keys"), trust: filepath.Join(base, "trust"),
		clock: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC),
	}
	c := firmware.Config{Dir: r.dir, OnlineKeys: r.keys, TrustDir: r.trust, Now: func() time.Time { return r.clock }}
	for _, f := range change {
		f(&c)
	}
	r.Repository = firmware.NewRepository(c)
	return r
}

func (r *rig) init() {
	r.t.Helper()
	if err := tuf.Init(r.dir, tuf.InitOptions{KeysDir: r.keys, Now: r.clock}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) publish(version string, counter uint64) {
	r.t.Helper()
	repository, err := tuf.Open(r.dir, r.keys)
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = repository.Publish(r.t.Context(), tuf.Release{
		Name: "edge-" + version + ".img", Model: "edge", Version: version, Counter: counter, Security: counter > 1,
		Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"4": strings.Repeat("a", 64), "9": fmt.Sprintf("%064x", counter)}},
	}, strings.NewReader("image "+version), r.clock)
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) refresh() {
	r.t.Helper()
	if err := r.Refresh(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) versions() []string {
	var out []string
	for _, release := range r.Catalog() {
		out = append(out, release.Version)
	}
	return out
}

func (r *rig) want(what string, n int) {
	r.t.Helper()
	if got := r.versions(); len(got) != n {
		r.t.Fatalf("%s: the catalogue has %v, want %d releases", what, got, n)
	}
}

func TestFollowsTheRepository(t *testing.T) {
	r := newRig(t)
	if r.Loaded() {
		t.Error("loaded before anything was read")
	}
	r.refresh()
	r.want("no repository yet", 0)
	if !r.Loaded() {
		t.Error("a repository that does not exist yet is an empty one")
	}
	r.init()
	r.refresh()
	r.want("nothing published", 0)
	r.publish("1.0", 1)
	r.want("not refreshed", 0)
	r.refresh()
	r.want("one release", 1)
	release := r.Catalog()[0]
	if release.Model != "edge" || release.Target != "edge-1.0.img" || release.Length != 9 || len(release.SHA256) != 64 ||
		release.Counter != 1 || release.Reference[4] != strings.Repeat("a", 64) {
		t.Errorf("%+v", release)
	}
	r.publish("2.0", 2)
	r.refresh()
	r.want("two releases", 2)
	if latest, ok := r.Catalog().LatestSecurity("edge"); !ok || latest.Version != "2.0" {
		t.Errorf("%+v", latest)
	}
	if _, known, _ := r.Catalog().Identify("edge", map[int]string{4: strings.Repeat("b", 64)}); known {
		t.Error("other PCRs are known")
	}
}

// Signatures are renewed before they end, for months, without a person.
func TestAttack_T7_SignedAnewInTime(t *testing.T) {
	r := newRig(t)
	r.init()
	r.publish("1.0", 1)
	for range 30 { // the targets role's 90 days are a person's
		r.clock = r.clock.Add(20 * time.Hour)
		r.refresh()
		r.want("signed anew", 1)
	}
}

func TestExpiredIsSaid(t *testing.T) {
	r := newRig(t, func(c *firmware.Config) { c.OnlineKeys = filepath.Join(t.TempDir(), "elsewhere") })
	r.init()
	r.publish("1.0", 1)
	r.refresh()
	before := r.timestamp()
	r.clock = r.clock.Add(48 * time.Hour)
	if err := r.Refresh(t.Context()); err == nil {
		t.Error("a repository whose timestamp ended yesterday is read without a word")
	}
	r.want("the last set that verified", 1)
	if !bytes.Equal(before, r.timestamp()) {
		t.Error("signed anew without keys")
	}
}

func (r *rig) timestamp() []byte {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, "metadata", "timestamp.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *rig) edit(name, from, to string) {
	r.t.Helper()
	path := filepath.Join(r.dir, "metadata", name)
	b, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	edited := bytes.ReplaceAll(b, []byte(from), []byte(to))
	if bytes.Equal(edited, b) {
		r.t.Fatalf("%s does not hold %q", name, from)
	}
	if err := os.WriteFile(path, edited, 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// TestAttack_T3_TamperedMetadata: what does not verify changes nothing, and does
// not block what does.
func TestAttack_T3_TamperedMetadata(t *testing.T) {
	r := newRig(t, func(c *firmware.Config) { c.OnlineKeys = "" })
	r.init()
	r.publish("1.0", 1)
	r.refresh()
	r.publish("2.0", 2)
	good := r.timestamp()
	r.edit("timestamp.json", `"version":`, `"version":9`)
	if err := r.Refresh(t.Context()); err == nil {
		t.Error("a forged timestamp was believed")
	}
	r.want("forged", 1)
	if err := os.WriteFile(filepath.Join(r.dir, "metadata", "timestamp.json"), good, 0o644); err != nil {
		t.Fatal(err)
	}
	r.refresh()
	r.want("mended", 2)
}

// TestAttack_T2_AnotherRepositoryInItsPlace: the root that was pinned stays.
func TestAttack_T2_AnotherRepositoryInItsPlace(t *testing.T) {
	r := newRig(t)
	r.init()
	r.publish("1.0", 1)
	r.refresh()
	pinned, err := os.ReadFile(filepath.Join(r.trust, "pinned-root.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{r.dir, r.keys} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	r.init()
	r.publish("6.6", 66)
	again := firmware.NewRepository(r.Config) // also after a restart
	for _, repository := range []*firmware.Repository{r.Repository, again} {
		if err := repository.Refresh(t.Context()); err == nil {
			t.Error("a repository of other keys was believed")
		}
		if want := repository == r.Repository; repository.Loaded() != want {
			t.Errorf("loaded %v, want %v", !want, want)
		}
		for _, release := range repository.Catalog() {
			if release.Version == "6.6" {
				t.Error("its release is in the catalogue")
			}
		}
	}
	now, err := os.ReadFile(filepath.Join(r.trust, "pinned-root.json"))
	if err != nil || !bytes.Equal(now, pinned) {
		t.Errorf("the pinned root was replaced, %v", err)
	}
}

// A directory that is not mounted is not an empty repository.
func TestVanishedRepository(t *testing.T) {
	r := newRig(t)
	r.init()
	r.publish("1.0", 1)
	r.refresh()
	if err := os.Rename(r.dir, r.dir+".away"); err != nil {
		t.Fatal(err)
	}
	again := firmware.NewRepository(r.Config) // also after a restart
	for _, repository := range []*firmware.Repository{r.Repository, again} {
		if err := repository.Refresh(t.Context()); err == nil {
			t.Error("it vanished without a word")
		}
	}
	r.want("vanished", 1)
	if again.Loaded() {
		t.Error("loaded from nothing")
	}
}

func TestConfiguredRoot(t *testing.T) {
	stranger := newRig(t)
	stranger.init()
	r := newRig(t, func(c *firmware.Config) { c.Root = filepath.Join(stranger.dir, "metadata", "1.root.json") })
	r.init()
	r.publish("1.0", 1)
	if err := r.Refresh(t.Context()); err == nil {
		t.Error("a repository of another root was believed")
	}
	r.want("another root", 0)
}

// A catalogue is read while it is refreshed.
func TestConcurrentUse(t *testing.T) {
	r := newRig(t)
	r.init()
	r.publish("1.0", 1)
	r.refresh()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 {
		go func() {
			var err error
			for range 5 {
				if err = r.Refresh(ctx); err != nil {
					break
				}
			}
			done <- err
		}()
	}
	for range 1000 {
		if len(r.Catalog()) != 1 {
			t.Error("the catalogue was empty for a moment")
			break
		}
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	cancel()
}

var _ interface{ Catalog() fleet.Catalog } = (*firmware.Repository)(nil)
