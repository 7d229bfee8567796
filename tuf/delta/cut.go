package delta

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // it has to register what we name
)

// algorithm is frozen: another one would find nothing in common with images that
// were cut by this, and needs another version of the index.
const algorithm = "fastcdc-v1.0.0"

// Write writes the index of an image of that length, which it reads to its end in
// bounded memory. The length must be from MinImage to MaxImage; an image that has
// another than was said is an error.
func Write(ctx context.Context, w io.Writer, image io.Reader, length int64) error {
	if length < MinImage || length > MaxImage {
		return fmt.Errorf("write index: images of %d to %d bytes have one, this has %d", MinImage, int64(MaxImage), length)
	}
	normal := smallestNormal
	for length > int64(normal)*wantedChunks {
		normal *= 2
	}
	head := binary.BigEndian.AppendUint64([]byte(magic), uint64(length))
	if _, err := w.Write(binary.BigEndian.AppendUint32(head, uint32(normal))); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	at := int64(0)
	err := cut(ctx, image, normal, func(chunk []byte) error {
		at += int64(len(chunk))
		sum := sha256.Sum256(chunk)
		_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(chunk))), sum[:]...))
		return err
	})
	if err == nil && at != length {
		err = fmt.Errorf("the image has %d bytes, not %d", at, length)
	}
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// cut reads to the end, and lends each chunk to do.
func cut(ctx context.Context, image io.Reader, normal int, do func(chunk []byte) error) error {
	c, err := chunkers.NewChunker(algorithm, image, &chunkers.ChunkerOpts{MinSize: normal / 4, NormalSize: normal, MaxSize: 4 * normal})
	if err != nil {
		return fmt.Errorf("cut into chunks: %w", err)
	}
	for ended := false; !ended; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("cut into chunks: %w", err)
		}
		chunk, err := c.Next()
		ended = errors.Is(err, io.EOF) // which may come with the last chunk
		if err != nil && !ended {
			return fmt.Errorf("cut into chunks: %w", err)
		}
		if len(chunk) > 0 {
			if err := do(chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

// Found is where another image has chunks of an index.
type Found struct {
	x  *Index
	at []int64 // by place in the order; -1: it does not have it
}

// None is Found where there is no other image.
func (x *Index) None() *Found {
	f := &Found{x, make([]int64, x.Chunks())}
	f.ForgetAll()
	return f
}

// Search cuts another image, and notes where it has chunks of the index: 8 bytes
// of memory for each of the index, however large the image. With an error, which
// is that of ctx or of reading, it gives what it found until then.
func (x *Index) Search(ctx context.Context, other io.Reader) (*Found, error) {
	f, at := x.None(), int64(0)
	err := cut(ctx, other, x.normal, func(chunk []byte) error {
		sum := sha256.Sum256(chunk)
		if place, ok := x.find(sum[:]); ok && f.at[place] < 0 {
			f.at[place] = at
		}
		at += int64(len(chunk))
		return nil
	})
	return f, err
}

// At is where in the other image the content of chunk i begins.
func (f *Found) At(i int) (offset int64, ok bool) {
	place, _ := f.x.find(f.x.sum(i))
	return f.at[place], f.at[place] >= 0
}

// Forget takes a chunk out that was found not to be there (any more).
func (f *Found) Forget(i int) {
	place, _ := f.x.find(f.x.sum(i))
	f.at[place] = -1
}

// ForgetAll takes all chunks out.
func (f *Found) ForgetAll() {
	for i := range f.at {
		f.at[i] = -1
	}
}
