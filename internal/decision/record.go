package decision

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"troth/internal/fleet"
)

// How answers are gathered.
const (
	// Every is how often Flush is to be called: what a crash can lose.
	Every = time.Second

	window      = time.Minute     // equal answers within it are one row
	patience    = 3 * time.Second // of a request while the queue is full
	maxWaiting  = 4096            // rows to be written
	maxAction   = 64              // bytes
	maxResource = 256             // bytes
)

// Writer stores what was gathered.
type Writer interface {
	Apply(ctx context.Context, c fleet.Change) error
}

// Recorder gathers answers that are given too often for a row each, and writes
// them apart from the requests that they answer.
type Recorder struct {
	store Writer

	flushing sync.Mutex // one Flush at a time, so that counts only grow

	mu      sync.Mutex
	open    map[key]*gathered // to be counted on
	waiting []*gathered       // with something that is not written
	held    int               // being written
	written chan struct{}     // closed after each flush that succeeds
}

// NewRecorder returns a Recorder that writes to store whenever Flush is called.
func NewRecorder(store Writer) *Recorder {
	return &Recorder{store: store, open: map[key]*gathered{}, written: make(chan struct{})}
}

// key is what equal answers have in common.
type key struct {
	kind, operator, role, action, resource, code, policy string
	device                                               fleet.DeviceID
	allow                                                bool
}

// gathered are equal answers: the first of them, and how many there were.
type gathered struct {
	id      string
	first   fleet.Ruling
	last    time.Time
	count   int64
	waiting bool
}

// counted is the document of a decision that stands for equal answers.
type counted struct {
	Allow    bool      `json:"allow"`
	Code     string    `json:"code,omitempty"`
	Operator string    `json:"operator,omitempty"`
	Role     string    `json:"role,omitempty"`
	Action   string    `json:"action"`
	Resource string    `json:"resource,omitempty"`
	Count    int64     `json:"count"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// Record takes an answer into the queue. Where that is full it waits for the next
// flush, within ctx and no longer than some seconds; an answer that cannot be
// recorded is not to be given: fleet.Refused, code decision_unrecorded.
//
// Of the resource, what follows a question mark is left out, for it may hold
// secrets, and then all beyond 256 bytes.
func (r *Recorder) Record(ctx context.Context, a fleet.Ruling) error {
	path, _, _ := strings.Cut(a.Resource, "?")
	a.Resource, a.Action = short(path, maxResource), short(a.Action, maxAction)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		ok, written := r.take(a)
		if ok {
			return nil
		}
		select {
		case <-written:
			continue
		case <-ctx.Done():
		case <-timer.C:
		}
		return fleet.Errorf(fleet.Refused, "decision_unrecorded", "the decision could not be recorded, so the answer is no: try again")
	}
}

// take counts the answer, unless the queue is full; then it returns what is closed
// after the next flush.
func (r *Recorder) take(a fleet.Ruling) (ok bool, written <-chan struct{}) {
	k := key{
		kind: a.Kind, operator: a.Operator, role: a.Role, action: a.Action, resource: a.Resource, code: a.Code, policy: a.Policy,
		device: a.Device, allow: a.Allow,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.open[k]
	if g != nil && !a.At.Before(g.first.At.Add(window)) {
		g = nil
	}
	if (g == nil || !g.waiting) && len(r.waiting)+r.held >= maxWaiting {
		return false, r.written
	}
	if g == nil {
		g = &gathered{id: fleet.NewID(), first: a, last: a.At}
		r.open[k] = g
	}
	g.count++
	if a.At.After(g.last) {
		g.last = a.At
	}
	if !g.waiting {
		g.waiting = true
		r.waiting = append(r.waiting, g)
	}
	return true, nil
}

// Flush writes what is waiting, in one transaction. What could not be written
// waits on. now ends the minutes of rows.
func (r *Recorder) Flush(ctx context.Context, now time.Time) error {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	batch, change, err := r.begin()
	if err == nil && len(batch) > 0 {
		err = r.store.Apply(ctx, change)
	}
	r.end(batch, now, err)
	if err != nil {
		return fmt.Errorf("write decisions: %w", err)
	}
	return nil
}

func (r *Recorder) begin() (batch []*gathered, c fleet.Change, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	batch, r.waiting = r.waiting, nil
	r.held = len(batch)
	for _, g := range batch {
		g.waiting = false
		d, err := g.row()
		if err != nil {
			return batch, fleet.Change{}, err
		}
		c.Counted = append(c.Counted, d)
	}
	return batch, c, nil
}

func (r *Recorder) end(batch []*gathered, now time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = 0
	if err != nil {
		for _, g := range batch {
			if !g.waiting {
				g.waiting = true
				r.waiting = append(r.waiting, g)
			}
		}
		return
	}
	for k, g := range r.open {
		if !g.waiting && !now.Before(g.first.At.Add(window)) {
			delete(r.open, k)
		}
	}
	if len(r.open) > maxWaiting {
		clear(r.open) // costs another row of what comes again
	}
	close(r.written)
	r.written = make(chan struct{})
}

func (g *gathered) row() (fleet.Decision, error) {
	a := g.first
	document, err := json.Marshal(counted{
		Allow: a.Allow, Code: a.Code, Operator: a.Operator, Role: a.Role, Action: a.Action, Resource: a.Resource,
		Count: g.count, First: a.At, Last: g.last,
	})
	if err != nil {
		return fleet.Decision{}, fmt.Errorf("encode decision: %w", err)
	}
	answer := "deny"
	if a.Allow {
		answer = "allow"
	}
	return fleet.Decision{
		ID: g.id, Kind: a.Kind, Device: a.Device, At: a.At, Policy: a.Policy, Input: a.Input, Evidence: a.Evidence,
		Answer: answer, Document: document,
	}, nil
}

// short is at most n bytes of text, in whole characters.
func short(text string, n int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}
