package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"troth/tuf/delta"
)

// Old is an image that is here already, and may have much in common with what is
// to be downloaded, such as the release that runs. It is trusted with nothing.
type Old struct {
	Content io.ReaderAt // nil: there is none
	Length  int64       // bytes of Content to look at
}

// Transfer says what a download took.
type Transfer struct {
	Length  int64 // of the target, in bytes
	Fetched int64 // bytes that this call received for it, the index of its chunks among them
	Reused  int64 // bytes that this call took from the old image, or from elsewhere in the new one
	// Trouble is why nothing was reused although that could be, or less than could
	// be. The download went on without.
	Trouble error
}

// indexSuffix is what the name of a target's index adds to that of its file.
const indexSuffix = ".chunks"

// assemble fills f as far as the old image and ranges of the new one go. It gives an
// error only where a later call does better: the next one goes on from here. What
// it leaves undone, and what it got wrong, is left to the whole download that
// follows, and that verifies.
func (d *download) assemble(ctx context.Context, dest string, f *os.File) error {
	if d.old.Content == nil || d.old.Length < 1 || d.target.Release == nil || d.target.Release.Chunks == nil {
		return nil
	}
	x, err := d.index(ctx, dest)
	if err != nil {
		return d.goWhole(ctx, fmt.Errorf("read the index of chunks: %w", err))
	}
	a := &assembly{download: d, x: x, f: f, buffer: make([]byte, x.LongestChunk())}
	if err := a.resume(ctx); err != nil {
		return err
	}
	if d.assembled = a.next == x.Chunks(); d.assembled {
		return nil
	}
	a.found, err = x.Search(ctx, io.NewSectionReader(d.old.Content, 0, min(d.old.Length, d.client.cfg.Limits.Target)))
	if err != nil {
		// What was found before is as good as ever.
		d.transfer.Trouble = fmt.Errorf("read the old image: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fail(CodeUnreachable, d.target.Name, err)
	}
	if err := a.plan(); err != nil {
		return d.goWhole(ctx, errors.Join(d.transfer.Trouble, err))
	}
	before := d.transfer.Fetched
	err = d.client.anywhereToResume(ctx, func(m Mirror) error { return a.from(ctx, m) })
	if d.assembled = err == nil; d.assembled {
		return nil
	}
	wrong := errors.Is(a.unfit, errChunk)
	if d.transfer.Fetched > before && !wrong {
		return err // cut short: the next call goes on
	}
	if wrong {
		// No place has what the index says. The next call must not give up for it
		// what the whole download gets.
		err = errors.Join(err, d.distrustIndex(dest))
	}
	return d.goWhole(ctx, err)
}

// goWhole notes why the rest is downloaded without the old image. Where the disk
// refuses, or the caller wants no more, the whole download has no better luck.
func (d *download) goWhole(ctx context.Context, why error) error {
	switch {
	case Code(why) == "" && ctx.Err() != nil:
		return fail(CodeUnreachable, d.target.Name, why)
	case Code(why) == CodeStorage || ctx.Err() != nil:
		return why
	}
	d.transfer.Trouble = why
	return nil
}

// index fetches the index of the target's chunks, beside dest, unless it is there
// already. What it is was signed with the release, so nothing need be looked up.
func (d *download) index(ctx context.Context, dest string) (*delta.Index, error) {
	pin := d.target.Release.Chunks
	t := Target{Name: pin.Target, Length: pin.Length, Hashes: map[string]string{"sha256": pin.SHA256}}
	path := dest + indexSuffix
	if d.distrusted(path) {
		return nil, errors.New("it was wrong before")
	}
	if !isTarget(t, path) {
		at, err := locate(t, d.consistent)
		if err != nil {
			return nil, err
		}
		i := &download{client: d.client, target: t, at: at, consistent: d.consistent, progress: func(int64, int64) {}}
		err = i.run(ctx, path)
		d.transfer.Fetched += i.transfer.Fetched
		if err != nil {
			return nil, err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(CodeStorage, t.Name, err)
	}
	defer f.Close()
	raw := make([]byte, t.Length) // at most delta.MaxBytes
	if _, err := io.ReadFull(f, raw); err != nil {
		return nil, fail(CodeStorage, t.Name, err)
	}
	if err := t.Verify(bytes.NewReader(raw)); err != nil {
		return nil, fail(CodeContent, t.Name, err)
	}
	return delta.Parse(raw, d.target.Length)
}

// distrust is called when the file is not the target. If each of its chunks is what
// the index says, it is the index that is wrong.
func (d *download) distrust(dest string) error {
	if !d.assembled {
		return nil
	}
	d.assembled, d.transfer.Reused = false, 0
	d.transfer.Trouble = errors.New("the index of chunks is not that of the image")
	return d.distrustIndex(dest)
}

// distrustIndex leaves the digest of an index in its place, so that no later call
// follows it again.
func (d *download) distrustIndex(dest string) error {
	if err := os.WriteFile(dest+indexSuffix, []byte(d.target.Release.Chunks.SHA256), 0o600); err != nil {
		return fail(CodeStorage, d.target.Name, err)
	}
	return nil
}

func (d *download) distrusted(path string) bool {
	digest := d.target.Release.Chunks.SHA256
	info, err := os.Lstat(path)
	if err != nil || info.Size() != int64(len(digest)) {
		return false
	}
	was, err := os.ReadFile(path)
	return err == nil && string(was) == digest
}
