package tuf_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/tuf"
)

func jsonOf(t testing.TB, v any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestReleasesInHashBins(t *testing.T) {
	repo, dir, keys := newRepository(t, tuf.InitOptions{BinBits: 4})
	root := must(repo.Root())
	now := start
	c := follower(t, dir, root, func() time.Time { return now })
	// Without the targets key: bins have their own.
	if err := os.Remove(filepath.Join(keys, "targets.pem")); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(20) {
		publish(t, repo, release(fmt.Sprintf("fw/%d.img", i+1), "edge", i+1), "x", start)
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	catalog, err := c.Catalog(t.Context())
	if err != nil || len(catalog.Targets) != 20 || len(catalog.Problems) > 0 {
		t.Fatalf("%d targets, %v %v", len(catalog.Targets), catalog.Problems, err)
	}
	target, err := c.Lookup(t.Context(), "fw/7.img")
	if err != nil || target.Release == nil || target.Release.Counter != 7 {
		t.Fatalf("%+v %v", target, err)
	}
	for what, tc := range map[string]struct {
		rel  tuf.Release
		want error
	}{
		"counter":  {release("fw/x.img", "edge", 20), tuf.ErrCounter},
		"name":     {release("fw/3.img", "edge", 30), tuf.ErrExists},
		"too deep": {release("a/b/c/d/e/f/g/h/i", "edge", 30), tuf.ErrInvalid},
	} {
		if _, err := repo.Publish(t.Context(), tc.rel, strings.NewReader("x"), start); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	twin := release("fw/twin.img", "edge", 30)
	twin.Reference = release("", "", 5).Reference
	if _, err := repo.Publish(t.Context(), twin, strings.NewReader("x"), start); !errors.Is(err, tuf.ErrTwin) {
		t.Errorf("reference values of release 5: %v", err)
	}
	// The index is only a memory.
	for _, spoil := range []func(string) error{
		os.RemoveAll,
		func(index string) error { return os.WriteFile(filepath.Join(index, "state"), []byte("stale"), 0o600) },
	} {
		if err := spoil(filepath.Join(dir, ".index")); err != nil {
			t.Fatal(err)
		}
		if _, err := repo.Publish(t.Context(), twin, strings.NewReader("x"), start); !errors.Is(err, tuf.ErrTwin) {
			t.Errorf("after the index was spoiled: %v", err)
		}
	}
	// A bin that is renewed with all the others is read again; nothing else changes.
	if _, err := repo.Stage(start.Add(time.Hour), func(d *tuf.Draft) error { return d.Renew("bins") }); err != nil {
		t.Fatal(err)
	}
	s := must(repo.Pending())
	signed := sign(t, s, only(t, keys, "releases"))
	if _, err := repo.PublishStage(start.Add(time.Hour), signed); err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, err := c.Catalog(t.Context()); err != nil || len(again.Targets) != 20 || again.Revision == catalog.Revision {
		t.Errorf("%d targets, %v", len(again.Targets), err)
	}
}

// The key of the hash bins changes: everything is signed anew, under one stage.
func TestKeyOfTheBinsChanges(t *testing.T) {
	c := newCeremony(t, tuf.InitOptions{BinBits: 2})
	c.release("fw/1", "edge", 1, "releases")
	fresh := must(tuf.CreateKey(tuf.Keys{Dir: c.keys}, "releases-2", tuf.KeyECDSA))
	s := c.stage(func(d *tuf.Draft) error {
		return errors.Join(d.AddKey("releases", fresh), d.RemoveKey("releases", keyID(t, c.keys, "releases")))
	})
	if got := words(s); strings.Count(got, "renews the signature") != 4 {
		t.Errorf("four bins, and:\n%s", got)
	}
	c.publish(sign(t, sign(t, s, only(t, c.keys, "targets")), only(t, c.keys, "releases-2")))
	c.release("fw/2", "edge", 2, "releases-2")
	c.has("fw/1")
}

// A catalogue of unchanged hash bins reads no file again.
func TestCatalogReadsWhatChanged(t *testing.T) {
	repo, dir, _ := newRepository(t, tuf.InitOptions{BinBits: 4})
	c := follower(t, dir, must(repo.Root()), at(start))
	for i := range uint64(5) {
		publish(t, repo, release(fmt.Sprintf("fw-%d", i+1), "edge", i+1), "x", start)
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := must(c.Catalog(t.Context()))
	// Gone from the repository and from the device's memory: nobody needs them.
	for _, file := range must(filepath.Glob(filepath.Join(dir, "metadata", "*.bin-*.json"))) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := c.Catalog(t.Context())
	if err != nil || len(again.Problems) > 0 || len(again.Targets) != 5 || again.Revision != first.Revision {
		t.Errorf("%+v %v", again, err)
	}
}
