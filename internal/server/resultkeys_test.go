package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestResultKeys turns keys over a year: each signs for its time, and stays
// published until the last token that it signed has ended.
func TestResultKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result-keys.json")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const rotate, lifetime = 30 * 24 * time.Hour, 10 * time.Minute
	k, err := openResultKeys(path, rotate, lifetime, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	first := k.Key().ID
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	again, err := openResultKeys(path, rotate, lifetime, func() time.Time { return now })
	if err != nil || again.Key().ID != first {
		t.Fatalf("after a restart: %v, %v", again, err)
	}
	step := func(d time.Duration) {
		t.Helper()
		now = now.Add(d)
		if err := k.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if step(rotate - time.Second); k.Key().ID != first || len(k.Set().IDs()) != 1 {
		t.Error("turned too early")
	}
	step(time.Second)
	second := k.Key().ID
	if second == first || !slices.Contains(k.Set().IDs(), first) || !slices.Contains(k.Set().IDs(), second) {
		t.Errorf("turned from %s to %s; published %v", first, second, k.Set().IDs())
	}
	// The last token of the first key may have been signed at this very moment.
	if step(lifetime); !slices.Contains(k.Set().IDs(), first) {
		t.Error("the old key is gone while its tokens are good")
	}
	if step(publishedAfter); slices.Contains(k.Set().IDs(), first) || k.Key().ID != second {
		t.Errorf("the old key stays: %v", k.Set().IDs())
	}
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), `"made"`) != 1 {
		t.Errorf("the old secret is kept: %v", err)
	}
	if step(10 * rotate); len(k.Set().IDs()) != 2 || k.Key().ID == second {
		t.Errorf("after a long sleep: %v", k.Set().IDs())
	}
}

// TestResultKeysOfAnother: a file that is put there takes effect; one that is
// damaged changes nothing, and is no reason to begin anew.
func TestResultKeysOfAnother(t *testing.T) {
	dir := t.TempDir()
	open := func(name string) (*resultKeys, error) {
		return openResultKeys(filepath.Join(dir, name), time.Hour, time.Minute, time.Now)
	}
	a, err := open("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := open("b")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "b"), filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if err := a.refresh(t.Context()); err != nil || a.Key().ID != b.Key().ID {
		t.Fatalf("another file was not read: %v", err)
	}
	for _, damage := range []string{"", "{}", `{"keys":[]}`, `{"keys":[{"made":"2026-01-01T00:00:00Z","private":"AAAA"}]}`, `{"keys":[{`} {
		if err := os.WriteFile(filepath.Join(dir, "a"), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := a.refresh(t.Context()); err == nil || a.Key().ID != b.Key().ID {
			t.Errorf("%q: %v", damage, err)
		}
		if _, err := open("a"); err == nil {
			t.Errorf("opened %q", damage)
		}
		if text, _ := os.ReadFile(filepath.Join(dir, "a")); string(text) != damage {
			t.Errorf("%q was written over", damage)
		}
	}
}

func TestResultConfig(t *testing.T) {
	c, err := Config{DataDir: t.TempDir(), TrustDomain: "troth.example"}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Result; r.Issuer != "spiffe://troth.example" || r.Lifetime != c.CheckIn.Fresh || r.Rotate != Duration(720*time.Hour) {
		t.Errorf("defaults %+v", r)
	}
	for name, r := range map[string]ResultConfig{
		"no life": {Lifetime: Duration(time.Millisecond)}, "a key a second": {Rotate: Duration(time.Second)},
	} {
		if _, err := (Config{DataDir: t.TempDir(), Result: r}).complete(); err == nil || !strings.Contains(err.Error(), "result.") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
