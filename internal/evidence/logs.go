package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"troth/attest/eventlog"
	"troth/internal/fleet"
)

// nothing is the digest of no bytes: of a list to which nothing was added.
const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

type resolved struct {
	content []byte
	sum     [sha256.Size]byte
	fresh   bool // came with the submission
	reading *eventlog.Reading
}

// unread is the content that the verifier has to read; nil where it is read.
func (r resolved) unread() []byte {
	if r.reading != nil {
		return nil
	}
	return r.content
}

// resolveEventLog is resolve, but for a log whose reading is kept: that one is not
// fetched, hashed or parsed again. A log that cannot be read has no reading.
func resolveEventLog(ctx context.Context, blobs Blobs, l *Log, cache *eventlog.Cache) (resolved, error) {
	if l == nil || cache == nil {
		return resolve(ctx, blobs, "event log", l)
	}
	if l.Content == nil {
		if reading := cache.Get(sumOf(l.SHA256)); reading != nil {
			return resolved{sum: reading.Sum(), reading: reading}, nil
		}
	}
	r, err := resolve(ctx, blobs, "event log", l)
	if err != nil {
		return resolved{}, err
	}
	if r.reading = cache.Get(r.sum); r.reading == nil {
		// The verifier says what is wrong with a log, and nil is its reading.
		r.reading, _ = eventlog.Read(r.content)
	}
	return r, nil
}

// sumOf reads a digest as the service writes it; zeros, which are no log's, for
// anything else.
func sumOf(text string) (sum [sha256.Size]byte) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(sum) || hex.EncodeToString(raw) != text {
		return sum
	}
	return [sha256.Size]byte(raw)
}

// resolve finds the content of a log and makes sure that it is the one named.
func resolve(ctx context.Context, blobs Blobs, what string, l *Log) (resolved, error) {
	if l == nil {
		return resolved{}, nil
	}
	r := resolved{content: l.Content, fresh: l.Content != nil}
	if l.SHA256 == nothing && !r.fresh {
		r.content, r.fresh = []byte{}, true
	}
	if !r.fresh {
		content, err := blobs.Blob(ctx, l.SHA256)
		if fleet.IsKind(err, fleet.NotFound) {
			return resolved{}, fleet.Errorf(fleet.Conflict, "log_required", "the service does not hold the %s %.16s…: send it whole", what, l.SHA256)
		}
		if err != nil {
			return resolved{}, err
		}
		r.content = content
	}
	r.sum = sha256.Sum256(r.content)
	if hex.EncodeToString(r.sum[:]) != l.SHA256 {
		return resolved{}, fleet.Errorf(fleet.Invalid, "log_digest_mismatch", "the %s does not have the digest that was sent with it", what)
	}
	return r, nil
}
