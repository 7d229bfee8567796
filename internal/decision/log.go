package decision

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"troth/internal/fleet"
)

// Limits of a page.
const (
	MaxPage   = 1000    // decisions
	pageBytes = 8 << 20 // of documents and inputs; a page has one decision at least
)

// Store keeps decisions and, by digest, their inputs.
type Store interface {
	DecisionLog(ctx context.Context, f fleet.DecisionFilter) ([]fleet.Decision, error)
	Decision(ctx context.Context, id string) (fleet.Decision, error)
	Blob(ctx context.Context, digest string) ([]byte, error)
}

// Log is the use case.
type Log struct {
	Store Store
}

// Entry is a recorded decision.
type Entry struct {
	fleet.Decision
	InputDocument []byte // the bytes that policy was given; nil where they are not kept, or not asked for
}

// Get is the decision with the id, and its input.
func (l *Log) Get(ctx context.Context, id string) (Entry, error) {
	d, err := l.Store.Decision(ctx, id)
	if fleet.IsKind(err, fleet.NotFound) {
		return Entry{}, fleet.Errorf(fleet.NotFound, "decision_not_found", "no decision has the id %q", id)
	}
	if err != nil {
		return Entry{}, err
	}
	return l.entry(ctx, d, true)
}

func (l *Log) entry(ctx context.Context, d fleet.Decision, input bool) (Entry, error) {
	e := Entry{Decision: d}
	if !input || d.Input == "" {
		return e, nil
	}
	content, err := l.Store.Blob(ctx, d.Input)
	if err != nil && !fleet.IsKind(err, fleet.NotFound) {
		return Entry{}, err
	}
	e.InputDocument = content
	return e, nil
}

// List is a page of the log, newest first, and the cursor of the next page; empty
// after the last one. The filter's cursor is set from after. A page ends early
// where it would become too large.
func (l *Log) List(ctx context.Context, f fleet.DecisionFilter, after string, inputs bool) (page []Entry, next string, err error) {
	if f.Before, err = parseCursor(after); err != nil {
		return nil, "", err
	}
	f.Limit = min(max(f.Limit, 1), MaxPage)
	found, err := l.Store.DecisionLog(ctx, f)
	if err != nil {
		return nil, "", err
	}
	size := 0
	for _, d := range found {
		e, err := l.entry(ctx, d, inputs)
		if err != nil {
			return nil, "", err
		}
		size += len(d.Document) + len(e.InputDocument)
		if size > pageBytes && len(page) > 0 {
			break
		}
		page = append(page, e)
	}
	if len(page) > 0 && (len(page) < len(found) || len(found) == f.Limit) {
		next = cursor(page[len(page)-1].Decision)
	}
	return page, next, nil
}

// cursor is the place behind a decision: microseconds since 1970, and its id.
func cursor(d fleet.Decision) string {
	return strconv.FormatInt(d.At.UnixMicro(), 10) + "." + d.ID
}

var idForm = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// parseCursor reads what cursor wrote, and nothing else.
func parseCursor(text string) (fleet.DecisionCursor, error) {
	if text == "" {
		return fleet.DecisionCursor{}, nil
	}
	at, id, _ := strings.Cut(text, ".")
	micros, err := strconv.ParseInt(at, 10, 64)
	if err != nil || strconv.FormatInt(micros, 10) != at || !idForm.MatchString(id) {
		return fleet.DecisionCursor{}, fleet.Errorf(fleet.Invalid, "cursor_malformed", "after takes the next of the page before, as it came")
	}
	return fleet.DecisionCursor{At: time.UnixMicro(micros).UTC(), ID: id}, nil
}
