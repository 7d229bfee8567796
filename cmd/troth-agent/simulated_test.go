package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

const (
	rootRole      = metadata.ROOT
	timestampRole = metadata.TIMESTAMP
	snapshotRole  = metadata.SNAPSHOT
	targetsRole   = metadata.TARGETS
)

// signer is a key that signs metadata under an id of the test's choice.
type signer struct {
	id  string
	key *metadata.Key
	by  signature.Signer
}

// simulated is a TUF repository whose every file a test controls, behind a real
// server. What publish made stays: a client may ask for any version.
type simulated struct {
	t         testing.TB
	url       string
	root      *metadata.Metadata[metadata.RootType]
	timestamp *metadata.Metadata[metadata.TimestampType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	targets   map[string]*metadata.Metadata[metadata.TargetsType] // "targets" and delegated roles
	signers   map[string][]*signer
	hashes    bool // pin length and hash of metadata

	mu        sync.Mutex
	published map[string][][]byte // by role; version N is the N-th
	content   map[string][]byte   // by target path
	asked     []string            // for metadata, in order: "2.root", "timestamp"
	fetched   []string            // target paths with their hash prefix
}

func newSimulated(t testing.TB) *simulated {
	t.Helper()
	expires := time.Now().UTC().Add(30 * 24 * time.Hour).Truncate(time.Second)
	s := &simulated{
		t: t, root: metadata.Root(expires), timestamp: metadata.Timestamp(expires), snapshot: metadata.Snapshot(expires),
		targets: map[string]*metadata.Metadata[metadata.TargetsType]{targetsRole: metadata.Targets(expires)},
		signers: map[string][]*signer{}, published: map[string][][]byte{}, content: map[string][]byte{},
	}
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		s.addKey(role, newKey(t, "ed25519"))
	}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.url = server.URL
	s.publish(targetsRole, snapshotRole, timestampRole, rootRole)
	return s
}

