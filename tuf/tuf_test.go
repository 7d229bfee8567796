package tuf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/tuf"
	"troth/tuf/client"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func release(name, model string, counter uint64) tuf.Release {
	return tuf.Release{
		Name: name, Model: model, Version: fmt.Sprintf("1.%d", counter), Counter: counter,
		Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"0": strings.Repeat("ab", 32), "23": fmt.Sprintf("%064x", counter)}},
	}
}

// newRepository makes one in a temporary directory and opens it.
func newRepository(t *testing.T, o tuf.InitOptions) (repo *tuf.Repository, dir, keys string) {
	t.Helper()
	base := t.TempDir()
	dir, keys = filepath.Join(base, "repo"), filepath.Join(base, "keys")
	o.KeysDir, o.Now = keys, start
	if err := tuf.Init(dir, o); err != nil {
		t.Fatal(err)
	}
	repo, err := tuf.Open(dir, keys)
	if err != nil {
		t.Fatal(err)
	}
	return repo, dir, keys
}

func publish(t *testing.T, repo *tuf.Repository, rel tuf.Release, content string, now time.Time) tuf.Target {
	t.Helper()
	target, err := repo.Publish(context.Background(), rel, strings.NewReader(content), now)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// follower is a real client of the directory.
func follower(t *testing.T, dir string, root []byte, now func() time.Time) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{
		Dir: filepath.Join(t.TempDir(), "tuf"), Root: root, Now: now,
		MetadataURL: "file://" + filepath.Join(dir, "metadata"), TargetsURL: "file://" + filepath.Join(dir, "targets"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func TestPublishedReleaseReachesClient(t *testing.T) {
	for _, keyType := range []string{tuf.KeyEd25519, tuf.KeyECDSA} {
		t.Run(keyType, func(t *testing.T) {
			repo, dir, keys := newRepository(t, tuf.InitOptions{KeyType: keyType, RootKeys: 3, RootThreshold: 2, TargetsKeys: 2, TargetsThreshold: 2})
			rel := release("edge/fw-7.tar", "edge", 7)
			rel.Security, rel.Notes = true, "fixes <&> things"
			published := publish(t, repo, rel, "firmware", start)
			root, err := repo.Root()
			if err != nil {
				t.Fatal(err)
			}
			c := follower(t, dir, root, at(start))
			if err := c.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := c.Find(rel.Name)
			if err != nil {
				t.Fatal(err)
			}
			if got.Release == nil || got.Release.Notes != rel.Notes || got.Hashes["sha256"] != published.Hashes["sha256"] {
				t.Fatalf("client sees %+v, published %+v", got, published)
			}
			dest := filepath.Join(t.TempDir(), "fw")
			if err := c.Download(t.Context(), rel.Name, dest, nil); err != nil {
				t.Fatal(err)
			}
			if data, _ := os.ReadFile(dest); string(data) != "firmware" {
				t.Fatalf("downloaded %q", data)
			}
			checkModes(t, keys)
		})
	}
}

func checkModes(t *testing.T, keys string) {
	t.Helper()
	entries, err := os.ReadDir(keys)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 7 { // 3 root, 2 targets, snapshot, timestamp
		t.Errorf("%d files in the keys directory, want 7", len(entries))
	}
	for _, e := range entries {
		if info, _ := e.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", e.Name(), info.Mode().Perm())
		}
	}
}

func TestPublishRefuses(t *testing.T) {
	repo, dir, _ := newRepository(t, tuf.InitOptions{})
	publish(t, repo, release("fw-5.bin", "edge", 5), "five", start)
	change := func(f func(*tuf.Release)) tuf.Release {
		rel := release("fw-6.bin", "edge", 6)
		f(&rel)
		return rel
	}
	reference := func(bank, index, value string) func(*tuf.Release) {
		return func(r *tuf.Release) { r.Reference = &tuf.Reference{Bank: bank, PCRs: map[string]string{index: value}} }
	}
	good := strings.Repeat("0f", 32)
	cases := []struct {
		name string
		rel  tuf.Release
		want error
	}{
		{"equal counter", change(func(r *tuf.Release) { r.Counter = 5 }), tuf.ErrCounter},
		{"lower counter", change(func(r *tuf.Release) { r.Counter = 4 }), tuf.ErrCounter},
		{"zero counter", change(func(r *tuf.Release) { r.Counter = 0 }), tuf.ErrInvalid},
		{"inexact counter", change(func(r *tuf.Release) { r.Counter = 1 << 53 }), tuf.ErrInvalid},
		{"name taken", change(func(r *tuf.Release) { r.Name = "fw-5.bin" }), tuf.ErrExists},
		{"no model", change(func(r *tuf.Release) { r.Model = "" }), tuf.ErrInvalid},
		{"control character", change(func(r *tuf.Release) { r.Version = "1\x1b[2J" }), tuf.ErrInvalid},
		{"no reference", change(func(r *tuf.Release) { r.Reference = nil }), tuf.ErrInvalid},
		{"empty reference", change(func(r *tuf.Release) { r.Reference = &tuf.Reference{Bank: "sha256"} }), tuf.ErrInvalid},
		{"sha1 bank", change(reference("sha1", "0", good)), tuf.ErrInvalid},
		{"PCR 24", change(reference("sha256", "24", good)), tuf.ErrInvalid},
		{"PCR -1", change(reference("sha256", "-1", good)), tuf.ErrInvalid},
		{"PCR 00", change(reference("sha256", "00", good)), tuf.ErrInvalid},
		{"short digest", change(reference("sha256", "0", good[:62])), tuf.ErrInvalid},
		{"upper case digest", change(reference("sha256", "0", strings.ToUpper(good))), tuf.ErrInvalid},
		{"not hex", change(reference("sha256", "0", strings.Repeat("zz", 32))), tuf.ErrInvalid},
		{"SBOM without digest", change(func(r *tuf.Release) { r.SBOM = &tuf.SBOM{Format: "cyclonedx+json"} }), tuf.ErrInvalid},
	}
	for _, name := range []string{"", ".", "..", "../x", "/x", "a//b", "a/../b", "a/", ".hidden", "-rf", `a\b`, "a\x00b", "a b", "a%2fb", "é", strings.Repeat("a", 201)} {
		cases = append(cases, struct {
			name string
			rel  tuf.Release
			want error
		}{fmt.Sprintf("name %.20q", name), change(func(r *tuf.Release) { r.Name = name }), tuf.ErrInvalid})
	}
	before := tree(t, dir)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := repo.Publish(t.Context(), tc.rel, strings.NewReader("six"), start)
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("repository changed:\n%s\nwas\n%s", after, before)
			}
		})
	}
	if _, err := repo.Publish(t.Context(), release("fw-6.bin", "edge", 6), strings.NewReader(""), start); !errors.Is(err, tuf.ErrInvalid) {
		t.Errorf("empty content: %v", err)
	}
	publish(t, repo, release("other-1.bin", "gateway", 1), "another model counts by itself", start)
}

