// Package firmware keeps the catalogue of published releases. The verifier is a
// TUF client like every device: what it compares PCRs with is what the
// repository's keys signed, and nothing else.
package firmware

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"

	"troth/internal/atomicfile"
	"troth/internal/fleet"
	"troth/tuf"
	"troth/tuf/client"
	"troth/tuf/provenance"
)

// Config says where the repository is and what to trust in it.
type Config struct {
	Dir        string // the TUF repository: metadata/ and targets/
	Root       string // file of the root to trust first; empty: pin the first root that is seen
	OnlineKeys string // directory of the snapshot and timestamp keys; where it does not exist nothing is re-signed
	TrustDir   string // the client's own memory; made if missing
	Now        func() time.Time

	// Passphrase and Remote open encrypted online keys, and those of a key
	// management service; see tuf.Keys.
	Passphrase func(file string) ([]byte, error)
	Remote     func(file string, text []byte) (signature.Signer, error)
	// Alerts is told of signatures that will not be renewed in time, and of releases
	// that are refused; nil: nobody is.
	Alerts AlertStore

	// Policy says which releases are taken in; nil: all that are signed. Trust is whom
	// it may believe about who built and signed an image; nil: nobody.
	Policy Policy
	Trust  *provenance.Trust
}

// Repository is the published firmware. It is safe for concurrent use.
type Repository struct {
	Config
	refresh sync.Mutex
	client  atomic.Pointer[client.Client] // nil until the repository exists
	rules   rules
	current atomic.Pointer[fleet.Catalog]
	loaded  atomic.Bool

	expiries atomic.Pointer[[]client.RoleExpiry] // of the last read
	revision string                              // of current; under refresh
	missing  error                               // allow-lists that current lacks; under refresh
	watched  time.Time                           // when watch last looked; under refresh

	refused atomic.Pointer[[]fleet.RefusedRelease]
	judged  judged    // under refresh
	told    int       // refused releases of which people were told; under refresh
	toldAt  time.Time // when that was
}

// NewRepository returns the repository. Its catalogue is empty, and so matches
// nothing, until the first Refresh.
func NewRepository(c Config) *Repository {
	r := &Repository{Config: c}
	r.current.Store(&fleet.Catalog{})
	r.refused.Store(&[]fleet.RefusedRelease{})
	return r
}

// Loaded reports whether a Refresh has succeeded. Until then the catalogue says
// nothing of what is published.
func (r *Repository) Loaded() bool { return r.loaded.Load() }

// Catalog is the set of releases that the last successful Refresh read.
func (r *Repository) Catalog() fleet.Catalog { return *r.current.Load() }

// Refused are the releases that the last successful Refresh read and did not take
// in.
func (r *Repository) Refused() []fleet.RefusedRelease { return *r.refused.Load() }

// Refresh re-signs the repository where it is due and the keys are here, and
// reads it. Metadata that does not verify changes nothing: the last set that did
// stays. A repository that does not exist yet is an empty one. An error that names
// an allow-list comes with a new catalogue: the release counts, but IMAFiles fails
// for it.
func (r *Repository) Refresh(ctx context.Context) error {
	r.refresh.Lock()
	defer r.refresh.Unlock()
	if _, err := os.Stat(r.firstRoot()); errors.Is(err, fs.ErrNotExist) {
		// One that was read before and is gone is not an empty one: a directory that
		// is not mounted must not make every release unknown.
		if _, err := os.Stat(r.memory()); err == nil {
			return fmt.Errorf("refresh firmware catalogue: %s holds no repository any more", r.Dir)
		}
		r.loaded.Store(true)
		return nil
	}
	signErr := r.resign()
	readErr := r.read(ctx)
	return errors.Join(readErr, signErr, r.watch(ctx, signErr), r.tellRefused(ctx))
}

// memory is where the client keeps the metadata that it accepted.
func (r *Repository) memory() string { return filepath.Join(r.TrustDir, "metadata") }

func (r *Repository) firstRoot() string { return filepath.Join(r.Dir, "metadata", "1.root.json") }

// resign keeps snapshot and timestamp from expiring.
func (r *Repository) resign() error {
	if _, err := os.Stat(r.OnlineKeys); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	repository, err := tuf.OpenWith(r.Dir, tuf.Keys{Dir: r.OnlineKeys, Passphrase: r.Passphrase, Remote: r.Remote})
	if err != nil {
		return fmt.Errorf("open repository to re-sign it: %w", err)
	}
	if err := repository.Refresh(r.Now()); err != nil && !errors.Is(err, tuf.ErrLocked) {
		return fmt.Errorf("re-sign repository: %w", err)
	}
	return nil
}

func (r *Repository) read(ctx context.Context) error {
	updater := r.client.Load()
	if updater == nil {
		var err error
		if updater, err = r.open(); err != nil {
			return err
		}
		r.client.Store(updater)
	}
	if err := updater.Refresh(ctx); err != nil {
		return fmt.Errorf("refresh firmware catalogue: %w", err)
	}
	signed, err := updater.Catalog(ctx)
	if err != nil {
		return fmt.Errorf("read firmware catalogue: %w", err)
	}
	r.expiries.Store(&signed.Roles)
	problems := errors.Join(signed.Problems...)
	if r.loaded.Load() && signed.Revision == r.revision && r.judged.by(r.Policy) {
		return errors.Join(problems, r.missing)
	}
	next, refused, undecided, err := r.judge(ctx, updater, signed.Targets)
	if err != nil {
		return err
	}
	r.current.Store(&next)
	r.refused.Store(&refused)
	r.loaded.Store(true)
	r.rules.keep(next)
	r.revision, r.missing = signed.Revision, missing(next, signed.Targets)
	return errors.Join(problems, r.missing, undecided)
}

// open makes the TUF client. Without a configured root, the first one that is
// seen is pinned: whoever can write to the directory at that moment is trusted,
// as for the rest of the data directory.
func (r *Repository) open() (*client.Client, error) {
	path := r.Root
	if path == "" {
		path = filepath.Join(r.TrustDir, "pinned-root.json")
		if err := r.pin(path); err != nil {
			return nil, err
		}
	}
	root, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read first TUF root: %w", err)
	}
	updater, err := client.New(client.Config{
		Dir: r.memory(), Root: root, Now: r.Now, UserAgent: "trothd",
		MetadataURL: "file://" + filepath.Join(r.Dir, "metadata"), TargetsURL: "file://" + filepath.Join(r.Dir, "targets"),
	})
	if err != nil {
		return nil, fmt.Errorf("open firmware catalogue: %w", err)
	}
	return updater, nil
}

func (r *Repository) pin(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	root, err := os.ReadFile(r.firstRoot())
	if err != nil {
		return fmt.Errorf("read first TUF root: %w", err)
	}
	if err := os.MkdirAll(r.TrustDir, 0o700); err != nil {
		return fmt.Errorf("make trust directory: %w", err)
	}
	return atomicfile.Write(path, root, 0o600)
}