func newKey(t testing.TB, kind string) *signer {
	t.Helper()
	var private crypto.Signer
	var err error
	switch kind {
	case "rsa":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ecdsa":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{}
	if r, ok := private.(*rsa.PrivateKey); ok {
		s.by, err = signature.LoadRSAPSSSigner(r, crypto.SHA256, &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		s.by, err = signature.LoadSigner(private, crypto.SHA256)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.key, err = metadata.KeyFromPublicKey(private.Public()); err != nil {
		t.Fatal(err)
	}
	s.named(t)
	return s
}

// named gives the signer the id of its key as it is now.
func (s *signer) named(t testing.TB) {
	t.Helper()
	payload, err := cjson.EncodeCanonical(s.key)
	if err != nil {
		t.Fatal(err)
	}
	s.id = fmt.Sprintf("%x", sha256.Sum256(payload))
}

// addKey lets a key sign for a top-level role, and has it sign.
func (s *simulated) addKey(role string, k *signer) {
	s.trust(role, k)
	s.signers[role] = append(s.signers[role], k)
}

// trust lets a key sign for a top-level role.
func (s *simulated) trust(role string, k *signer) {
	s.root.Signed.Keys[k.id] = k.key
	s.root.Signed.Roles[role].KeyIDs = append(s.root.Signed.Roles[role].KeyIDs, k.id)
}

// rotate takes all keys from a role and gives it a new one.
func (s *simulated) rotate(role string) {
	s.root.Signed.Roles[role].KeyIDs, s.signers[role] = nil, nil
	s.addKey(role, newKey(s.t, "ed25519"))
}

// publish signs roles in that order, each under its next version, and has those
// above know of it. What a test set before stays.
func (s *simulated) publish(roles ...string) {
	s.t.Helper()
	for _, role := range roles {
		var data []byte
		next := func(version int64) int64 {
			if s.versions(role) == 0 {
				return version
			}
			return version + 1
		}
		switch role {
		case rootRole:
			s.root.Signed.Version = next(s.root.Signed.Version)
			data = sealed(s, role, s.root)
		case timestampRole:
			s.timestamp.Signed.Version = next(s.timestamp.Signed.Version)
			data = sealed(s, role, s.timestamp)
		case snapshotRole:
			s.snapshot.Signed.Version = next(s.snapshot.Signed.Version)
			data = sealed(s, role, s.snapshot)
			s.timestamp.Signed.Meta["snapshot.json"] = s.pin(s.snapshot.Signed.Version, data)
		default:
			md := s.targets[role]
			md.Signed.Version = next(md.Signed.Version)
			data = sealed(s, role, md)
			s.snapshot.Signed.Meta[role+".json"] = s.pin(md.Signed.Version, data)
		}
		s.mu.Lock()
		s.published[role] = append(s.published[role], data)
		s.mu.Unlock()
	}
}

// everything publishes what a change of targets takes.
func (s *simulated) everything(before ...string) {
	s.t.Helper()
	s.publish(append(before, targetsRole, snapshotRole, timestampRole)...)
}

func sealed[T metadata.Roles](s *simulated, role string, md *metadata.Metadata[T]) []byte {
	s.t.Helper()
	payload, err := cjson.EncodeCanonical(md.Signed)
	if err != nil {
		s.t.Fatal(err)
	}
	md.ClearSignatures()
	for _, k := range s.signers[role] {
		sig, err := k.by.SignMessage(strings.NewReader(string(payload)))
		if err != nil {
			s.t.Fatal(err)
		}
		md.Signatures = append(md.Signatures, metadata.Signature{KeyID: k.id, Signature: sig})
	}
	data, err := md.ToBytes(true)
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

func (s *simulated) pin(version int64, data []byte) *metadata.MetaFiles {
	m := &metadata.MetaFiles{Version: version}
	if s.hashes {
		sum := sha256.Sum256(data)
		m.Length, m.Hashes = int64(len(data)), metadata.Hashes{"sha256": sum[:]}
	}
	return m
}

func (s *simulated) versions(role string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.published[role])
}

// last is the newest published file of a role.
func (s *simulated) last(role string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published[role][len(s.published[role])-1]
}

// instead replaces the newest published file of a role.
func (s *simulated) instead(role string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published[role][len(s.published[role])-1] = data
}

// signatures edits the signatures of the newest published file of a role, which the
// library would not write so.
func (s *simulated) signatures(role string, edit func([]metadata.Signature) []metadata.Signature) {
	s.t.Helper()
	var file struct {
		Signatures []metadata.Signature `json:"signatures"`
		Signed     json.RawMessage      `json:"signed"`
	}
	if err := json.Unmarshal(s.last(role), &file); err != nil {
		s.t.Fatal(err)
	}
	file.Signatures = edit(file.Signatures)
	data, err := json.Marshal(file)
	if err != nil {
		s.t.Fatal(err)
	}
	s.instead(role, data)
}

// forget takes all versions of a role away, to count from 1 again.
func (s *simulated) forget(role string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.published, role)
}

// add signs content into a role, without publishing it, under the named hashes.
func (s *simulated) add(role, name, content string, hashes ...string) {
	target := &metadata.TargetFiles{Path: name, Length: int64(len(content)), Hashes: metadata.Hashes{}}
	for _, h := range append(hashes, "sha256")[:max(1, len(hashes))] {
		switch h {
		case "sha256":
			sum := sha256.Sum256([]byte(content))
			target.Hashes[h] = sum[:]
		default: // sha512, or that by a name that nobody knows
			sum := sha512.Sum512([]byte(content))
			target.Hashes[h] = sum[:]
		}
	}
	s.targets[role].Signed.Targets[name] = target
	s.serveContent(name, content)
}

func (s *simulated) serveContent(name, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content[name] = []byte(content)
}

// delegate has one role delegate path patterns to another, with a key of its own.
func (s *simulated) delegate(from, to string, terminating bool, patterns ...string) {
	s.t.Helper()
	if s.targets[to] == nil {
		s.targets[to] = metadata.Targets(s.snapshot.Signed.Expires)
	}
	k := newKey(s.t, "ed25519")
	s.signers[to] = append(s.signers[to], k)
	d := s.delegations(from)
	d.Keys[k.id] = k.key
	d.Roles = append(d.Roles, metadata.DelegatedRole{Name: to, KeyIDs: []string{k.id}, Threshold: 1, Terminating: terminating, Paths: patterns})
}

func (s *simulated) delegations(of string) *metadata.Delegations {
	md := s.targets[of]
	if md.Signed.Delegations == nil {
		md.Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	return md.Signed.Delegations
}

func (s *simulated) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var data []byte
	switch folder, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/"); folder {
	case "metadata":
		file := strings.TrimSuffix(rest, ".json")
		s.asked = append(s.asked, file)
		data = s.file(file)
	case "targets":
		s.fetched = append(s.fetched, rest)
		name, err := url.PathUnescape(rest)
		if err != nil {
			break
		}
		dir, base := path.Split(name)
		_, base, _ = strings.Cut(base, ".") // the prefix is a hash: consistent snapshots
		data = s.content[dir+base]
	}
	if data == nil {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(data)
}

// file is "timestamp", or "3.snapshot".
func (s *simulated) file(name string) []byte {
	if list := s.published[name]; name == timestampRole && len(list) > 0 {
		return list[len(list)-1]
	}
	number, role, _ := strings.Cut(name, ".")
	version, err := strconv.Atoi(number)
	if err != nil {
		return nil
	}
	if role, err = url.PathUnescape(role); err != nil || version < 1 || version > len(s.published[role]) {
		return nil
	}
	return s.published[role][version-1]
}

// wantAsked requires that these files were asked for since the last call.
func (s *simulated) wantAsked(want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.asked, want) {
		s.t.Errorf("asked for %q, want %q", s.asked, want)
	}
	s.asked = nil
}

// wantLastAsked requires that the client asked for this last.
func (s *simulated) wantLastAsked(want string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 || s.asked[len(s.asked)-1] != want {
		s.t.Errorf("asked for %q, and not for %s last", s.asked, want)
	}
}

func newTargets(expires time.Time) *metadata.Metadata[metadata.TargetsType] {
	return metadata.Targets(expires)
}

// hashBins has targets delegate everything to 2^bits bins, publishes them, and says
// which of them has the one target.
func (s *simulated) hashBins(bits int, name, content string) (bin string) {
	s.t.Helper()
	k := newKey(s.t, "ed25519")
	succinct := &metadata.SuccinctRoles{KeyIDs: []string{k.id}, Threshold: 1, BitLength: bits, NamePrefix: "bin"}
	s.targets[targetsRole].Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{k.id: k.key}, SuccinctRoles: succinct}
	bins := succinct.GetRoles()
	for _, b := range bins {
		s.role(b)
		s.signers[b] = []*signer{k}
	}
	bin = succinct.GetRolesForTarget(name)[0].Name
	s.add(bin, name, content)
	s.everything(bins...)
	return bin
}

// serveDirectory serves a repository from disk instead.
func (s *simulated) serveDirectory(dir string) {
	s.t.Helper()
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	s.t.Cleanup(server.Close)
	s.url = server.URL
}

// moduleDir is where Go keeps the source of a module that we depend on.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("find %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
