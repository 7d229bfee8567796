package tuf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// InitOptions describe a new repository. Zero values give the defaults.
type InitOptions struct {
	// KeysDir receives root.pem, targets.pem, snapshot.pem and timestamp.pem
	// (and root-2.pem … where a role has several keys), PKCS#8 PEM, mode 0600.
	// Keys that are already there are used, NAME.kms files among them. It must not
	// be served.
	KeysDir string
	// Passphrase and Remote are those of Keys.
	Passphrase func(file string) ([]byte, error)
	Remote     func(file string, text []byte) (signature.Signer, error)
	// Now is the time at which the signatures' lives begin.
	Now time.Time
	// KeyType is KeyEd25519 (default) or KeyECDSA.
	KeyType string

	// Lifetimes of signatures; by default 365, 90, 7 and 1 days.
	RootExpiry, TargetsExpiry, SnapshotExpiry, TimestampExpiry time.Duration

	// RootKeys and TargetsKeys are the numbers of keys to make, and
	// RootThreshold and TargetsThreshold how many must sign; by default 1.
	RootKeys, RootThreshold, TargetsKeys, TargetsThreshold int

	// BinBits, from 1 to 14, spreads the releases over 2^BinBits hash bins, so that
	// publishing one costs the same however many there are; 11 suits 100,000
	// releases. The bins have a key of their own, releases.pem, the only one
	// of those kept offline that Publish then needs.
	// Zero keeps all releases in targets, for at most some thousands.
	BinBits int
}

// MaxBinBits bounds the hash bins: a snapshot names each of them.
const MaxBinBits = 14

func (o InitOptions) keys() Keys {
	return Keys{Dir: o.KeysDir, Passphrase: o.Passphrase, Remote: o.Remote}
}

// Init makes keys and an empty repository in dir. An Init that was interrupted
// may be repeated. The error wraps ErrExists if dir already holds a repository.
func Init(dir string, o InitOptions) error {
	r := &Repository{dir: dir, keys: o.keys()}
	if o.KeysDir == "" || o.Now.IsZero() {
		return errors.New("init repository: KeysDir and Now are required")
	}
	if o.BinBits < 0 || o.BinBits > MaxBinBits {
		return fmt.Errorf("init repository: %w: %d bits of hash bins, at most %d", ErrInvalid, o.BinBits, MaxBinBits)
	}
	for _, d := range []string{filepath.Join(dir, metadataDir), filepath.Join(dir, targetsDir)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("init repository: %w", err)
		}
	}
	if err := os.MkdirAll(o.KeysDir, 0o700); err != nil {
		return fmt.Errorf("init repository: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return fmt.Errorf("init repository: %w", err)
	}
	defer unlock()
	if exists(r.metadataPath(metadata.TIMESTAMP, 0)) || exists(r.metadataPath(metadata.ROOT, 2)) {
		return fmt.Errorf("init repository %s: %w", dir, ErrExists)
	}
	root, signers, err := newRoot(o)
	if err != nil {
		return fmt.Errorf("init repository: %w", err)
	}
	files, err := r.firstFiles(root, signers, o)
	if err != nil {
		return fmt.Errorf("init repository: %w", err)
	}
	if err := r.write(files); err != nil {
		return fmt.Errorf("init repository: %w", err)
	}
	return nil
}

