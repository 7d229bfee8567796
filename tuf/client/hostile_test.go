package client_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troth/tuf/client"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// hostile is a repository whose keys, files and answers a test controls.
type hostile struct {
	t      testing.TB
	server *httptest.Server

	root      *metadata.Metadata[metadata.RootType]
	timestamp *metadata.Metadata[metadata.TimestampType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	targets   *metadata.Metadata[metadata.TargetsType]
	delegated map[string]*metadata.Metadata[metadata.TargetsType]
	signers   map[string][]signature.Signer
	hashes    bool // pin length and hash in snapshot and timestamp

	mu       sync.Mutex
	files    map[string][]byte // by decoded path: "/metadata/timestamp.json"
	requests []string          // as received: "GET /metadata/timestamp.json bytes=5-"
	handle   func(w http.ResponseWriter, r *http.Request) bool
}

func newHostile(t testing.TB) *hostile {
	t.Helper()
	expires := start.Add(30 * 24 * time.Hour)
	h := &hostile{
		t: t, root: metadata.Root(expires), timestamp: metadata.Timestamp(expires),
		snapshot: metadata.Snapshot(expires), targets: metadata.Targets(expires),
		delegated: map[string]*metadata.Metadata[metadata.TargetsType]{},
		signers:   map[string][]signature.Signer{}, files: map[string][]byte{},
	}
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		h.addKey(role)
	}
	h.server = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.server.Close)
	h.publishRoot()
	h.publish()
	return h
}

func newSigner(t testing.TB) (signature.Signer, *metadata.Key) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signature.LoadSigner(private, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	key, err := metadata.KeyFromPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer, key
}

func (h *hostile) addKey(role string) {
	h.t.Helper()
	signer, key := newSigner(h.t)
	if err := h.root.Signed.AddKey(key, role); err != nil {
		h.t.Fatal(err)
	}
	h.signers[role] = append(h.signers[role], signer)
}

// replaceKey rotates a role's key; the next publishRoot makes it known.
func (h *hostile) replaceKey(role string) {
	h.t.Helper()
	for _, id := range append([]string(nil), h.root.Signed.Roles[role].KeyIDs...) {
		if err := h.root.Signed.RevokeKey(id, role); err != nil {
			h.t.Fatal(err)
		}
	}
	h.signers[role] = nil
	h.addKey(role)
}