// tree lists the served files.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	for _, sub := range []string{"metadata", "targets"} {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				fmt.Fprintln(&list, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return list.String()
}

func TestPublishSurvivesBrokenContent(t *testing.T) {
	repo, dir, _ := newRepository(t, tuf.InitOptions{})
	before := tree(t, dir)
	broken := io.MultiReader(strings.NewReader("half"), errReader{})
	if _, err := repo.Publish(t.Context(), release("fw.bin", "edge", 1), broken, start); !errors.Is(err, io.ErrNoProgress) {
		t.Fatalf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := repo.Publish(ctx, release("fw.bin", "edge", 1), strings.NewReader("x"), start); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if tree(t, dir) != before {
		t.Error("repository changed")
	}
	if left, _ := os.ReadDir(filepath.Join(dir, ".staging")); len(left) != 0 {
		t.Errorf("%d staged files left", len(left))
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

func TestPublishNeedsOnlineAndTargetsKeys(t *testing.T) {
	repo, _, keys := newRepository(t, tuf.InitOptions{})
	if err := os.Rename(filepath.Join(keys, "targets.pem"), filepath.Join(t.TempDir(), "targets.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(keys, "root.pem")); err != nil {
		t.Fatal(err)
	}
	content := &countingReader{r: strings.NewReader("x")}
	_, err := repo.Publish(t.Context(), release("fw.bin", "edge", 1), content, start)
	var missing *tuf.MissingKeyError
	if !errors.As(err, &missing) || missing.Role != "targets" || missing.KeysDir != keys {
		t.Fatalf("error %v", err)
	}
	if !strings.Contains(err.Error(), "targets key is missing") || content.n != 0 {
		t.Errorf("message %q after reading %d bytes", err, content.n)
	}
	if err := repo.Refresh(start.Add(20 * time.Hour)); err != nil {
		t.Errorf("refresh without the offline keys: %v", err)
	}
	if err := repo.Rotate(start, "timestamp"); !errors.As(err, &missing) || missing.Role != "root" {
		t.Errorf("rotate without the root key: %v", err)
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestKeyFileOpenToOthersIsRefused(t *testing.T) {
	repo, _, keys := newRepository(t, tuf.InitOptions{})
	if err := os.Chmod(filepath.Join(keys, "snapshot.pem"), 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := repo.Publish(t.Context(), release("fw.bin", "edge", 1), strings.NewReader("x"), start)
	if err == nil || !strings.Contains(err.Error(), "open to others") {
		t.Errorf("error %v", err)
	}
}

func TestInitTwice(t *testing.T) {
	_, dir, keys := newRepository(t, tuf.InitOptions{})
	if err := tuf.Init(dir, tuf.InitOptions{KeysDir: keys, Now: start}); !errors.Is(err, tuf.ErrExists) {
		t.Errorf("error %v", err)
	}
	if _, err := tuf.Open(t.TempDir(), ""); !errors.Is(err, tuf.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	repo, dir, keys := newRepository(t, tuf.InitOptions{})
	other, err := tuf.Open(dir, keys)
	if err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := repo.Publish(context.Background(), release("slow.bin", "edge", 1), reader, start)
		done <- err
	}()
	if _, err := writer.Write([]byte("first half")); err != nil { // returns once Publish reads
		t.Fatal(err)
	}
	if _, err := other.Publish(t.Context(), release("fast.bin", "edge", 1), strings.NewReader("x"), start); !errors.Is(err, tuf.ErrLocked) {
		t.Errorf("second publisher: %v", err)
	}
	if err := other.Refresh(start.Add(13 * time.Hour)); err != nil {
		t.Errorf("a long upload keeps the timestamp from being signed: %v", err)
	}
	writer.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if list, err := other.Releases(); err != nil || len(list) != 1 {
		t.Errorf("releases %v, %v", list, err)
	}
}

func TestReleasesAreSorted(t *testing.T) {
	repo, _, _ := newRepository(t, tuf.InitOptions{})
	publish(t, repo, release("b1", "b", 1), "b1", start)
	publish(t, repo, release("a1", "a", 1), "a1", start)
	publish(t, repo, release("a2", "a", 2), "a2", start)
	list, err := repo.Releases()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range list {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); got != "a2 a1 b1" {
		t.Errorf("order %s", got)
	}
}

func TestTargetVerify(t *testing.T) {
	repo, _, _ := newRepository(t, tuf.InitOptions{})
	target := publish(t, repo, release("fw", "edge", 1), "content", start)
	for _, tc := range []struct {
		content string
		good    bool
	}{{"content", true}, {"conten", false}, {"contents", false}, {"Content", false}, {"", false}} {
		err := target.Verify(bytes.NewReader([]byte(tc.content)))
		if (err == nil) != tc.good || err != nil && !errors.Is(err, tuf.ErrContent) {
			t.Errorf("%q: %v", tc.content, err)
		}
	}
	target.Hashes = nil
	if target.Verify(strings.NewReader("content")) == nil {
		t.Error("verified without a hash")
	}
}
