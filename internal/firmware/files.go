package firmware

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"troth/attest"
	"troth/attest/ima"
	"troth/internal/fleet"
	"troth/tuf"
	"troth/tuf/client"
)

// retryAfter spares the disk where an allow-list cannot be loaded and every
// device of a fleet asks for it.
const retryAfter = 15 * time.Second

// rules are the loaded file rules of the releases in the catalogue, by their ID:
// one copy, however many devices and releases share it.
type rules struct {
	mu     sync.Mutex
	loaded map[string]*loading
}

// loading is a set of rules that is being loaded, or was. Its own lock lets one
// caller load and the others wait for that.
type loading struct {
	mu    sync.Mutex
	files attest.IMAFiles // valid where at is set and err is nil
	err   error
	at    time.Time
}

// IMAFiles is what may run with a release of the catalogue: loaded when it is
// first asked for, verified as the TUF target that the release's signed metadata
// names, and shared by all callers until no release names it. A release that says
// nothing of files has the zero value. Where the rules cannot be loaded, the error
// is of kind Unavailable with the code file_rules_unavailable: what ran is then
// unknown, and nobody may take it for allowed.
func (r *Repository) IMAFiles(ctx context.Context, release fleet.Release) (attest.IMAFiles, error) {
	id := release.Files.ID
	if id == "" {
		return attest.IMAFiles{}, nil
	}
	l := r.rules.of(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := r.Now(); l.at.IsZero() || l.err != nil && now.Sub(l.at) >= retryAfter {
		files, err := r.load(ctx, release.Files)
		if ctx.Err() != nil {
			return attest.IMAFiles{}, ctx.Err() // the caller's fault: the next one loads
		}
		l.files, l.err, l.at = files, err, now
	}
	if l.err != nil {
		return attest.IMAFiles{}, fleet.Because(l.err, fleet.Unavailable, "file_rules_unavailable",
			"which files release %s of %s may run cannot be read, so none is taken for allowed: %v", release.Version, release.Model, l.err)
	}
	return l.files, nil
}

func (r *rules) of(id string) *loading {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loaded == nil {
		r.loaded = map[string]*loading{}
	}
	if r.loaded[id] == nil {
		r.loaded[id] = &loading{}
	}
	return r.loaded[id]
}

// keep drops what no release of the catalogue names any more.
func (r *rules) keep(catalog fleet.Catalog) {
	named := map[string]bool{}
	for _, release := range catalog {
		named[release.Files.ID] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.loaded {
		if !named[id] {
			delete(r.loaded, id)
		}
	}
}

func (r *Repository) load(ctx context.Context, from fleet.FileRules) (attest.IMAFiles, error) {
	files := attest.IMAFiles{ID: from.ID}
	if len(from.Certificates) > 0 {
		files.Keys = ima.NewKeyring()
		for _, der := range from.Certificates {
			certificate, err := x509.ParseCertificate(der)
			if err != nil {
				return attest.IMAFiles{}, fmt.Errorf("read IMA certificate: %w", err)
			}
			if err := files.Keys.Add(certificate); err != nil {
				return attest.IMAFiles{}, err
			}
		}
	}
	if from.AllowList != nil {
		list, err := r.allowList(ctx, *from.AllowList)
		if err != nil {
			return attest.IMAFiles{}, err
		}
		files.Allow = list
	}
	return files, nil
}

// allowList fetches the list as a TUF client, and reads it from the file that it
// hashes meanwhile: nobody can change it in between.
func (r *Repository) allowList(ctx context.Context, l fleet.AllowList) (*ima.AllowList, error) {
	updater := r.client.Load()
	if updater == nil {
		return nil, errors.New("the repository was not read yet")
	}
	path := filepath.Join(r.TrustDir, "allow-list-"+l.SHA256)
	defer os.Remove(path)
	if err := updater.Download(ctx, l.Target, path, nil); err != nil {
		return nil, fmt.Errorf("fetch allow-list %s: %w", l.Target, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open allow-list: %w", err)
	}
	defer f.Close()
	size := int64(tuf.DigestSize(l.Algorithm))
	if size == 0 {
		return nil, fmt.Errorf("read allow-list: digests of %.16q", l.Algorithm)
	}
	shortest := 2*size + 4 // of a line: digits, two spaces, a name, a line feed
	packed := make([]byte, 0, min(l.Length, tuf.MaxAllowListBytes)/shortest*size)
	h := sha256.New()
	err = tuf.ParseAllowList(io.TeeReader(f, h), l.Algorithm, func(digest []byte) error {
		packed = append(packed, digest...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read allow-list %s: %w", l.Target, err)
	}
	if hex.EncodeToString(h.Sum(nil)) != l.SHA256 {
		return nil, fmt.Errorf("read allow-list %s: %w: it is not the one that the release names", l.Target, tuf.ErrContent)
	}
	return ima.NewAllowList(l.Algorithm, packed)
}

// missing says which releases name an allow-list that the same metadata does not
// have: their devices could not be judged, which is better known now than at
// their next check-in.
func missing(catalog fleet.Catalog, targets []client.Target) error {
	have := map[string]client.Target{}
	for _, t := range targets {
		have[t.Name] = t
	}
	var errs []error
	for _, release := range catalog {
		l := release.Files.AllowList
		if l == nil {
			continue
		}
		if t, ok := have[l.Target]; !ok || t.Hashes["sha256"] != l.SHA256 || t.Length != l.Length {
			errs = append(errs, fmt.Errorf("release %s of %s: its allow-list %s is not in the repository as signed: its devices cannot be judged", release.Version, release.Model, l.Target))
		}
	}
	return errors.Join(errs...)
}