func signed[T metadata.Roles](t testing.TB, md *metadata.Metadata[T], signers ...signature.Signer) []byte {
	t.Helper()
	md.ClearSignatures()
	for _, s := range signers {
		if _, err := md.Sign(s); err != nil {
			t.Fatal(err)
		}
	}
	data, err := md.ToBytes(false)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (h *hostile) put(path string, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files[path] = data
}

func (h *hostile) get(path string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.files[path]
}

func (h *hostile) publishRoot() []byte {
	h.t.Helper()
	data := signed(h.t, h.root, h.signers[metadata.ROOT]...)
	h.put(fmt.Sprintf("/metadata/%d.root.json", h.root.Signed.Version), data)
	return data
}

func (h *hostile) bumpRoot() {
	h.t.Helper()
	h.root.Signed.Version++
	h.publishRoot()
}

func (h *hostile) pin(version int64, data []byte) *metadata.MetaFiles {
	m := &metadata.MetaFiles{Version: version}
	if h.hashes {
		sum := sha256.Sum256(data)
		m.Length, m.Hashes = int64(len(data)), metadata.Hashes{"sha256": sum[:]}
	}
	return m
}

// publish signs and serves all roles but root, at their versions.
func (h *hostile) publish() {
	h.t.Helper()
	for name, md := range h.delegated {
		data := signed(h.t, md, h.signers["delegated "+name]...)
		h.put(fmt.Sprintf("/metadata/%d.%s.json", md.Signed.Version, name), data)
		h.snapshot.Signed.Meta[name+".json"] = h.pin(md.Signed.Version, data)
	}
	data := signed(h.t, h.targets, h.signers[metadata.TARGETS]...)
	h.put(fmt.Sprintf("/metadata/%d.targets.json", h.targets.Signed.Version), data)
	h.snapshot.Signed.Meta["targets.json"] = h.pin(h.targets.Signed.Version, data)
	h.publishSnapshot()
}

func (h *hostile) publishSnapshot() {
	h.t.Helper()
	data := signed(h.t, h.snapshot, h.signers[metadata.SNAPSHOT]...)
	h.put(fmt.Sprintf("/metadata/%d.snapshot.json", h.snapshot.Signed.Version), data)
	h.timestamp.Signed.Meta["snapshot.json"] = h.pin(h.snapshot.Signed.Version, data)
	h.publishTimestamp()
}

func (h *hostile) publishTimestamp() {
	h.t.Helper()
	h.put("/metadata/timestamp.json", signed(h.t, h.timestamp, h.signers[metadata.TIMESTAMP]...))
}

// bump raises the versions of targets, snapshot and timestamp and publishes.
func (h *hostile) bump() {
	h.t.Helper()
	h.targets.Signed.Version++
	h.snapshot.Signed.Version++
	h.timestamp.Signed.Version++
	h.publish()
}

// addTarget signs content into targets (without publishing) and serves it.
func (h *hostile) addTarget(name string, content []byte) {
	h.addTargetTo(h.targets, name, content)
}

func (h *hostile) addTargetTo(role *metadata.Metadata[metadata.TargetsType], name string, content []byte) {
	sum := sha256.Sum256(content)
	role.Signed.Targets[name] = &metadata.TargetFiles{Path: name, Length: int64(len(content)), Hashes: metadata.Hashes{"sha256": sum[:]}}
	dir, base := filepath.Split(name)
	h.put(fmt.Sprintf("/targets/%s%x.%s", dir, sum, base), content)
}

// delegate adds a role below targets that may sign every path.
func (h *hostile) delegate(name string, expires time.Time) *metadata.Metadata[metadata.TargetsType] {
	h.t.Helper()
	signer, key := newSigner(h.t)
	id, err := key.ID()
	if err != nil {
		h.t.Fatal(err)
	}
	if h.targets.Signed.Delegations == nil {
		h.targets.Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	d := h.targets.Signed.Delegations
	d.Keys[id] = key
	d.Roles = append(d.Roles, metadata.DelegatedRole{Name: name, KeyIDs: []string{id}, Threshold: 1, Paths: []string{"*", "*/*"}})
	md := metadata.Targets(expires)
	h.delegated[name], h.signers["delegated "+name] = md, []signature.Signer{signer}
	return md
}

func (h *hostile) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	line := r.Method + " " + r.URL.EscapedPath()
	if rng := r.Header.Get("Range"); rng != "" {
		line += " " + rng
	}
	h.requests = append(h.requests, line)
	data, ok := h.files[r.URL.Path]
	handle := h.handle
	h.mu.Unlock()
	if handle != nil && handle(w, r) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
}

func (h *hostile) setHandle(f func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handle = f
}

// takeRequests gives what was requested since the last call.
func (h *hostile) takeRequests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.requests
	h.requests = nil
	return list
}

// device is a client with a clock that a test sets.
type device struct {
	*client.Client
	cfg client.Config
	now time.Time
}

// newDevice trusts the repository's first root.
func (h *hostile) newDevice() *device {
	h.t.Helper()
	d := &device{now: start}
	d.cfg = client.Config{
		Dir: filepath.Join(h.t.TempDir(), "tuf"), Root: h.get("/metadata/1.root.json"),
		MetadataURL: h.server.URL + "/metadata", TargetsURL: h.server.URL + "/targets/",
		Now: func() time.Time { return d.now },
	}
	d.reboot(h.t)
	return d
}

// reboot forgets everything that is not on disk.
func (d *device) reboot(t testing.TB) {
	t.Helper()
	c, err := client.New(d.cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.Client = c
}

func (d *device) mustRefresh(t *testing.T) {
	t.Helper()
	if err := d.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// refuse refreshes and wants this code.
func (d *device) refuse(t *testing.T, code string) {
	t.Helper()
	if err := d.Refresh(t.Context()); client.Code(err) != code {
		t.Fatalf("refresh: %v, want %s", err, code)
	}
}

// kept gives the version of a role that the device keeps, 0 if none.
func (d *device) kept(t *testing.T, role string) int64 {
	t.Helper()
	data := readFile(filepath.Join(d.cfg.Dir, role+".json"))
	if data == nil {
		return 0
	}
	var md struct {
		Signed struct {
			Version int64 `json:"version"`
		} `json:"signed"`
	}
	if err := json.Unmarshal(data, &md); err != nil {
		t.Fatal(err)
	}
	return md.Signed.Version
}

func (d *device) wantKept(t *testing.T, root, timestamp, snapshot, targets int64) {
	t.Helper()
	got := fmt.Sprint(d.kept(t, "root"), d.kept(t, "timestamp"), d.kept(t, "snapshot"), d.kept(t, "targets"))
	if want := fmt.Sprint(root, timestamp, snapshot, targets); got != want {
		t.Errorf("kept versions (root timestamp snapshot targets) %s, want %s", got, want)
	}
}
