package agent_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"troth/internal/agent"
	"troth/tuf"
)

// A release that is too far ahead is refused before it is fetched; the one in
// between is installed, and then it is not too far any more. A release whose signed
// metadata allows it takes the device back, from the counters that it names only.
func TestMinimumAndDowngradeOfSignedReleases(t *testing.T) {
	s := newShelf(t) // which runs counter 1
	publish := func(version string, counter, minimum, downgradeFrom uint64) {
		t.Helper()
		_, err := s.repo.Publish(t.Context(), tuf.Release{
			Name: "edge/fw-" + version, Model: "edge", Version: version, Counter: counter, Minimum: minimum, DowngradeFrom: downgradeFrom,
			Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"0": fmt.Sprintf("%064x", counter)}},
		}, bytes.NewReader([]byte(version)), published)
		if err != nil {
			t.Fatal(err)
		}
	}
	update := func(version string) error {
		t.Helper()
		s.once.Target = "edge/fw-" + version
		_, err := s.once.Update(t.Context())
		return err
	}
	confirmed := func(version string) {
		t.Helper()
		if err := update(version); err != nil {
			t.Fatal(err)
		}
		s.boots(t, version)
		if err := s.pair.Confirm(); err != nil {
			t.Fatal(err)
		}
	}
	publish("2", 2, 0, 0)
	publish("5", 5, 2, 0)
	if err := update("5"); !errors.Is(err, agent.ErrMinimum) {
		t.Fatalf("installed over what is too old: %v", err)
	}
	s.boots(t, "one")
	s.once.Target = ""
	if got, err := s.once.Update(t.Context()); err != nil || got.Version != "2" {
		t.Fatalf("the newest that can be installed here is %s, %v", got.Version, err)
	}
	confirmed("2")
	confirmed("5")
	publish("3", 3, 0, 5)
	publish("7", 7, 0, 0)
	confirmed("7")
	if err := update("3"); err == nil {
		t.Fatal("went back from a counter that the release does not name")
	}
	s.boots(t, "7")
	_, err := s.repo.Stage(published, func(d *tuf.Draft) error { return d.AllowDowngrade("edge/fw-3", 7) })
	if err != nil {
		t.Fatal(err)
	}
	stage, err := s.repo.Pending()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stage.Sign(tuf.Keys{Dir: filepath.Join(filepath.Dir(s.once.StateDir), "keys")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.repo.PublishStage(published, stage); err != nil {
		t.Fatal(err)
	}
	confirmed("3")
}
