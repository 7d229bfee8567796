package tuf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// InitOptions describe a new repository. Zero values give the defaults.
type InitOptions struct {
	// KeysDir receives root.pem, targets.pem, snapshot.pem and timestamp.pem
	// (and root-2.pem … where a role has several keys), PKCS#8 PEM, mode 0600.
	// Keys that are already there are used. It must not be served.
	KeysDir string
	// Now is the time at which the signatures' lives begin.
	Now time.Time
	// KeyType is KeyEd25519 (default) or KeyECDSA.
	KeyType string

	// Lifetimes of signatures; by default 365, 90, 7 and 1 days.
	RootExpiry, TargetsExpiry, SnapshotExpiry, TimestampExpiry time.Duration

	// RootKeys and TargetsKeys are the numbers of keys to make, and
	// RootThreshold and TargetsThreshold how many must sign; by default 1.
	RootKeys, RootThreshold, TargetsKeys, TargetsThreshold int
}

// Init makes keys and an empty repository in dir. An Init that was interrupted
// may be repeated. The error wraps ErrExists if dir already holds a repository.
func Init(dir string, o InitOptions) error {
	r := &Repository{dir: dir, keysDir: o.KeysDir}
	if o.KeysDir == "" || o.Now.IsZero() {
		return errors.New("init repository: KeysDir and Now are required")
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
	files, err := r.firstFiles(root, signers, o.Now)
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
			file := role.name + ".pem"
			if i > 0 {
				file = fmt.Sprintf("%s-%d.pem", role.name, i+1)
			}
			key, err := createKey(filepath.Join(o.KeysDir, file), o.KeyType)
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

func (r *Repository) firstFiles(root *metadata.Metadata[metadata.RootType], signers map[string][]signingKey, now time.Time) ([]file, error) {
	rootData, err := seal(root, metadata.ROOT, root, signers[metadata.ROOT])
	if err != nil {
		return nil, err
	}
	targets := metadata.Targets(expiry(now, lifetime(root, metadata.TARGETS)))
	targetsData, err := seal(root, metadata.TARGETS, targets, signers[metadata.TARGETS])
	if err != nil {
		return nil, err
	}
	snapshot := metadata.Snapshot(expiry(now, lifetime(root, metadata.SNAPSHOT)))
	snapshot.Signed.Meta["targets.json"] = metaFile(1, targetsData)
	snapshotData, err := seal(root, metadata.SNAPSHOT, snapshot, signers[metadata.SNAPSHOT])
	if err != nil {
		return nil, err
	}
	timestamp := metadata.Timestamp(expiry(now, lifetime(root, metadata.TIMESTAMP)))
	timestamp.Signed.Meta["snapshot.json"] = metaFile(1, snapshotData)
	timestampData, err := seal(root, metadata.TIMESTAMP, timestamp, signers[metadata.TIMESTAMP])
	if err != nil {
		return nil, err
	}
	return []file{
		{r.metadataPath(metadata.ROOT, 1), rootData},
		{r.metadataPath(metadata.TARGETS, 1), targetsData},
		{r.metadataPath(metadata.SNAPSHOT, 1), snapshotData},
		{r.metadataPath(metadata.TIMESTAMP, 0), timestampData},
	}, nil
}
