package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// Refresh brings the metadata up to date: roots one by one from the last
// trusted one, then timestamp, snapshot and targets (TUF 1.0.31, section 5.3
// to 5.6). Each file is kept as soon as it is accepted, and none that is not.
//
// When Refresh fails, what the last successful one loaded stays usable until
// it expires, unless a new root was accepted meanwhile: then nothing is
// trusted until a Refresh succeeds under it.
//
// With mirrors, all of it is asked of one place, then of the next where that did
// not succeed.
func (c *Client) Refresh(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.anywhere(ctx, func(m Mirror) error {
		c.metadataURL = m.MetadataURL
		return c.refresh(ctx)
	})
}

func (c *Client) refresh(ctx context.Context) error {
	trusted, data, err := c.startRoot()
	if err != nil {
		return err
	}
	if stored := c.store.read(metadata.ROOT, c.cfg.Limits.Root); !bytes.Equal(stored, data) {
		if err := c.persist(metadata.ROOT, data); err != nil {
			return err
		}
	}
	trusted.RefTime = c.reference()
	if err := c.updateRoots(ctx, trusted); err != nil {
		return err
	}
	if trusted.Root.Signed.IsExpired(trusted.RefTime) {
		return failf(CodeExpired, metadata.ROOT, "expired on %s", trusted.Root.Signed.Expires)
	}
	if err := c.updateTimestamp(ctx, trusted); err != nil {
		return err
	}
	if err := c.updateSnapshot(ctx, trusted); err != nil {
		return err
	}
	if _, err := c.updateTargets(ctx, trusted, metadata.TARGETS, metadata.ROOT); err != nil {
		return err
	}
	c.trusted = trusted
	return c.advanceClock()
}

// advanceClock remembers the time, which only moves forward. It is done after
// a whole successful Refresh: signatures that are valid at that time bound how
// far a clock that jumped ahead by mistake can carry the device with it, which
// would otherwise refuse all updates until the world caught up.
func (c *Client) advanceClock() error {
	t := c.trusted.RefTime
	if !t.After(c.knownTime) {
		return nil
	}
	if err := c.store.writeClock(t); err != nil {
		return fail(CodeStorage, "clock", err)
	}
	c.knownTime = t
	return nil
}

// startRoot loads the newer one of the kept and the configured root.
func (c *Client) startRoot() (*trustedmetadata.TrustedMetadata, []byte, error) {
	var best *trustedmetadata.TrustedMetadata
	var bestData []byte
	var firstErr error
	for _, data := range [][]byte{c.store.read(metadata.ROOT, c.cfg.Limits.Root), c.cfg.Root} {
		if len(data) == 0 {
			continue
		}
		trusted, err := parseRoot(data)
		if err != nil {
			if firstErr == nil {
				firstErr = err
			}
			continue
		}
		if best == nil || trusted.Root.Signed.Version > best.Root.Signed.Version {
			best, bestData = trusted, data
		}
	}
	if best != nil {
		return best, bestData, nil
	}
	if firstErr == nil {
		firstErr = errors.New("no root to trust: neither kept nor configured")
	}
	return nil, nil, classify(metadata.ROOT, firstErr)
}

func parseRoot(data []byte) (*trustedmetadata.TrustedMetadata, error) {
	if err := checkShape(metadata.ROOT, data); err != nil {
		return nil, err
	}
	var trusted *trustedmetadata.TrustedMetadata
	err := guarded(func() (err error) {
		trusted, err = trustedmetadata.New(data)
		return err
	})
	return trusted, err
}

// accept checks the shape of data and hands it to go-tuf's verification.
func accept(role, kind string, data []byte, verify func([]byte) error) error {
	if err := checkShape(kind, data); err != nil {
		return fail(CodeMalformed, role, err)
	}
	return classify(role, guarded(func() error { return verify(data) }))
}

func (c *Client) persist(role string, data []byte) error {
	if err := c.store.write(role, data); err != nil {
		return fail(CodeStorage, role, err)
	}
	return nil
}

func (c *Client) updateRoots(ctx context.Context, trusted *trustedmetadata.TrustedMetadata) error {
	for range c.cfg.Limits.RootRotations {
		next := trusted.Root.Signed.Version + 1
		data, err := c.fetchMetadata(ctx, metadata.ROOT, next, c.cfg.Limits.Root)
		if Code(err) == CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		err = accept(metadata.ROOT, metadata.ROOT, data, func(data []byte) error {
			_, err := trusted.UpdateRoot(data)
			return err
		})
		if err != nil {
			return err
		}
		c.trusted = nil
		if err := c.persist(metadata.ROOT, data); err != nil {
			return err
		}
	}
	return failf(CodeTooLarge, metadata.ROOT, "more than %d new versions; the next refresh goes on from version %d",
		c.cfg.Limits.RootRotations, trusted.Root.Signed.Version)
}

