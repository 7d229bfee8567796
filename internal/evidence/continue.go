package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"troth/attest"
	"troth/attest/ima"
	"troth/internal/fleet"
)

// maxSegments bounds the blobs that one list is kept in. Past it, the latest are
// joined: those that together are not much smaller than the one before them, so
// that a list that grows for a year is written a few times and not a thousand.
const maxSegments = 32

// continues is the state that the submitted IMA list continues; nil for a whole
// list. The device is only asked for the whole where it continues something else
// than what is counted: its agent, this service or the database may have been
// restarted or restored.
func continues(sub Submission, p fleet.Progress) (*attest.IMAState, error) {
	if sub.IMAFrom == 0 {
		return nil, nil //nolint:nilnil // a whole list continues nothing
	}
	if sub.IMA == nil || sub.IMAFrom != p.Entries {
		return nil, wholeList("the service has counted %d entries of the IMA list, not %d", p.Entries, sub.IMAFrom)
	}
	state := &attest.IMAState{}
	if err := json.Unmarshal(p.State, state); err != nil {
		return nil, fmt.Errorf("read state of IMA list: %w", err)
	}
	size := len(sub.IMA.Content)
	for _, s := range p.Segments {
		size += s.Size
	}
	if size > ima.MaxSize {
		return nil, fleet.Errorf(fleet.Refused, attest.CodeTooLarge, "the IMA list has %d bytes, more than %d", size, ima.MaxSize)
	}
	return state, nil
}

func wholeList(format string, args ...any) error {
	return fleet.Errorf(fleet.Conflict, "log_required", "%s: send it whole", fmt.Sprintf(format, args...))
}

// verifier appraises one submission.
type verifier struct {
	blobs Blobs
	about Subject
}

// appraise verifies evidence. Where the beginning of its list was judged by other
// files than now, the list is put together and judged anew.
func (v verifier) appraise(ctx context.Context, e attest.Evidence, binding attest.Binding) (attest.Result, error) {
	expect := want(binding)
	c := v.about.Clock
	expect.LastClock = attest.Clock{ResetCount: c.ResetCount, RestartCount: c.RestartCount, Clock: c.Clock, Safe: c.Safe}
	var filesErr error
	if v.about.Files != nil {
		expect.IMAFiles = func(p attest.PCRs) (files attest.IMAFiles) {
			files, filesErr = v.about.Files(p)
			return files
		}
	}
	result := attest.Appraise(e, expect)
	if code(result) == attest.CodeIMAJudged && filesErr == nil {
		before, err := v.join(ctx, v.about.Progress.Segments)
		if err != nil {
			return result, err
		}
		e.IMA, e.IMAFrom = slices.Concat(before, e.IMA), nil
		result = attest.Appraise(e, expect)
		result.IMACovered = max(0, result.IMACovered-len(before))
	}
	switch {
	case filesErr != nil:
		return result, filesErr
	case code(result) == attest.CodeIMAState:
		return result, wholeList("the IMA list does not continue what the service has counted")
	}
	if err := result.Err(); err != nil {
		return result, refused(err)
	}
	return result, nil
}

// code is the first error's; empty for a verified result.
func code(r attest.Result) string {
	if r.Verified {
		return ""
	}
	e := attest.Error{Problems: r.Problems}
	return e.Code()
}

// join reads the segments, which the device sent once and need not send again.
func (v verifier) join(ctx context.Context, segments []fleet.Segment) ([]byte, error) {
	var list []byte
	for _, s := range segments {
		content, err := v.blobs.Blob(ctx, s.Digest)
		if fleet.IsKind(err, fleet.NotFound) {
			return nil, wholeList("the service does not hold the IMA list any more")
		}
		if err != nil {
			return nil, err
		}
		list = append(list, content...)
	}
	return list, nil
}

// count adds to a how far the list is counted now: as far as the quote covers it,
// as the rest comes again.
func (v verifier) count(ctx context.Context, a *Appraised, list resolved, continued bool) error {
	state := a.Result.IMAState
	if state == nil {
		return nil
	}
	next := fleet.Progress{Device: v.about.Device, Under: v.about.Progress.Under, Entries: state.Entries}
	if continued {
		next.Segments = slices.Clone(v.about.Progress.Segments)
	}
	if covered := list.content[:a.Result.IMACovered]; len(covered) > 0 {
		if err := v.compact(ctx, a, &next); err != nil {
			return err
		}
		piece := NewBlob(covered)
		next.Segments = append(next.Segments, fleet.Segment{Digest: piece.Digest, Size: len(covered)})
		if len(covered) < len(list.content) { // else it is the log that came, or is held
			a.Pieces = append(a.Pieces, piece)
		}
	}
	var err error
	if next.State, err = json.Marshal(state); err != nil {
		return fmt.Errorf("encode state of IMA list: %w", err)
	}
	if last := v.about.Progress; !bytes.Equal(next.State, last.State) || !slices.Equal(next.Segments, last.Segments) {
		a.Progress = &next
	}
	return nil
}

// compact makes room for one more segment.
func (v verifier) compact(ctx context.Context, a *Appraised, p *fleet.Progress) error {
	if len(p.Segments) < maxSegments {
		return nil
	}
	from := len(p.Segments) - 1
	for size := p.Segments[from].Size; from > 0 && p.Segments[from-1].Size < 2*size; {
		from--
		size += p.Segments[from].Size
	}
	from = min(from, len(p.Segments)-2)
	content, err := v.join(ctx, p.Segments[from:])
	if err != nil {
		return err
	}
	joined := NewBlob(content)
	a.Pieces = append(a.Pieces, joined)
	p.Segments = append(p.Segments[:from], fleet.Segment{Digest: joined.Digest, Size: len(content)})
	return nil
}
