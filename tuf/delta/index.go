package delta

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Bounds of an index.
const (
	MaxChunks = 1 << 18                             // in one index
	MaxBytes  = headerBytes + MaxChunks*recordBytes // of one index
	MinImage  = 1 << 20                             // bytes; a smaller image is not worth an index
	MaxImage  = largestNormal * wantedChunks        // bytes: 64 GiB

	magic          = "TROTHCH1"
	headerBytes    = 8 + 8 + 4 // magic, length, normal
	recordBytes    = 4 + sha256.Size
	smallestNormal = 32 << 10
	largestNormal  = 1 << 20
	wantedChunks   = 1 << 16 // of normal length; as all may be a quarter of that, a quarter of MaxChunks
)

// ErrIndex wraps what is wrong with an index.
var ErrIndex = errors.New("not an index of chunks")

// Index lists the chunks of one image. It is read-only, and so safe for concurrent
// use.
type Index struct {
	raw    []byte // as parsed
	normal int
	starts []int64  // of each chunk in the image; one more, the image's length
	order  []uint32 // chunks by digest, those that are the same in their order
}

// Parse reads an index of an image of that length, which is known from what was
// signed. It keeps b, and takes about 60 bytes a chunk beside that while it sorts.
// Errors wrap ErrIndex.
func Parse(b []byte, length int64) (*Index, error) {
	if len(b) < headerBytes || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("parse: %w", ErrIndex)
	}
	if len(b) > MaxBytes || (len(b)-headerBytes)%recordBytes != 0 {
		return nil, fmt.Errorf("parse: %w: %d bytes", ErrIndex, len(b))
	}
	total, normal := binary.BigEndian.Uint64(b[len(magic):]), binary.BigEndian.Uint32(b[len(magic)+8:])
	if length < 1 || total != uint64(length) {
		return nil, fmt.Errorf("parse: %w of this image: it is of one with %d bytes", ErrIndex, total)
	}
	if normal < smallestNormal || normal > largestNormal || normal&(normal-1) != 0 {
		return nil, fmt.Errorf("parse: %w: chunks of %d bytes", ErrIndex, normal)
	}
	x := &Index{raw: b[headerBytes:], normal: int(normal)}
	if err := x.measure(length); err != nil {
		return nil, err
	}
	x.sort()
	return x, nil
}

// measure adds the lengths up: chunks cannot overlap or leave gaps, as only their
// lengths are written.
func (x *Index) measure(length int64) error {
	count := len(x.raw) / recordBytes
	x.starts = make([]int64, 0, count+1)
	at := int64(0)
	for i := range count {
		n := binary.BigEndian.Uint32(x.raw[i*recordBytes:])
		if n < 1 || n > uint32(x.normal)*4 || n < uint32(x.normal)/4 && i < count-1 {
			return fmt.Errorf("parse: %w: chunk %d has %d bytes", ErrIndex, i, n)
		}
		x.starts = append(x.starts, at)
		at += int64(n)
	}
	if at != length {
		return fmt.Errorf("parse: %w: its chunks have %d bytes, the image %d", ErrIndex, at, length)
	}
	x.starts = append(x.starts, at)
	return nil
}

func (x *Index) sort() {
	x.order = make([]uint32, x.Chunks())
	for i := range x.order {
		x.order[i] = uint32(i)
	}
	slices.SortFunc(x.order, func(a, b uint32) int {
		return cmp.Or(bytes.Compare(x.sum(int(a)), x.sum(int(b))), cmp.Compare(a, b))
	})
}

// Chunks is how many there are.
func (x *Index) Chunks() int { return len(x.starts) - 1 }

// Length is that of the image in bytes.
func (x *Index) Length() int64 { return x.starts[x.Chunks()] }

// Start is where chunk i begins in the image, which for the number of chunks is
// its end.
func (x *Index) Start(i int) int64 { return x.starts[i] }

// LongestChunk is how many bytes a chunk may have at most.
func (x *Index) LongestChunk() int { return 4 * x.normal }

// Is says whether these bytes are those of chunk i.
func (x *Index) Is(i int, content []byte) bool {
	sum := sha256.Sum256(content)
	return int64(len(content)) == x.starts[i+1]-x.starts[i] && bytes.Equal(sum[:], x.sum(i))
}

func (x *Index) sum(i int) []byte { return x.raw[i*recordBytes+4 : (i+1)*recordBytes] }

// find gives the place of the digest's first chunk in order.
func (x *Index) find(sum []byte) (place int, ok bool) {
	return slices.BinarySearchFunc(x.order, sum, func(i uint32, sum []byte) int { return bytes.Compare(x.sum(int(i)), sum) })
}

// Earlier gives the first chunk of the image with the content of chunk i, if that
// is another one.
func (x *Index) Earlier(i int) (first int, ok bool) {
	place, _ := x.find(x.sum(i))
	first = int(x.order[place])
	return first, first < i && x.starts[first+1]-x.starts[first] == x.starts[i+1]-x.starts[i]
}
