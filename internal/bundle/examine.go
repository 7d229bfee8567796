package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/metrics"
	"strings"
	"time"

	"troth/internal/fleet"
	"troth/policy"
	"troth/policy/archive"
)

// examined is a bundle that passed.
type examined struct {
	engine *policy.Engine
	checks fleet.BundleChecks
}

// examine has a bundle show that it can decide: it is unpacked within its limits,
// compiled with the built-in functions that policies may use, linted, its own tests
// pass, and it answers every kind of question on a device of which nothing is known and
// on some of the fleet's. Errors are for its author.
func (s *Service) examine(ctx context.Context, content []byte) (examined, error) {
	ctx, stop := context.WithTimeout(ctx, s.Deadline)
	defer stop()
	ctx, free := capped(ctx, s.Memory)
	defer free()
	found, err := s.passes(ctx, content)
	switch cause := context.Cause(ctx); {
	case err == nil:
		return found, nil
	case errors.Is(cause, context.DeadlineExceeded):
		return examined{}, fmt.Errorf("it was not through its examination within %s: %w", s.Deadline, err)
	case cause != nil:
		return examined{}, fmt.Errorf("%w: %w", cause, err)
	}
	return examined{}, err
}

func (s *Service) passes(ctx context.Context, content []byte) (examined, error) {
	unpacked, err := archive.Read(content)
	if err != nil {
		return examined{}, err
	}
	engine, err := policy.New(ctx, unpacked.FS, policy.Options{})
	if err != nil {
		return examined{}, err
	}
	warnings, err := policy.Lint(ctx, unpacked.FS)
	if err != nil {
		return examined{}, err
	}
	tests, err := policy.Test(ctx, unpacked.FS)
	if err != nil {
		return examined{}, err
	}
	if err := passed(tests); err != nil {
		return examined{}, err
	}
	if err := s.try(ctx, engine); err != nil {
		return examined{}, err
	}
	return examined{engine, fleet.BundleChecks{
		Files: unpacked.Files, Bytes: unpacked.Bytes, Roots: unpacked.Roots,
		Controls: len(engine.Controls()), Tests: tests.Passed, Coverage: int(tests.Coverage), Warnings: shownWarnings(warnings),
	}}, nil
}

// maxWarnings is how many of the linter's are kept, for whoever approves.
const maxWarnings = 50

func shownWarnings(problems []policy.Problem) []string {
	var list []string
	for _, p := range problems[:min(len(problems), maxWarnings)] {
		list = append(list, p.String())
	}
	if more := len(problems) - maxWarnings; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return list
}

// shownTests is how many failing tests a refusal names.
const shownTests = 5

func passed(r policy.TestReport) error {
	if r.OK() {
		return nil
	}
	if len(r.Results) == 0 {
		return errors.New("it has no tests: a bundle brings at least one, in a file that ends with _test.rego")
	}
	var failed []string
	for _, t := range r.Results {
		if t.Outcome != policy.Pass && len(failed) < shownTests {
			failed = append(failed, fmt.Sprintf("%s:%d %s %s %s", t.File, t.Line, t.Name, t.Outcome, t.Message))
		}
	}
	return fmt.Errorf("of its own tests, %d failed and %d were skipped: %s", r.Failed, r.Skipped, strings.Join(failed, "; "))
}

// tried is on how many of the fleet's postures a bundle is tried.
const tried = 32

// try asks everything that the service asks. An answer that is not allowed in its
// type, that contradicts itself or does not come in time is an error of the engine.
func (s *Service) try(ctx context.Context, engine *policy.Engine) error {
	for _, kind := range policy.Kinds() {
		if _, err := engine.Replay(ctx, kind, s.nobody()); err != nil {
			return fmt.Errorf("on a device of which nothing is known: %w", err)
		}
	}
	sample, err := s.Store.Replays(ctx, "", tried)
	if err != nil {
		return fmt.Errorf("read postures to try it on: %w", err)
	}
	for _, r := range sample {
		if r.Verdict == fleet.Undecided {
			continue
		}
		if _, err := engine.Replay(ctx, policy.KindPosture, r.Input); err != nil {
			return fmt.Errorf("on the posture of device %s: %w", r.Device, err)
		}
	}
	return nil
}

// nobody is an input without any facts.
func (s *Service) nobody() []byte {
	document, _ := json.Marshal(map[string]time.Time{"now": s.Now().UTC()}) // a time can be encoded
	return document
}

// capped ends the context when the heap has grown by more than limit bytes.
func capped(ctx context.Context, limit uint64) (context.Context, func()) {
	const sample = "/memory/classes/heap/objects:bytes"
	heap := func() uint64 {
		read := []metrics.Sample{{Name: sample}}
		metrics.Read(read)
		return read[0].Value.Uint64()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	before, done := heap(), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
				if now := heap(); now > before && now-before > limit {
					cancel(fmt.Errorf("it takes more than %d MiB of memory", limit>>20))
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}