func (c *Client) updateTimestamp(ctx context.Context, trusted *trustedmetadata.TrustedMetadata) error {
	update := func(data []byte) error {
		_, err := trusted.UpdateTimestamp(data)
		return err
	}
	if local := c.store.read(metadata.TIMESTAMP, c.cfg.Limits.Timestamp); local != nil {
		// An expired one is still loaded, for its versions. One that the
		// current root does not verify is ignored: fast-forward recovery.
		_ = accept(metadata.TIMESTAMP, metadata.TIMESTAMP, local, update)
	}
	data, err := c.fetchMetadata(ctx, metadata.TIMESTAMP, 0, c.cfg.Limits.Timestamp)
	if err != nil {
		return err
	}
	err = accept(metadata.TIMESTAMP, metadata.TIMESTAMP, data, update)
	if errors.Is(err, &metadata.ErrEqualVersionNumber{}) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.persist(metadata.TIMESTAMP, data)
}

func (c *Client) updateSnapshot(ctx context.Context, trusted *trustedmetadata.TrustedMetadata) error {
	update := func(local bool) func([]byte) error {
		return func(data []byte) error {
			_, err := trusted.UpdateSnapshot(data, local)
			return err
		}
	}
	if local := c.store.read(metadata.SNAPSHOT, c.cfg.Limits.Snapshot); local != nil {
		if accept(metadata.SNAPSHOT, metadata.SNAPSHOT, local, update(true)) == nil {
			return nil
		}
	}
	meta := trusted.Timestamp.Signed.Meta["snapshot.json"]
	data, err := c.fetchPinned(ctx, trusted, metadata.SNAPSHOT, meta, c.cfg.Limits.Snapshot)
	if err != nil {
		return err
	}
	if err := accept(metadata.SNAPSHOT, metadata.SNAPSHOT, data, update(false)); err != nil {
		return err
	}
	return c.persist(metadata.SNAPSHOT, data)
}

// updateTargets loads targets or a delegated role, kept or fetched. Two roles may
// delegate to a third and name other keys: what one of them vouched for is verified
// again for the other.
func (c *Client) updateTargets(ctx context.Context, trusted *trustedmetadata.TrustedMetadata, role, delegator string) (*metadata.Metadata[metadata.TargetsType], error) {
	if loaded := trusted.Targets[role]; loaded != nil {
		if delegator == metadata.ROOT {
			return loaded, nil
		}
		err := guarded(func() error { return trusted.Targets[delegator].VerifyDelegate(role, loaded) })
		if err != nil {
			return nil, classify(role, err)
		}
		return loaded, nil
	}
	update := func(data []byte) error {
		_, err := trusted.UpdateDelegatedTargets(data, role, delegator)
		return err
	}
	if local := c.store.read(role, c.cfg.Limits.Targets); local != nil {
		if accept(role, metadata.TARGETS, local, update) == nil {
			return trusted.Targets[role], nil
		}
	}
	meta := trusted.Snapshot.Signed.Meta[role+".json"]
	if meta == nil {
		return nil, failf(CodeNotFound, role, "role is not in the snapshot")
	}
	data, err := c.fetchPinned(ctx, trusted, role, meta, c.cfg.Limits.Targets)
	if err != nil {
		return nil, err
	}
	if err := accept(role, metadata.TARGETS, data, update); err != nil {
		return nil, err
	}
	if err := c.persist(role, data); err != nil {
		return nil, err
	}
	return trusted.Targets[role], nil
}

// fetchPinned fetches what the role above announced, and no byte more.
func (c *Client) fetchPinned(ctx context.Context, trusted *trustedmetadata.TrustedMetadata, role string, meta *metadata.MetaFiles, limit int64) ([]byte, error) {
	if meta.Length > limit {
		return nil, failf(CodeTooLarge, role, "%d bytes announced, at most %d accepted", meta.Length, limit)
	}
	if meta.Length > 0 {
		limit = meta.Length
	}
	version := int64(0)
	if trusted.Root.Signed.ConsistentSnapshot {
		version = meta.Version
	}
	return c.fetchMetadata(ctx, role, version, limit)
}

// fetchMetadata fetches a role's file; version 0 means the unversioned name.
func (c *Client) fetchMetadata(ctx context.Context, role string, version, limit int64) ([]byte, error) {
	file := escapeSegment(role) + ".json"
	if version > 0 {
		file = fmt.Sprintf("%d.%s", version, file)
	}
	return c.fetchAll(ctx, c.metadataURL, location{raw: file, escaped: file}, role, limit)
}
