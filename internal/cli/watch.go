package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"troth/internal/api"
	"troth/internal/fleet"
)

// patience is how many looks in a row may go without an answer.
const patience = 5

// rolloutWatch shows a rollout whenever it changed, until it ended. A server
// that is away for a moment (a restart, a failover) is waited for.
func (a *app) rolloutWatch(ctx context.Context, client *api.Client, id string, every time.Duration) error {
	var before string
	for misses := 0; ; {
		r, err := rollout(ctx, client, id)
		switch {
		case err == nil:
			misses = 0
		case ctx.Err() != nil:
			return ctx.Err()
		case explain(err).exit == exitUndecided && misses < patience:
			misses++
		default:
			return err
		}
		if err == nil {
			if before, err = a.redraw(r, before); err != nil {
				return err
			}
			if ended(r) {
				return a.outcome(r)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// redraw shows r if it is not what was shown before. On a terminal it takes the
// place of what it follows.
func (a *app) redraw(r api.Rollout, before string) (string, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode rollout: %w", err)
	}
	if string(b) == before {
		return before, nil
	}
	if a.flags.format == formatTable {
		switch {
		case terminal(a.Stdout):
			_, _ = fmt.Fprint(a.Stdout, "\x1b[H\x1b[2J")
		case before != "":
			_, _ = fmt.Fprintln(a.Stdout)
		}
	}
	if a.flags.format == formatYAML && before != "" {
		_, _ = fmt.Fprintln(a.Stdout, "---")
	}
	return string(b), a.showRollout(r)
}

func ended(r api.Rollout) bool {
	switch fleet.RolloutState(r.State) {
	case fleet.RolloutCompleted, fleet.RolloutHalted, fleet.RolloutAborted:
		return true
	default:
		return false
	}
}

// outcome says how a rollout ended that was shown.
func (a *app) outcome(r api.Rollout) error {
	if r.State == string(fleet.RolloutCompleted) {
		return nil
	}
	return a.after(failf(exitNo, codeRollout, "rollout %s is %s: %s", r.ID, r.State, first(r.Reason, "no reason was given")))
}
