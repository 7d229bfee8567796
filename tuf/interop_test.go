package tuf_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"troth/tuf"
)

// A second opinion: go-tuf's own updater follows our repository through
// rotations of every role and gets the target.
func TestReferenceUpdaterFollowsTheRepository(t *testing.T) {
	repo, dir, _ := newRepository(t, tuf.InitOptions{KeyType: tuf.KeyECDSA, TargetsKeys: 2, TargetsThreshold: 2})
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Rotate(start, "root", "targets", "snapshot", "timestamp"); err != nil {
		t.Fatal(err)
	}
	publish(t, repo, release("edge/fw.tar", "edge", 1), "firmware", start)
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	cfg, err := config.New(server.URL+"/metadata", root)
	if err != nil {
		t.Fatal(err)
	}
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = filepath.Join(t.TempDir(), "m"), filepath.Join(t.TempDir(), "t")
	cfg.RemoteTargetsURL = server.URL + "/targets"
	up, err := updater.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	up.UnsafeSetRefTime(start)
	info, err := up.GetTargetInfo("edge/fw.tar")
	if err != nil {
		t.Fatal(err)
	}
	if _, data, err := up.DownloadTarget(info, "", ""); err != nil || string(data) != "firmware" {
		t.Errorf("downloaded %q, %v", data, err)
	}
}
