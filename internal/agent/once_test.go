package agent_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/agent"
	"troth/internal/agent/install"
	"troth/internal/agent/slot"
	"troth/tuf"
	"troth/tuf/client"
)

var published = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// shelf is a repository in a directory, as on a USB stick.
type shelf struct {
	repo *tuf.Repository
	once agent.Once
	pair slot.Pair
	now  time.Time
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	dir := t.TempDir()
	repo, keys := filepath.Join(dir, "repo"), filepath.Join(dir, "keys")
	if err := tuf.Init(repo, tuf.InitOptions{KeysDir: keys, Now: published}); err != nil {
		t.Fatal(err)
	}
	r, err := tuf.Open(repo, keys)
	if err != nil {
		t.Fatal(err)
	}
	root, err := r.Root()
	if err != nil {
		t.Fatal(err)
	}
	s := &shelf{repo: r, now: published.Add(time.Hour), pair: slot.Open(filepath.Join(dir, "slots"))}
	if err := s.pair.Format(strings.NewReader("one"), "1.0.0", 1); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "root.json"), root, 0o600); err != nil {
		t.Fatal(err)
	}
	s.once = agent.Once{
		StateDir: filepath.Join(dir, "state"), TUFRoot: filepath.Join(dir, "root.json"), From: []string{"file://" + repo},
		Model: "edge", Installer: install.Slots{Pair: s.pair}, Now: func() time.Time { return s.now },
	}
	return s
}

func (s *shelf) publish(t *testing.T, version string, counter uint64, content string) {
	t.Helper()
	rel := tuf.Release{
		Name: "edge/fw-" + version, Model: "edge", Version: version, Counter: counter,
		Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"0": fmt.Sprintf("%064x", counter)}},
	}
	if _, err := s.repo.Publish(t.Context(), rel, bytes.NewReader([]byte(content)), published); err != nil {
		t.Fatal(err)
	}
}

func (s *shelf) boots(t *testing.T, want string) {
	t.Helper()
	path, err := s.pair.Boot()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Fatalf("boots %q, %v; want %q", got, err, want)
	}
}

func TestUpdateFromADirectory(t *testing.T) {
	s := newShelf(t)
	s.publish(t, "1.1.0", 2, "two")
	s.publish(t, "1.2.0", 3, "three")
	installed, err := s.once.Update(t.Context())
	if err != nil || installed.Version != "1.2.0" {
		t.Fatalf("installed %+v, %v", installed, err)
	}
	s.boots(t, "three")
	if err := s.pair.Confirm(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.once.Update(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing newer") {
		t.Errorf("updated to what runs: %v", err)
	}
	s.once.Target = "edge/fw-1.1.0"
	if _, err := s.once.Update(t.Context()); err == nil || !strings.Contains(err.Error(), "downgrades are refused") {
		t.Errorf("downgraded: %v", err)
	}
	s.once.Target, s.once.Model = "", "other"
	if _, err := s.once.Update(t.Context()); err == nil {
		t.Error("installed another model's release")
	}
}

// A clock at its beginning costs nothing: it is held by what is known to have
// passed. A clock far ahead has everything expired, installs nothing, and is not
// remembered: set right, all is well.
func TestAttack_T5_ClockAt1970And2100(t *testing.T) {
	s := newShelf(t)
	s.publish(t, "1.1.0", 2, "two")
	s.now = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := s.once.Update(t.Context()); client.Code(err) != client.CodeExpired {
		t.Fatalf("in 2100: %v", err)
	}
	s.boots(t, "one")
	s.now = time.Unix(0, 0)
	if _, err := s.once.Update(t.Context()); err != nil {
		t.Fatalf("in 1970: %v", err)
	}
	s.boots(t, "two")
	if err := s.pair.Confirm(); err != nil {
		t.Fatal(err)
	}
	// Time has passed, and was seen to; then the battery dies.
	s.publish(t, "1.2.0", 3, "three")
	s.now = published.Add(time.Hour)
	if _, err := s.once.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.boots(t, "three")
	known, err := os.ReadFile(filepath.Join(s.once.StateDir, "tuf.clock"))
	if err != nil || strings.TrimSpace(string(known)) != s.now.Format(time.RFC3339) {
		t.Fatalf("known time %q, %v", known, err)
	}
	s.now = time.Unix(0, 0)
	if _, err := s.once.Update(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing newer") {
		t.Fatalf("after the battery died: %v", err)
	}
	if again, err := os.ReadFile(filepath.Join(s.once.StateDir, "tuf.clock")); err != nil || !bytes.Equal(again, known) {
		t.Errorf("the known time went to %q, %v", again, err)
	}
}
