package tuf

import (
	"context"
	"fmt"
	"io"

	"troth/tuf/delta"
)

// Chunks names the index of the image's chunks, a target of its own beside the
// image: with it, a device that has the release before fetches only what changed
// (troth/tuf/delta). The release's signed metadata pins it, and publishing fills it
// in.
type Chunks struct {
	Target string `json:"target"`
	Length int64  `json:"length"`
	SHA256 string `json:"sha256"` // of the index, 64 lower-case hex digits
}

// ChunksSuffix is what the target name of the index of a release's chunks adds to
// that of its image.
const ChunksSuffix = ".chunks"

func (c Chunks) validate() error {
	if err := ValidName(c.Target); err != nil {
		return err
	}
	if c.Length < 1 || c.Length > delta.MaxBytes {
		return fmt.Errorf("%w: an index of chunks has 1 to %d bytes", ErrInvalid, delta.MaxBytes)
	}
	if !isSHA256(c.SHA256) {
		return fmt.Errorf("%w: digest of the index of chunks is not 64 lower-case hex digits", ErrInvalid)
	}
	return nil
}

// longestStored is how long the last segment of a target name can be, as files are
// named: its hash and a dot come before it.
const longestStored = 255 - 65

// chunkable says whether who signs the release can publish an index beside it: a
// supplier's patterns, and a file system, may not have room for its name.
func (v *view) chunkable(rel Release) bool {
	name := rel.Name + ChunksSuffix
	_, err := v.home(rel, name)
	return err == nil && ValidName(name) == nil && len(base(name)) <= longestStored
}

// stageChunks stages the index of a staged image, and names it in the release; ok
// is false for an image that is not worth one.
func (r *Repository) stageChunks(ctx context.Context, rel *Release, image stagedTarget) (index stagedTarget, ok bool, err error) {
	if n := image.entry.Length; n < delta.MinImage || n > delta.MaxImage {
		return stagedTarget{}, false, nil
	}
	if _, err := image.file.Seek(0, io.SeekStart); err != nil {
		return stagedTarget{}, false, fmt.Errorf("read content: %w", err)
	}
	written, w := io.Pipe()
	go func() { w.CloseWithError(delta.Write(ctx, w, image.file, image.entry.Length)) }()
	index, err = r.stageTarget(ctx, rel.Name+ChunksSuffix, written)
	_ = written.CloseWithError(err) // what still writes ends
	if err != nil {
		return stagedTarget{}, false, err
	}
	rel.Chunks = &Chunks{Target: index.entry.Path, Length: index.entry.Length, SHA256: index.target().Hashes["sha256"]}
	return index, true, nil
}
