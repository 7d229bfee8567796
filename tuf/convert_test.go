package tuf_test

import (
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/tuf"
	"troth/tuf/client"
)

// converted stages hash bins in a repository with releases and a supplier.
func converted(t *testing.T, c *ceremony) *tuf.Stage {
	t.Helper()
	key := must(tuf.CreateKey(tuf.Keys{Dir: c.keys}, "releases", tuf.KeyEd25519))
	return c.stage(func(d *tuf.Draft) error { return d.Bins(3, 1, key) })
}

// A repository that has outgrown one file gets hash bins. Devices follow from before
// to after: one that looks on, one that slept, and one that sees it for the first time.
func TestFlatRepositoryGetsHashBins(t *testing.T) {
	c := supplied(t, tuf.InitOptions{})
	root := must(os.ReadFile(filepath.Join(c.dir, "metadata", "1.root.json")))
	for i := range uint64(5) {
		c.release(fmt.Sprintf("ours/%d.img", i+1), "ours", i+1, "targets")
	}
	c.release("acme/1.img", "acme-1", 1, "acme")
	asleep := follower(t, c.dir, root, at(start))
	if err := asleep.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := must(c.client.Catalog(t.Context()))

	s := converted(t, c)
	said := words(s)
	for _, want := range []string{
		"hands 5 targets to the hash bins, as they are: ours/1.img, ours/2.img, ours/3.img, ours/4.img, ours/5.img",
		"lets releases sign releases of model *", "lets bin-* sign the targets in 2^3 hash bins",
		"8 hash bins, bin-0 to bin-7, first version", "take 5 targets over, as they are; nothing else is in them",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in\n%s", want, said)
		}
	}
	for _, not := range []string{"withdraws", "publishes", "CHANGES", "acme"} {
		if strings.Contains(said, not) {
			t.Errorf("%q is said in\n%s", not, said)
		}
	}
	// Until both have signed, nothing is different.
	signed := sign(t, s, only(t, c.keys, "targets"))
	var missing *tuf.MissingSignaturesError
	if _, err := c.repo.PublishStage(c.now, signed); !errors.As(err, &missing) {
		t.Fatalf("half signed: %v", err)
	}
	c.has("ours/5.img")
	c.publish(sign(t, signed, only(t, c.keys, "releases")))

	first := follower(t, c.dir, root, at(start))
	for who, device := range map[string]*client.Client{"looks on": c.client, "slept": asleep, "is new": first} {
		if err := device.Refresh(t.Context()); err != nil {
			t.Fatalf("who %s: %v", who, err)
		}
		after, err := device.Catalog(t.Context())
		if err != nil || len(after.Problems) > 0 || len(after.Targets) != len(before.Targets) {
			t.Errorf("who %s: %d targets, %v %v", who, len(after.Targets), after.Problems, err)
		}
		for i, target := range after.Targets {
			if was := before.Targets[i]; target.Name != was.Name || target.Hashes["sha256"] != was.Hashes["sha256"] || target.Release.Counter != was.Release.Counter {
				t.Errorf("who %s: %s is not what it was", who, target.Name)
			}
		}
	}
	c.has("ours/1.img", "ours/5.img", "acme/1.img")
	// From now on a release needs the bins' key alone, and the old ones still count.
	c.release("ours/6.img", "ours", 6, "releases")
	c.release("acme/2.img", "acme-1", 2, "acme")
	for _, rel := range []tuf.Release{release("ours/7.img", "ours", 6), release("ours/1.img", "ours", 9)} {
		if _, err := c.repo.StageRelease(t.Context(), rel, strings.NewReader("x"), tuf.Files{}, c.now); !errors.Is(err, tuf.ErrCounter) && !errors.Is(err, tuf.ErrExists) {
			t.Errorf("%s, counter %d: %v", rel.Name, rel.Counter, err)
		}
	}
	if _, err := c.repo.Stage(c.now, func(d *tuf.Draft) error { return d.Withdraw("ours/2.img") }); err != nil {
		t.Error(err)
	}
}

