package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"troth/tuf/delta"
)

// What an assembly may cost.
const (
	maxRanges = 1024     // requests for parts of the target; one hole more is fetched with its surroundings
	firstGap  = 16 << 10 // bytes that are fetched again rather than asked around
	maxWrong  = 16       // chunks that are not where they were found, before the old image is left alone
)

// errChunk: what was received is not what the index says.
var errChunk = errors.New("a chunk is not what the index says")

// assembly makes a target chunk by chunk, in their order: each from the old image,
// from an earlier part of the target, or from a range of it on the network. The file
// grows as it does in a whole download, so that either goes on where the other ended.
type assembly struct {
	*download
	x      *delta.Index
	f      *os.File
	found  *delta.Found
	next   int    // chunk; those before it are in f
	buffer []byte // for one chunk
	gap    int64  // bytes that are fetched although they are here, if holes are on both sides
	wrong  int    // chunks that were not where they had been found
	unfit  error  // what speaks against going on like this
}

// resume keeps the chunks that f begins with, each of them verified: where the
// power went, a file can have its length and not its content.
func (a *assembly) resume(ctx context.Context) error {
	info, err := a.f.Stat()
	if err != nil {
		return fail(CodeStorage, a.target.Name, err)
	}
	for ; a.next < a.x.Chunks() && a.x.Start(a.next+1) <= info.Size(); a.next++ {
		if err := ctx.Err(); err != nil {
			return fail(CodeUnreachable, a.target.Name, err)
		}
		if !a.holds(a.f, a.x.Start(a.next), a.next) {
			break
		}
	}
	if err := a.f.Truncate(a.x.Start(a.next)); err != nil {
		return fail(CodeStorage, a.target.Name, err)
	}
	return nil
}

// holds reads chunk i from there into the buffer.
func (a *assembly) holds(r io.ReaderAt, at int64, i int) bool {
	chunk := a.chunk(i)
	n, err := r.ReadAt(chunk, at)
	return n == len(chunk) && (err == nil || errors.Is(err, io.EOF)) && a.x.Is(i, chunk)
}

// chunk is as much of the buffer as chunk i needs.
func (a *assembly) chunk(i int) []byte { return a.buffer[:a.x.Start(i+1)-a.x.Start(i)] }

// plan chooses how large holes are that are worth a request of their own, and
// refuses where hardly anything is saved.
func (a *assembly) plan() error {
	left := a.x.Length() - a.x.Start(a.next)
	for a.gap = firstGap; ; a.gap *= 2 {
		ranges, size := 0, int64(0)
		for i := a.next; i < a.x.Chunks(); i++ {
			if a.here(i) {
				continue
			}
			end := a.hole(i)
			size += a.x.Start(end) - a.x.Start(i)
			ranges, i = ranges+1, end-1
		}
		if ranges > maxRanges {
			continue
		}
		if size > left/10*9 {
			return fmt.Errorf("the old image has too little of it: %d of %d bytes are missing", size, left)
		}
		return nil
	}
}

// here says whether a chunk need not be fetched, as far as that is known.
func (a *assembly) here(i int) bool {
	_, old := a.found.At(i)
	if old {
		return true
	}
	_, earlier := a.x.Earlier(i)
	return earlier
}

// hole gives the end of what is fetched at once from chunk i on, which is missing.
func (a *assembly) hole(i int) (end int) {
	end = i + 1
	for j := end; j < a.x.Chunks() && a.x.Start(j)-a.x.Start(end) <= a.gap; j++ {
		if !a.here(j) {
			end = j + 1
		}
	}
	return end
}

// from goes on with one place, where another one ended.
func (a *assembly) from(ctx context.Context, m Mirror) error {
	ctx, meter := a.client.meter(ctx)
	defer meter.stop()
	meter.idle.Store(true)
	for a.next < a.x.Chunks() {
		if ctx.Err() != nil {
			return transferError(ctx, a.target.Name, context.Cause(ctx))
		}
		var err error
		if a.fromHere() {
			err = a.keep()
		} else {
			meter.idle.Store(false)
			err = a.fetch(ctx, m, meter)
			meter.idle.Store(true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fromHere reads the next chunk into the buffer, if it is on this device.
func (a *assembly) fromHere() bool {
	if at, ok := a.found.At(a.next); ok {
		if a.holds(a.old.Content, at, a.next) {
			a.transfer.Reused += int64(len(a.chunk(a.next)))
			return true
		}
		a.found.Forget(a.next)
		if a.wrong++; a.wrong == maxWrong {
			a.found.ForgetAll()
			a.transfer.Trouble = errors.New("the old image is not what it was a moment ago")
		}
	}
	if first, ok := a.x.Earlier(a.next); ok && a.holds(a.f, a.x.Start(first), a.next) {
		a.transfer.Reused += int64(len(a.chunk(a.next)))
		return true
	}
	return false
}

// keep writes the next chunk, which is in the buffer.
func (a *assembly) keep() error {
	if _, err := a.f.WriteAt(a.chunk(a.next), a.x.Start(a.next)); err != nil {
		return fail(CodeStorage, a.target.Name, err)
	}
	a.next++
	a.progress(a.x.Start(a.next), a.x.Length())
	return nil
}

// fetch receives a hole. Each chunk is verified before the next is read, so that a
// bad place costs one.
func (a *assembly) fetch(ctx context.Context, m Mirror, meter *meter) error {
	name, end := a.target.Name, a.hole(a.next)
	want := part{a.x.Start(a.next), a.x.Start(end) - a.x.Start(a.next)}
	got, err := a.client.open(ctx, m.TargetsURL, a.at, want)
	if err != nil {
		if errors.Is(err, errRange) {
			a.unfit = err
		}
		return transferError(ctx, name, err)
	}
	defer got.body.Close()
	if got.ignored || got.offset != want.first || got.total >= 0 && got.total != a.target.Length {
		a.unfit = fmt.Errorf("%w: asked for %s", errRange, want.header())
		return fail(CodeUnreachable, name, a.unfit)
	}
	body := meter.count(got.body)
	for a.next < end {
		n, err := io.ReadFull(body, a.chunk(a.next))
		a.transfer.Fetched += int64(n)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return transferError(ctx, name, fmt.Errorf("read content: %w", err))
		}
		if !a.x.Is(a.next, a.chunk(a.next)) {
			a.unfit = errChunk
			return fail(CodeContent, name, a.unfit)
		}
		if err := a.keep(); err != nil {
			return err
		}
	}
	_, _ = body.Read(make([]byte, 1)) // its end: the connection can be used again
	return nil
}
