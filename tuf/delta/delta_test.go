package delta_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"troth/tuf/delta"
)

func image(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b) // never fails
	return b
}

func write(t testing.TB, image []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := delta.Write(context.Background(), &b, bytes.NewReader(image), int64(len(image))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func parse(t testing.TB, image []byte) *delta.Index {
	t.Helper()
	x, err := delta.Parse(write(t, image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestIndexIsOfTheImage(t *testing.T) {
	for name, content := range map[string][]byte{
		"random": image(1, 3<<20),
		"zeros":  make([]byte, 2<<20),
		"odd":    image(2, 1<<20+1),
		"mixed":  append(make([]byte, 1<<20), image(3, 1<<20)...),
	} {
		x := parse(t, content)
		if x.Length() != int64(len(content)) || x.Start(0) != 0 || x.Start(x.Chunks()) != x.Length() {
			t.Fatalf("%s: the index is of %d bytes, want %d", name, x.Length(), len(content))
		}
		for i := range x.Chunks() {
			if !x.Is(i, content[x.Start(i):x.Start(i+1)]) {
				t.Errorf("%s: chunk %d is not what is there", name, i)
			}
			if x.Is(i, content[x.Start(i):x.Start(i+1)-1]) {
				t.Errorf("%s: a part of chunk %d passes for it", name, i)
			}
		}
	}
}

// Where images are cut is what old and new have in common: another version of the
// library that cuts elsewhere must not go unseen.
func TestBoundariesAreFrozen(t *testing.T) {
	sum := sha256.Sum256(write(t, image(1, 4<<20)))
	const want = "9406d08af15d6c5985997833383fa21477ccc779e1f01689a852b1f00e2b2620"
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("the index of a known image has SHA-256 %s, want %s", got, want)
	}
}

// common is how many bytes of the new image are found in the old one, each of them
// checked.
func common(t *testing.T, x *delta.Index, found *delta.Found, before []byte) (bytes int64) {
	t.Helper()
	for i := range x.Chunks() {
		at, ok := found.At(i)
		if !ok {
			continue
		}
		n := x.Start(i+1) - x.Start(i)
		if !x.Is(i, before[at:at+n]) {
			t.Fatalf("chunk %d is not at %d of the old image", i, at)
		}
		bytes += n
	}
	return bytes
}

func TestSearchFindsWhatIsThere(t *testing.T) {
	before := image(4, 4<<20)
	inserted := append(append(bytes.Clone(before[:1<<20]), "a few more bytes"...), before[1<<20:]...)
	flipped := bytes.Clone(before)
	flipped[2<<20] ^= 1
	moved := append(bytes.Clone(before[2<<20:]), before[:2<<20]...)
	for _, tc := range []struct {
		name  string
		after []byte
		least float64
	}{
		{"the same", before, 1},
		{"a bit flipped", flipped, 0.94},
		{"bytes inserted", inserted, 0.94},
		{"halves swapped", moved, 0.9},
		{"another", image(5, 4<<20), 0},
	} {
		x := parse(t, tc.after)
		found, err := x.Search(t.Context(), bytes.NewReader(before))
		if err != nil {
			t.Fatal(err)
		}
		share := float64(common(t, x, found, before)) / float64(len(tc.after))
		if share < tc.least || tc.least == 0 && share > 0 {
			t.Errorf("%s: %.3f is found, want %.2f", tc.name, share, tc.least)
		}
	}
}

func TestSearchGivesWhatItFoundBeforeAnError(t *testing.T) {
	before := image(6, 4<<20)
	x := parse(t, before)
	found, err := x.Search(t.Context(), io.MultiReader(bytes.NewReader(before[:3<<20]), iotest.ErrReader(io.ErrNoProgress)))
	if !errors.Is(err, io.ErrNoProgress) {
		t.Fatalf("search in what cannot be read: %v", err)
	}
	if got := common(t, x, found, before); got < 5<<19 || got > 3<<20 {
		t.Errorf("%d bytes are found in 3 MiB that can be read", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Search(ctx, bytes.NewReader(before)); !errors.Is(err, context.Canceled) {
		t.Errorf("search when it is to stop: %v", err)
	}
}

func TestForget(t *testing.T) {
	before := image(7, 2<<20)
	x := parse(t, before)
	found, err := x.Search(t.Context(), bytes.NewReader(before))
	if err != nil {
		t.Fatal(err)
	}
	found.Forget(3)
	if _, ok := found.At(3); ok {
		t.Error("a chunk that was forgotten is found")
	}
	if _, ok := found.At(4); !ok {
		t.Error("a chunk that was not forgotten is not found")
	}
	found.ForgetAll()
	if got := common(t, x, found, before); got != 0 {
		t.Errorf("%d bytes are found after all were forgotten", got)
	}
	if got := common(t, x, x.None(), before); got != 0 {
		t.Errorf("%d bytes are found in nothing", got)
	}
}

func TestEarlierIsTheSameContent(t *testing.T) {
	random := image(8, 1<<20)
	twice := append(append(append(bytes.Clone(random), make([]byte, 1<<20)...), random...), 1)
	x := parse(t, twice)
	again := 0
	for i := range x.Chunks() {
		first, ok := x.Earlier(i)
		if !ok {
			continue
		}
		again++
		if first >= i || !x.Is(i, twice[x.Start(first):x.Start(first+1)]) {
			t.Errorf("chunk %d is not chunk %d again", i, first)
		}
	}
	if again < x.Chunks()/3 {
		t.Errorf("%d of %d chunks are there before; half of the image is", again, x.Chunks())
	}
}

func TestWriteRefuses(t *testing.T) {
	content := image(9, 1<<20)
	for name, tc := range map[string]struct {
		r      io.Reader
		length int64
	}{
		"small":     {bytes.NewReader(content), delta.MinImage - 1},
		"large":     {bytes.NewReader(content), delta.MaxImage + 1},
		"truncated": {bytes.NewReader(content), delta.MinImage + 1},
		"longer":    {io.MultiReader(bytes.NewReader(content), bytes.NewReader(content)), delta.MinImage},
		"broken":    {iotest.ErrReader(io.ErrNoProgress), delta.MinImage},
	} {
		if err := delta.Write(t.Context(), io.Discard, tc.r, tc.length); err == nil {
			t.Errorf("%s: an index is written", name)
		}
	}
}

// index writes one by hand.
func index(total uint64, normal uint32, lengths ...uint32) []byte {
	b := binary.BigEndian.AppendUint64([]byte("TROTHCH1"), total)
	b = binary.BigEndian.AppendUint32(b, normal)
	for _, n := range lengths {
		b = append(binary.BigEndian.AppendUint32(b, n), make([]byte, 32)...)
	}
	return b
}

// A hostile index is refused before anything is done with it.
func TestAttack_T6_HostileIndex(t *testing.T) {
	const n = 32 << 10
	many := index(1<<40, 32<<10)
	for len(many) <= delta.MaxBytes {
		many = append(many, many[20:]...)
		many = append(many, make([]byte, 36)...)
	}
	good := index(3*n, n, n, n, n)
	if _, err := delta.Parse(good, 3*n); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		raw    []byte
		length int64
	}{
		"empty":                 {nil, 3 * n},
		"other magic":           {append([]byte("TROTHCH2"), good[8:]...), 3 * n},
		"cut short":             {good[:len(good)-1], 3 * n},
		"bytes after":           {append(bytes.Clone(good), 0), 3 * n},
		"another image":         {good, 3*n + 1},
		"no chunks":             {index(3*n, n), 3 * n},
		"of nothing":            {index(0, n), 0},
		"negative length":       {index(1<<64-1, n, n), -1},
		"chunks miss the end":   {index(3*n, n, n, n), 3 * n},
		"chunks beyond the end": {index(3*n, n, n, n, n, n), 3 * n},
		"a chunk of nothing":    {index(3*n, n, n, 0, n, n), 3 * n},
		"empty last chunk":      {index(3*n, n, n, n, n, 0), 3 * n},
		"tiny chunks":           {index(3*n, n, 3*n-1, 1, 0), 3 * n},
		"a huge chunk":          {index(5*n, n, 5*n), 5 * n},
		"lengths that wrap":     {index(3*n, n, 1<<31, 1<<31, 3*n), 3 * n},
		"normal of 0":           {index(3*n, 0, n, n, n), 3 * n},
		"normal too small":      {index(3*n, n/2, n, n, n), 3 * n},
		"normal too large":      {index(3*n, 2<<20, 3*n), 3 * n},
		"normal not a power":    {index(3*n, n+1, n, n, n), 3 * n},
		"too many":              {many, 1 << 40},
	} {
		if _, err := delta.Parse(tc.raw, tc.length); !errors.Is(err, delta.ErrIndex) {
			t.Errorf("%s: %v, want that it is no index", name, err)
		}
	}
}

// FuzzParse: whatever passes can be searched and asked without harm.
func FuzzParse(f *testing.F) {
	f.Add(index(96<<10, 32<<10, 32<<10, 32<<10, 32<<10), int64(96<<10))
	f.Add(index(96<<10, 32<<10, 96<<10), int64(96<<10))
	f.Add(write(f, image(1, 1<<20)), int64(1<<20))
	f.Add([]byte("TROTHCH1"), int64(0))
	other := image(1, 1<<20)
	f.Fuzz(func(t *testing.T, b []byte, length int64) {
		x, err := delta.Parse(b, length)
		if err != nil {
			return
		}
		if x.Length() != length || x.Chunks() < 1 {
			t.Fatalf("an index of %d bytes in %d chunks passes for one of %d", x.Length(), x.Chunks(), length)
		}
		found, err := x.Search(context.Background(), bytes.NewReader(other))
		if err != nil {
			t.Fatal(err)
		}
		for i := range x.Chunks() {
			if n := x.Start(i+1) - x.Start(i); n < 1 || n > int64(x.LongestChunk()) {
				t.Fatalf("chunk %d has %d bytes", i, n)
			}
			if first, ok := x.Earlier(i); ok && first >= i {
				t.Fatalf("chunk %d is there earlier as %d", i, first)
			}
			if at, ok := found.At(i); ok && (at < 0 || at >= int64(len(other))) {
				t.Fatalf("chunk %d is at %d", i, at)
			}
		}
	})
}

func BenchmarkSearch(b *testing.B) {
	before := image(1, 64<<20)
	x := parse(b, before)
	b.SetBytes(int64(len(before)))
	for b.Loop() {
		if _, err := x.Search(b.Context(), bytes.NewReader(before)); err != nil {
			b.Fatal(err)
		}
	}
}