func TestHashBinsRefuse(t *testing.T) {
	c := supplied(t, tuf.InitOptions{})
	key := must(tuf.CreateKey(tuf.Keys{Dir: c.keys}, "releases", tuf.KeyEd25519))
	deep := release("a/b/c/d/e/f/g/h/i.img", "ours", 1)
	for what, tc := range map[string]struct {
		bits, threshold int
		keys            []crypto.PublicKey
		want            error
	}{
		"no bits":       {0, 1, []crypto.PublicKey{key}, tuf.ErrInvalid},
		"too many":      {tuf.MaxBinBits + 1, 1, []crypto.PublicKey{key}, tuf.ErrInvalid},
		"no key":        {3, 1, nil, tuf.ErrInvalid},
		"threshold":     {3, 2, []crypto.PublicKey{key}, tuf.ErrInvalid},
		"no threshold":  {3, 0, []crypto.PublicKey{key}, tuf.ErrInvalid},
		"one key twice": {3, 2, []crypto.PublicKey{key, key}, tuf.ErrInvalid},
	} {
		_, err := c.repo.Stage(c.now, func(d *tuf.Draft) error { return d.Bins(tc.bits, tc.threshold, tc.keys...) })
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	bins := func(d *tuf.Draft) error { return d.Bins(2, 1, key) }
	c.stage(func(d *tuf.Draft) error { return d.Renew("targets") })
	if _, err := c.repo.Stage(c.now, bins); !errors.Is(err, tuf.ErrPending) {
		t.Errorf("beside another change: %v", err)
	}
	if err := c.repo.Discard(); err != nil {
		t.Fatal(err)
	}
	c.publish(sign(t, must(c.repo.StageRelease(t.Context(), deep, strings.NewReader("x"), tuf.Files{}, c.now)), only(t, c.keys, "targets")))
	if _, err := c.repo.Stage(c.now, bins); !errors.Is(err, tuf.ErrInvalid) {
		t.Errorf("a name that no bin takes: %v", err)
	}
	c.publish(sign(t, c.stage(func(d *tuf.Draft) error { return d.Withdraw(deep.Name) }), only(t, c.keys, "targets")))
	s := c.stage(bins)
	if _, err := c.repo.StageRelease(t.Context(), release("ours/2.img", "ours", 2), strings.NewReader("x"), tuf.Files{}, c.now); !errors.Is(err, tuf.ErrPending) {
		t.Errorf("a release while the bins are staged: %v", err)
	}
	c.publish(sign(t, sign(t, s, only(t, c.keys, "targets")), only(t, c.keys, "releases")))
	if _, err := c.repo.Stage(c.now, bins); !errors.Is(err, tuf.ErrExists) {
		t.Errorf("a second time: %v", err)
	}
}

// A crash at any step of the conversion leaves the repository as it was or as it is
// to be, and whoever opens it next completes it.
func TestConversionSurvivesCrashes(t *testing.T) {
	crash := errors.New("power cut")
	for step := 0; ; step++ {
		c := newCeremony(t, tuf.InitOptions{})
		c.release("ours/1.img", "ours", 1, "targets")
		s := converted(t, c)
		signed := sign(t, sign(t, s, only(t, c.keys, "targets")), only(t, c.keys, "releases"))
		left := step
		c.repo.FailAfterStep(func(string) error {
			if left--; left < 0 {
				return crash
			}
			return nil
		})
		_, err := c.repo.PublishStage(c.now, signed)
		if err == nil {
			if step < 8+4 {
				t.Errorf("only %d steps", step)
			}
			return
		}
		if !errors.Is(err, crash) {
			t.Fatalf("step %d: %v", step, err)
		}
		if err := c.client.Refresh(t.Context()); err != nil {
			t.Fatalf("a device after step %d: %v", step, err)
		}
		c.has("ours/1.img")
		c.open() // which mends
		if err := c.client.Refresh(t.Context()); err != nil {
			t.Fatalf("a device after it was mended at step %d: %v", step, err)
		}
		c.has("ours/1.img")
	}
}
