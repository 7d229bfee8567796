package policy

import (
	"context"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// DefaultMemory is how much the heap may grow during a slow evaluation, in bytes,
// where Options names no other bound.
const DefaultMemory = 256 << 20

const (
	unwatched = 20 * time.Millisecond // until then an evaluation is not slow
	lookEvery = 5 * time.Millisecond
)

// watch stops an evaluation at its deadline, with its context, or when it takes too
// much memory. Go does not count memory by goroutine. So what is watched is the
// live heap of the whole process, as the garbage collector last found it, from the
// moment on at which an evaluation is slow; if it grows past the limit, every
// evaluation that is slow at that moment is stopped, and decides nothing. What is
// quick is never stopped, and what is garbage does not count.
type watch struct {
	cancel  topdown.Cancel
	late    atomic.Bool
	large   atomic.Bool
	timers  [2]*time.Timer
	leave   func() bool
	stopped chan struct{}
}

func (e *Engine) watch(ctx context.Context, deadline time.Duration) *watch {
	w := &watch{cancel: topdown.NewCancel(), stopped: make(chan struct{})}
	w.leave = context.AfterFunc(ctx, w.cancel.Cancel)
	w.timers[0] = time.AfterFunc(deadline, func() {
		w.late.Store(true)
		w.cancel.Cancel()
	})
	w.timers[1] = time.AfterFunc(unwatched, func() { w.look(e.memory) })
	return w
}

// look runs in the timer's goroutine until the evaluation ends.
func (w *watch) look(most uint64) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for before := live(); ; {
		select {
		case <-w.stopped:
			return
		case <-ticker.C:
			if now := live(); now > before && now-before > most {
				w.large.Store(true)
				w.cancel.Cancel()
				return
			}
		}
	}
}

// live is the size of the heap that the last collection left, in bytes.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(sample); sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

func (w *watch) stop() {
	close(w.stopped)
	for _, t := range w.timers {
		t.Stop()
	}
	w.leave()
}

// maxAnswer bounds what an evaluation gives back, as measure counts it.
const maxAnswer = 8 << 20

// plain makes Go values of an answer that is not too large.
func plain(t *ast.Term, _ *rego.EvalContext) (any, error) {
	size := 0
	if err := measure(t.Value, &size, maxAnswer); err != nil {
		return nil, err
	}
	return ast.JSON(t.Value)
}