// newRoot makes the keys and the root metadata that trusts them.
func newRoot(o InitOptions) (*metadata.Metadata[metadata.RootType], map[string][]signingKey, error) {
	roles := []struct {
		name            string
		life, standard  time.Duration
		keys, threshold int
	}{
		{metadata.ROOT, o.RootExpiry, DefaultRootLifetime, o.RootKeys, o.RootThreshold},
		{metadata.TARGETS, o.TargetsExpiry, DefaultTargetsLifetime, o.TargetsKeys, o.TargetsThreshold},
		{metadata.SNAPSHOT, o.SnapshotExpiry, DefaultSnapshotLifetime, 1, 1},
		{metadata.TIMESTAMP, o.TimestampExpiry, DefaultTimestampLifetime, 1, 1},
	}
	root := metadata.Root(o.Now)
	signers := map[string][]signingKey{}
	for _, role := range roles {
		keys, threshold := max(role.keys, 1), max(role.threshold, 1)
		if role.life == 0 {
			role.life = role.standard
		}
		if threshold > keys || role.life < time.Second {
			return nil, nil, fmt.Errorf("role %s: %d keys cannot meet threshold %d, or lifetime %s is too short", role.name, keys, threshold, role.life)
		}
		for i := range keys {
			key, err := o.keys().obtain(role.name, i+1, o.KeyType)
			if err != nil {
				return nil, nil, err
			}
			if err := root.Signed.AddKey(key.public, role.name); err != nil {
				return nil, nil, fmt.Errorf("add key: %w", err)
			}
			signers[role.name] = append(signers[role.name], key)
		}
		root.Signed.Roles[role.name].Threshold = threshold
		setLifetime(root.Signed.Roles[role.name], role.life)
		if role.name == metadata.ROOT {
			root.Signed.Expires = expiry(o.Now, role.life)
		}
	}
	// Through bytes once, so that what is signed is what every reader parses.
	return reparse(root, signers)
}

func reparse(root *metadata.Metadata[metadata.RootType], signers map[string][]signingKey) (*metadata.Metadata[metadata.RootType], map[string][]signingKey, error) {
	data, err := root.ToBytes(false)
	if err != nil {
		return nil, nil, fmt.Errorf("encode root: %w", err)
	}
	parsed, err := metadata.Root().FromBytes(data)
	if err != nil {
		return nil, nil, fmt.Errorf("parse root: %w", err)
	}
	return parsed, signers, nil
}

// obtain opens the n-th key of a role in a key management service, or in a file,
// which is made if it is missing.
func (k Keys) obtain(role string, n int, keyType string) (signingKey, error) {
	name := role
	if n > 1 {
		name = fmt.Sprintf("%s-%d", role, n)
	}
	path := filepath.Join(k.Dir, name)
	if exists(path + KMSSuffix) {
		if k.Remote == nil {
			return signingKey{}, fmt.Errorf("open key: nothing opens %s", path+KMSSuffix)
		}
		return k.remote(path + KMSSuffix)
	}
	return k.create(path+".pem", keyType)
}

func (r *Repository) firstFiles(root *metadata.Metadata[metadata.RootType], signers map[string][]signingKey, o InitOptions) ([]file, error) {
	life := lifetime(root, metadata.TARGETS)
	targets := metadata.Targets(expiry(o.Now, life))
	snapshot := metadata.Snapshot(expiry(o.Now, lifetime(root, metadata.SNAPSHOT)))
	files, err := r.firstBins(targets, snapshot, o, life)
	if err != nil {
		return nil, err
	}
	rootData, err := seal(rootAuthority(root, metadata.ROOT), root, signers[metadata.ROOT])
	if err != nil {
		return nil, err
	}
	targetsData, err := seal(rootAuthority(root, metadata.TARGETS), targets, signers[metadata.TARGETS])
	if err != nil {
		return nil, err
	}
	snapshot.Signed.Meta["targets.json"] = metaFile(1, targetsData)
	snapshotData, err := seal(rootAuthority(root, metadata.SNAPSHOT), snapshot, signers[metadata.SNAPSHOT])
	if err != nil {
		return nil, err
	}
	timestamp := metadata.Timestamp(expiry(o.Now, lifetime(root, metadata.TIMESTAMP)))
	timestamp.Signed.Meta["snapshot.json"] = metaFile(1, snapshotData)
	timestampData, err := seal(rootAuthority(root, metadata.TIMESTAMP), timestamp, signers[metadata.TIMESTAMP])
	if err != nil {
		return nil, err
	}
	return append(files,
		file{r.metadataPath(metadata.ROOT, 1), rootData},
		file{r.metadataPath(metadata.TARGETS, 1), targetsData},
		file{r.metadataPath(metadata.SNAPSHOT, 1), snapshotData},
		file{r.metadataPath(metadata.TIMESTAMP, 0), timestampData},
	), nil
}
