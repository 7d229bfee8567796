package client_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troth/tuf"
	"troth/tuf/client"
)

// A device that slept through fifteen rotations of the root and online keys
// catches up in one refresh, over HTTP and from a directory.
func TestAttack_T2_FifteenRootRotations(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "repo")
	if err := tuf.Init(dir, tuf.InitOptions{KeysDir: filepath.Join(base, "keys"), Now: start}); err != nil {
		t.Fatal(err)
	}
	repo, err := tuf.Open(dir, filepath.Join(base, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	devices := map[string]*client.Client{}
	for name, url := range map[string]string{"http": server.URL, "file": "file://" + dir} {
		c, err := client.New(client.Config{
			Dir: filepath.Join(base, name), Root: root, Now: func() time.Time { return start },
			MetadataURL: url + "/metadata", TargetsURL: url + "/targets",
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		devices[name] = c
	}
	for i := range 15 {
		roles := []string{metadata.ROOT}
		if i%5 == 4 {
			roles = []string{metadata.ROOT, metadata.TIMESTAMP, metadata.SNAPSHOT}
		}
		if err := repo.Rotate(start, roles...); err != nil {
			t.Fatal(err)
		}
	}
	rel := tuf.Release{Name: "fw.tar", Model: "edge", Version: "2", Counter: 2,
		Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"0": strings.Repeat("01", 32)}}}
	if _, err := repo.Publish(t.Context(), rel, strings.NewReader("firmware"), start); err != nil {
		t.Fatal(err)
	}
	for name, c := range devices {
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := c.Find("fw.tar")
		if err != nil || got.Release == nil || got.Release.Reference.PCRs["0"] != strings.Repeat("01", 32) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		dest := filepath.Join(t.TempDir(), "fw")
		if err := os.WriteFile(dest+".part", []byte("firm"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.Download(t.Context(), "fw.tar", dest, nil); err != nil || string(readFile(dest)) != "firmware" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMoreRotationsThanOneRefreshFollows(t *testing.T) {
	h := newHostile(t)
	d := h.newDevice()
	for range 5 {
		h.bumpRoot()
	}
	d.cfg.Limits.RootRotations = 3
	d.reboot(t)
	d.refuse(t, client.CodeTooLarge)
	d.wantKept(t, 4, 0, 0, 0)
	d.mustRefresh(t)
	d.wantKept(t, 6, 1, 1, 1)
}

func TestNewerConfiguredRootIsUsed(t *testing.T) {
	h := newHostile(t)
	d := h.newDevice()
	d.mustRefresh(t)
	h.bumpRoot()
	d.cfg.Root = h.get("/metadata/2.root.json")
	d.reboot(t)
	h.put("/metadata/2.root.json", nil) // nobody else has it
	d.mustRefresh(t)
	d.wantKept(t, 2, 1, 1, 1)
}

func TestDelegationsAreVisitedInOrder(t *testing.T) {
	h := newHostile(t)
	for _, name := range []string{"a", "b", "c"} {
		h.delegate(name, start.Add(time.Hour))
	}
	h.targets.Signed.Delegations.Roles[1].Terminating = true
	h.addTargetTo(h.delegated["c"], "hidden", []byte("x"))
	h.addTargetTo(h.delegated["b"], "fw", []byte("b"))
	h.bump()
	d := h.newDevice()
	d.mustRefresh(t)
	h.takeRequests()
	if _, err := d.Lookup(t.Context(), "hidden"); client.Code(err) != client.CodeNotFound {
		t.Errorf("behind a terminating role: %v", err)
	}
	if got := fmt.Sprint(h.takeRequests()); got != "[GET /metadata/1.a.json GET /metadata/1.b.json]" {
		t.Errorf("visited %s", got)
	}
	if _, err := d.Lookup(t.Context(), "fw"); err != nil {
		t.Error(err)
	}
	if _, err := d.Find("fw"); client.Code(err) != client.CodeNotFound {
		t.Errorf("find looks at top-level targets only: %v", err)
	}
}

func TestConformanceCommandLine(t *testing.T) {
	h := newHostile(t)
	// The command line has the machine's clock.
	expires := time.Now().Add(time.Hour)
	h.root.Signed.Expires, h.timestamp.Signed.Expires, h.snapshot.Signed.Expires, h.targets.Signed.Expires = expires, expires, expires, expires
	rootFile := filepath.Join(t.TempDir(), "initial.json")
	root := h.publishRoot()
	if err := os.WriteFile(rootFile, root, 0o600); err != nil {
		t.Fatal(err)
	}
	h.addTarget("dir/fw", []byte("firmware"))
	h.bump()
	dir, targets := filepath.Join(t.TempDir(), "metadata"), t.TempDir()
	run := func(want int, args ...string) {
		t.Helper()
		var stderr bytes.Buffer
		if got := client.Conformance(args, io.Discard, &stderr, time.Now); got != want {
			t.Errorf("%v: exit %d, want %d: %s", args, got, want, &stderr)
		}
	}
	source := h.server.URL + "/metadata"
	refresh := []string{"--metadata-url", source, "--metadata-dir", dir, "refresh"}
	get := func(name string) []string {
		return []string{"--metadata-url", source, "--metadata-dir", dir, "--target-name", name,
			"--target-dir", targets, "--target-base-url", h.server.URL + "/targets", "download"}
	}
	run(1)
	run(1, "refresh")
	run(1, "--metadata-dir", dir, "init")
	run(1, "--metadata-dir", dir, "init", rootFile+".none")
	run(1, "--metadata-dir", dir, "launch")
	run(1, "--nonsense")
	run(1, refresh...)
	h.takeRequests()
	run(0, "--metadata-dir", dir, "init", rootFile)
	if got := h.takeRequests(); len(got) != 0 {
		t.Errorf("init used the network: %v", got)
	}
	run(0, refresh...)
	run(0, get("dir/fw")...)
	if string(readFile(filepath.Join(targets, "dir%2Ffw"))) != "firmware" {
		t.Error("target is not there")
	}
	run(1, get("missing")...)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "root.json snapshot.json targets.json timestamp.json" {
		t.Errorf("metadata directory holds %s", got)
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, bytes.Replace(root, []byte(`"version":1`), []byte(`"other":1`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	run(1, "--metadata-dir", filepath.Join(t.TempDir(), "x"), "init", bad)
}
