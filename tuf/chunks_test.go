package tuf_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/tuf"
	"troth/tuf/delta"
)

func largeImage(seed byte) []byte {
	b := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

// indexOf reads the published index of a release's chunks.
func indexOf(t *testing.T, dir string, published tuf.Target) *delta.Index {
	t.Helper()
	c := published.Release.Chunks
	if c == nil {
		t.Fatal("no index of chunks is published")
	}
	pinned := tuf.Target{Name: c.Target, Length: c.Length, Hashes: map[string]string{"sha256": c.SHA256}}
	raw, err := os.ReadFile(filepath.Join(dir, "targets", filepath.FromSlash(pinned.Path(true))))
	if err != nil {
		t.Fatal(err)
	}
	if err := pinned.Verify(bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	x, err := delta.Parse(raw, published.Length)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestPublishIndexesChunks(t *testing.T) {
	for _, bits := range []int{0, 4} {
		repo, dir, _ := newRepository(t, tuf.InitOptions{BinBits: bits})
		image := largeImage(1)
		published, err := repo.PublishWithFiles(t.Context(), release("edge/fw-1", "edge", 1), bytes.NewReader(image), tuf.Files{Algorithm: "sha256", AllowList: strings.NewReader(lines(1))}, start)
		if err != nil {
			t.Fatal(err)
		}
		x := indexOf(t, dir, published)
		for i := range x.Chunks() {
			if !x.Is(i, image[x.Start(i):x.Start(i+1)]) {
				t.Fatalf("chunk %d of the published index is not in the image", i)
			}
		}
		if published.Release.Chunks.Target != "edge/fw-1"+tuf.ChunksSuffix || published.Release.IMA.AllowList == nil {
			t.Errorf("published %+v", published.Release)
		}
		if _, err := repo.Publish(t.Context(), release(published.Release.Chunks.Target, "edge", 2), newContent(), start); !errors.Is(err, tuf.ErrExists) {
			t.Errorf("a release under the name of the index, which is a target: %v", err)
		}
	}
}

func TestStageIndexesChunks(t *testing.T) {
	repo, dir, keys := newRepository(t, tuf.InitOptions{})
	if _, err := repo.StageRelease(t.Context(), release("fw-1", "edge", 1), bytes.NewReader(largeImage(1)), tuf.Files{}, start); err != nil {
		t.Fatal(err)
	}
	s, err := repo.Pending()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.PublishStage(start, sign(t, s, tuf.Keys{Dir: keys})); err != nil {
		t.Fatal(err)
	}
	releases, err := repo.Releases()
	if err != nil || len(releases) != 1 {
		t.Fatal(releases, err)
	}
	indexOf(t, dir, releases[0])
}

// A small image is cheaper than its index and a request.
func TestSmallImagesHaveNoIndex(t *testing.T) {
	repo, _, _ := newRepository(t, tuf.InitOptions{})
	published, err := repo.Publish(t.Context(), release("fw-1", "edge", 1), bytes.NewReader(make([]byte, delta.MinImage-1)), start)
	if err != nil {
		t.Fatal(err)
	}
	if published.Release.Chunks != nil {
		t.Errorf("%d bytes have an index: %+v", published.Length, published.Release.Chunks)
	}
}

// The index needs a name that its signer may sign; the release comes first.
func TestNoIndexWithoutRoomForItsName(t *testing.T) {
	repo, _, _ := newRepository(t, tuf.InitOptions{})
	name := strings.Repeat("n", 185)
	published, err := repo.Publish(t.Context(), release(name, "edge", 1), bytes.NewReader(largeImage(1)), start)
	if err != nil {
		t.Fatal(err)
	}
	if published.Release.Chunks != nil {
		t.Errorf("an index is published as %s", published.Release.Chunks.Target)
	}
}

func TestChunksAreFilledInByPublishing(t *testing.T) {
	repo, dir, _ := newRepository(t, tuf.InitOptions{})
	placed := release("fw-1", "edge", 1)
	placed.Chunks = &tuf.Chunks{Target: "other", Length: 100, SHA256: strings.Repeat("ab", 32)}
	if _, err := repo.Publish(t.Context(), placed, newContent(), start); !errors.Is(err, tuf.ErrInvalid) {
		t.Errorf("chunks placed by the publisher: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "targets")); err == nil && len(left) > 0 {
		t.Errorf("%d targets are left by a refused release", len(left))
	}
}

func TestParseReleaseBoundsChunks(t *testing.T) {
	good := release("fw-1", "edge", 1)
	good.Chunks = &tuf.Chunks{Target: "fw-1.chunks", Length: 100, SHA256: strings.Repeat("ab", 32)}
	for name, tc := range map[string]struct {
		edit func(*tuf.Chunks)
		ok   bool
	}{
		"as published": {func(*tuf.Chunks) {}, true},
		"elsewhere":    {func(c *tuf.Chunks) { c.Target = "../fw" }, false},
		"no length":    {func(c *tuf.Chunks) { c.Length = 0 }, false},
		"too long":     {func(c *tuf.Chunks) { c.Length = delta.MaxBytes + 1 }, false},
		"no digest":    {func(c *tuf.Chunks) { c.SHA256 = "" }, false},
	} {
		rel, chunks := good, *good.Chunks
		tc.edit(&chunks)
		rel.Chunks = &chunks
		text, err := json.Marshal(rel)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tuf.ParseRelease(text); (err == nil) != tc.ok || err != nil && !errors.Is(err, tuf.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A name can be published again after it was withdrawn, with what was beside it.
func TestWithdrawTakesWhatIsBeside(t *testing.T) {
	for _, bits := range []int{0, 4} {
		repo, dir, keys := newRepository(t, tuf.InitOptions{BinBits: bits})
		publish := func(counter byte) tuf.Target {
			t.Helper()
			rel := release("fw-1", "edge", uint64(counter))
			files := tuf.Files{Algorithm: "sha256", AllowList: strings.NewReader(lines(1))}
			published, err := repo.PublishWithFiles(t.Context(), rel, bytes.NewReader(largeImage(counter)), files, start)
			if err != nil {
				t.Fatal(err)
			}
			return published
		}
		publish(1)
		s, err := repo.Stage(start, func(d *tuf.Draft) error { return d.Withdraw("fw-1") })
		if err != nil {
			t.Fatal(err)
		}
		if got := words(s); !strings.Contains(got, "withdraws fw-1.chunks") || !strings.Contains(got, "withdraws fw-1.ima-allow") {
			t.Errorf("withdrawn is:\n%s", got)
		}
		if _, err := repo.PublishStage(start, sign(t, s, tuf.Keys{Dir: keys})); err != nil {
			t.Fatal(err)
		}
		indexOf(t, dir, publish(2))
	}
}

// A device that gets its releases on a stick may also want only what changed.
func TestExportOfAModelHasTheIndex(t *testing.T) {
	repo, _, _ := newRepository(t, tuf.InitOptions{})
	published, err := repo.Publish(t.Context(), release("fw-1", "edge", 1), bytes.NewReader(largeImage(1)), start)
	if err != nil {
		t.Fatal(err)
	}
	var bundle bytes.Buffer
	if err := repo.Export(&bundle, "edge"); err != nil {
		t.Fatal(err)
	}
	found := false
	err = tuf.ReadBundle(&bundle, func(name string, size int64, _ io.Reader) error {
		found = found || strings.HasSuffix(name, published.Release.Chunks.SHA256+".fw-1.chunks") && size == published.Release.Chunks.Length
		return nil
	})
	if err != nil || !found {
		t.Errorf("the index is in the bundle: %v, %v", found, err)
	}
}
