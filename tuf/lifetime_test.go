package tuf_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"troth/tuf"
	"troth/tuf/client"
)

// A repository that only its online keys keep alive stays fresh for clients
// until its offline roles expire, and says so before (SECURITY.md T7).
func TestAttack_T7_RepositoryIsSignedAnewInTime(t *testing.T) {
	repo, dir, keys := newRepository(t, tuf.InitOptions{})
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(keys, "targets.pem")); err != nil {
		t.Fatal(err)
	}
	now := start
	c := follower(t, dir, root, func() time.Time { return now })
	for now.Before(start.Add(89 * 24 * time.Hour)) {
		if err := repo.Refresh(now); err != nil {
			t.Fatal(err)
		}
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatalf("after %s: %v", now.Sub(start), err)
		}
		now = now.Add(11 * time.Hour)
	}
	now = start.Add(91 * 24 * time.Hour)
	if err := repo.Refresh(now); !errors.Is(err, tuf.ErrExpired) {
		t.Errorf("refresh with expired targets: %v", err)
	}
	if err := c.Refresh(t.Context()); client.Code(err) != client.CodeExpired {
		t.Errorf("client with expired targets: %v", err)
	}
}

func TestRefreshOnlyWhenDue(t *testing.T) {
	repo, _, _ := newRepository(t, tuf.InitOptions{})
	version := func() string {
		status, err := repo.Status()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("root %d targets %d snapshot %d timestamp %d",
			status[0].Version, status[1].Version, status[2].Version, status[3].Version)
	}
	for _, tc := range []struct {
		after time.Duration
		want  string
	}{
		{11 * time.Hour, "root 1 targets 1 snapshot 1 timestamp 1"},
		{13 * time.Hour, "root 1 targets 1 snapshot 1 timestamp 2"},
		{14 * time.Hour, "root 1 targets 1 snapshot 1 timestamp 2"},
		{4 * 24 * time.Hour, "root 1 targets 1 snapshot 2 timestamp 3"},
	} {
		if err := repo.Refresh(start.Add(tc.after)); err != nil {
			t.Fatal(err)
		}
		if got := version(); got != tc.want {
			t.Errorf("after %s: %s, want %s", tc.after, got, tc.want)
		}
	}
}

func TestLifetimesAreThoseOfInit(t *testing.T) {
	repo, _, _ := newRepository(t, tuf.InitOptions{TimestampExpiry: time.Hour, SnapshotExpiry: 2 * time.Hour, TargetsExpiry: 3 * time.Hour, RootExpiry: 4 * time.Hour})
	publish(t, repo, release("fw", "edge", 1), "x", start.Add(time.Minute))
	status, err := repo.Status()
	if err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{4 * time.Hour, 3*time.Hour + time.Minute, 2*time.Hour + time.Minute, time.Hour + time.Minute}
	for i, s := range status {
		if got := s.Expires.Sub(start); got != want[i] {
			t.Errorf("%s expires after %s, want %s", s.Role, got, want[i])
		}
	}
	if _, err := repo.Publish(t.Context(), release("fw2", "edge", 2), errReader{}, start.Add(5*time.Hour)); !errors.Is(err, tuf.ErrExpired) {
		t.Errorf("publish under an expired root: %v", err)
	}
	if err := repo.Rotate(start.Add(5 * time.Hour)); err != nil {
		t.Errorf("renew root: %v", err)
	}
	publish(t, repo, release("fw2", "edge", 2), "y", start.Add(5*time.Hour))
}

func TestRotateEveryRole(t *testing.T) {
	repo, dir, keys := newRepository(t, tuf.InitOptions{TargetsKeys: 2, TargetsThreshold: 2})
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	publish(t, repo, release("fw1", "edge", 1), "x", start)
	c := follower(t, dir, root, at(start))
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, roles := range [][]string{{"root"}, {"timestamp"}, {"snapshot", "timestamp"}, {"targets"}, {"root", "targets", "snapshot", "timestamp"}, nil} {
		if err := repo.Rotate(start, roles...); err != nil {
			t.Fatalf("rotate %v: %v", roles, err)
		}
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatalf("client after rotating %v: %v", roles, err)
		}
	}
	for _, old := range []string{"root", "targets", "targets-2", "snapshot", "timestamp"} {
		if err := os.Remove(filepath.Join(keys, old+".pem")); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, repo, release("fw2", "edge", 2), "y", start)
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var errCrash = errors.New("power cut")

