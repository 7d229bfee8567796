package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"troth/tuf"
)

// Download stores a target as the file dest, which is either absent (or what
// it was before) or the whole verified content. The content grows in
// dest+".part"; if that file is there, from an interrupted download, only the
// rest is fetched. When all bytes are on disk they are read back and hashed,
// and the file gets its name. A dest that already is the target is left alone.
//
// progress, if not nil, is called with the bytes on disk and the target's
// length as the download advances.
//
// Mirrors are asked for what is missing, one after the other. The error has a
// code; after CodeTruncated, CodeSlow and CodeUnreachable the
// next call resumes.
func (c *Client) Download(ctx context.Context, name, dest string, progress func(done, total int64)) error {
	_, err := c.DownloadFrom(ctx, name, dest, Old{}, progress)
	return err
}

// DownloadFrom is Download where an older image is here: of a release with an index
// of chunks (tuf.Release) it fetches only what the older image does not have. What
// decides is, as ever, the hash of the whole result. Where this does not work out it
// downloads the whole target, and says why in Transfer.
//
// It takes up to 45 MB of memory for an index of the largest size, 5 MB for that of
// a 1 GiB image. The index is kept in dest+".chunks" until the download is done.
func (c *Client) DownloadFrom(ctx context.Context, name, dest string, old Old, progress func(done, total int64)) (Transfer, error) {
	t, err := c.Lookup(ctx, name)
	if err != nil {
		return Transfer{}, err
	}
	d := &download{client: c, target: t, old: old, progress: progress, transfer: Transfer{Length: t.Length}}
	c.mu.Lock()
	if c.trusted == nil {
		c.mu.Unlock()
		return d.transfer, fail(CodeNotReady, name, errors.New("a new root was accepted meanwhile"))
	}
	d.consistent = c.trusted.Root.Signed.ConsistentSnapshot
	c.mu.Unlock()
	if d.at, err = locate(t, d.consistent); err != nil {
		return d.transfer, err
	}
	if t.Length > c.cfg.Limits.Target {
		return d.transfer, failf(CodeTooLarge, name, "%d bytes, at most %d accepted", t.Length, c.cfg.Limits.Target)
	}
	if progress == nil {
		d.progress = func(int64, int64) {}
	}
	c.downloads.Lock()
	defer c.downloads.Unlock()
	if isTarget(t, dest) {
		d.progress(t.Length, t.Length)
		return d.transfer, nil
	}
	err = d.run(ctx, dest)
	return d.transfer, err
}

func isTarget(t Target, path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return t.Verify(f) == nil
}

type download struct {
	client     *Client
	target     Target
	consistent bool // as in the root's metadata
	at         location
	old        Old
	base       string // address of the place that is being asked
	progress   func(done, total int64)
	transfer   Transfer
	assembled  bool // all of the file follows the index of chunks
}

func (d *download) run(ctx context.Context, dest string) error {
	part := dest + ".part"
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return fail(CodeStorage, d.target.Name, err)
	}
	defer f.Close()
	if err := d.assemble(ctx, dest, f); err != nil {
		return err
	}
	err = d.client.anywhereToResume(ctx, func(m Mirror) error { return d.from(ctx, m, f, dest) })
	if err != nil {
		if code := Code(err); code == CodeContent || code == CodeTooLarge || code == CodeNotFound {
			os.Remove(part)
		}
		return err
	}
	os.Remove(dest + indexSuffix)
	if err := os.Rename(part, dest); err != nil {
		return fail(CodeStorage, d.target.Name, err)
	}
	if err := syncDir(filepath.Dir(dest)); err != nil {
		return fail(CodeStorage, d.target.Name, err)
	}
	return nil
}

// from fills f from one place, going on where another place ended. What is known
// to be wrong is not left to the next one.
func (d *download) from(ctx context.Context, m Mirror, f *os.File, dest string) error {
	d.base = m.TargetsURL
	err := d.complete(ctx, f, dest)
	if code := Code(err); code == CodeContent || code == CodeTooLarge {
		d.assembled = false
		if err := f.Truncate(0); err != nil {
			return fail(CodeStorage, d.target.Name, err)
		}
	}
	return err
}

// complete fills f and verifies it. A resumed file that turns out wrong, for
// example the beginning of an older version, is fetched again from the start.
func (d *download) complete(ctx context.Context, f *os.File, dest string) error {
	for {
		resumed, err := d.fill(ctx, f)
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return fail(CodeStorage, d.target.Name, err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return fail(CodeStorage, d.target.Name, err)
		}
		err = d.target.Verify(f)
		if err == nil {
			return nil
		}
		if !errors.Is(err, tuf.ErrContent) {
			return fail(CodeStorage, d.target.Name, err)
		}
		if !resumed {
			return fail(CodeContent, d.target.Name, err)
		}
		if err := d.distrust(dest); err != nil {
			return err
		}
		if err := f.Truncate(0); err != nil {
			return fail(CodeStorage, d.target.Name, err)
		}
	}
}

// fill fetches what f lacks. resumed tells that f had a beginning which was used.
func (d *download) fill(ctx context.Context, f *os.File) (resumed bool, err error) {
	length := d.target.Length
	offset, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, fail(CodeStorage, d.target.Name, err)
	}
	if offset > length {
		offset = 0
	}
	if offset == length && length > 0 {
		return true, nil
	}
	ctx, meter := d.client.meter(ctx)
	defer meter.stop()
	a, err := d.client.open(ctx, d.base, d.at, part{first: offset})
	if errors.Is(err, errRange) && offset > 0 {
		a, err = d.client.open(ctx, d.base, d.at, part{})
	}
	if err != nil {
		return false, transferError(ctx, d.target.Name, err)
	}
	defer a.body.Close()
	if a.total >= 0 && a.total != length {
		return false, failf(CodeContent, d.target.Name, "server offers %d bytes, %d were signed", a.total, length)
	}
	if err := f.Truncate(a.offset); err != nil {
		return false, fail(CodeStorage, d.target.Name, err)
	}
	if _, err := f.Seek(a.offset, io.SeekStart); err != nil {
		return false, fail(CodeStorage, d.target.Name, err)
	}
	return a.offset > 0, d.copy(ctx, f, meter.count(a.body), a.offset)
}

// copy appends to f until the signed length, and refuses a longer answer.
func (d *download) copy(ctx context.Context, f *os.File, body io.Reader, done int64) error {
	name, length := d.target.Name, d.target.Length
	buffer := make([]byte, 128<<10)
	for {
		n, err := body.Read(buffer)
		d.transfer.Fetched += int64(n)
		if int64(n) > length-done {
			return failf(CodeTooLarge, name, "more than the signed %d bytes", length)
		}
		if n > 0 {
			if _, err := f.Write(buffer[:n]); err != nil {
				return fail(CodeStorage, name, err)
			}
			done += int64(n)
			d.progress(done, length)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return transferError(ctx, name, fmt.Errorf("read content: %w", err))
		}
	}
	if done < length {
		return failf(CodeTruncated, name, "%d of %d bytes", done, length)
	}
	return nil
}