// Every durable step of every operation is followed by a crash; after each,
// the repository opens, a new and an old client verify it, and the operation
// can be repeated.
func TestCrashAtEveryStep(t *testing.T) {
	later := start.Add(5 * 24 * time.Hour)
	operations := map[string]func(*tuf.Repository) error{
		"publish": func(r *tuf.Repository) error {
			_, err := r.Publish(t.Context(), release("fw2", "edge", 2), &countingReader{r: newContent()}, start)
			return err
		},
		"refresh": func(r *tuf.Repository) error { return r.Refresh(later) },
		"rotate":  func(r *tuf.Repository) error { return r.Rotate(start, "root", "targets", "snapshot", "timestamp") },
	}
	steps := map[string]int{"publish": 4, "refresh": 2, "rotate": 5}
	for name, operation := range operations {
		for crash := 1; crash <= steps[name]; crash++ {
			t.Run(fmt.Sprintf("%s/%d", name, crash), func(t *testing.T) { crashOnce(t, operation, crash) })
		}
		t.Run(name+"/all", func(t *testing.T) {
			repo, _, _ := newRepository(t, tuf.InitOptions{})
			publish(t, repo, release("fw1", "edge", 1), "one", start)
			n := 0
			repo.FailAfterStep(func(string) error { n++; return nil })
			if err := operation(repo); err != nil || n != steps[name] {
				t.Errorf("%d steps, want %d: %v", n, steps[name], err)
			}
		})
	}
}

func crashOnce(t *testing.T, operation func(*tuf.Repository) error, crash int) {
	repo, dir, keys := newRepository(t, tuf.InitOptions{})
	publish(t, repo, release("fw1", "edge", 1), "one", start)
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	old := follower(t, dir, root, at(start))
	if err := old.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, last := 0, ""
	repo.FailAfterStep(func(path string) error {
		if n++; n == crash {
			last = path
			return errCrash
		}
		return nil
	})
	if err := operation(repo); !errors.Is(err, errCrash) {
		t.Fatalf("error %v", err)
	}
	verify := func(when string) *tuf.Repository {
		for kind, c := range map[string]*client.Client{"old": old, "new": follower(t, dir, root, at(start))} {
			if err := c.Refresh(t.Context()); err != nil {
				t.Fatalf("%s client %s %s: %v", kind, when, filepath.Base(last), err)
			}
			if _, err := c.Find("fw1"); err != nil {
				t.Fatalf("%s client %s %s: %v", kind, when, filepath.Base(last), err)
			}
			if err := c.Download(t.Context(), "fw1", filepath.Join(t.TempDir(), "fw"), nil); err != nil {
				t.Fatal(err)
			}
		}
		reopened, err := tuf.Open(dir, keys)
		if err != nil {
			t.Fatal(err)
		}
		return reopened
	}
	again := verify("after a crash at")
	err = operation(again)
	if err != nil && !errors.Is(err, tuf.ErrExists) { // the crash came after the last step
		t.Fatalf("repeat: %v", err)
	}
	verify("after repeating")
}

func TestInitContinuesAfterACrash(t *testing.T) {
	_, dir, keys := newRepository(t, tuf.InitOptions{})
	if err := os.Remove(filepath.Join(dir, "metadata", "timestamp.json")); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(keys, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := tuf.Init(dir, tuf.InitOptions{KeysDir: keys, Now: start}); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(filepath.Join(keys, "root.pem")); string(after) != string(before) {
		t.Error("the root key changed")
	}
	if _, err := tuf.Open(dir, keys); err != nil {
		t.Error(err)
	}
}
