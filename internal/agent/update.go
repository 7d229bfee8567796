package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"troth/internal/agent/install"
	"troth/internal/agent/slot"
	"troth/internal/api"
	"troth/internal/fleet"
	"troth/tuf/client"
)

// An update goes through these steps, each written down before the next begins,
// so that whatever cuts it short is told from what came before:
//
//	assigned → downloading → installing → rebooting ┬→ verifying → success
//	                    └──────┴──→ failure         └→ rolled-back
//
// "verifying" is said from the new slot once its health check passed; success
// is when the service recognises the release in a quote from it. Everything
// else leads back to the old slot.

// afterBoot finds out what became of an update across the reboot, and checks
// the health of a slot on trial before anything is said from it.
func (a *Agent) afterBoot(ctx context.Context) error {
	a.health = "ok"
	if a.slots == nil {
		return nil
	}
	running, _, trial, err := a.slots.Running()
	if errors.Is(err, slot.ErrGivenUp) {
		a.Log.Warn("what runs was given up", "error", err)
		return ErrReboot // the agent was stopped between giving up and the reboot
	}
	if err != nil {
		return err
	}
	if !trial {
		return a.afterBootOfGoodSlot(running)
	}
	if a.HealthCheck != nil {
		if err := a.HealthCheck(ctx); err != nil {
			return a.rollBack(fmt.Errorf("health check: %w", err))
		}
	}
	return a.report(fleet.MemberVerifying, running.Version, nil)
}

// afterBootOfGoodSlot closes an update whose slot did not come up, or was
// confirmed just before the power went.
func (a *Agent) afterBootOfGoodSlot(running slot.Slot) error {
	switch fleet.MemberState(a.update.State) {
	case fleet.MemberVerifying, fleet.MemberRebooting:
		if running.Version == a.update.Version {
			return a.report(fleet.MemberSuccess, running.Version, nil)
		}
		if s, ok := a.slots.(interface{ Untried() bool }); ok && s.Untried() {
			return a.report("", "", nil) // the agent was ended before the reboot; the service assigns it again
		}
		return a.report(fleet.MemberRolledBack, a.update.Version, errors.New("the boot loader went back to the old slot"))
	case fleet.MemberDownloading, fleet.MemberInstalling:
		return a.report("", "", nil) // cut short; the service assigns it again
	}
	return nil
}

// rollBack gives the new slot up and asks for a reboot into the old one.
func (a *Agent) rollBack(cause error) error {
	a.Log.Warn("going back to the old slot", "error", cause)
	if err := a.report(fleet.MemberRolledBack, a.update.Version, cause); err != nil {
		return err
	}
	if err := a.slots.Revert(); err != nil && !errors.Is(err, slot.ErrNoTrial) {
		return err
	}
	return ErrReboot
}

// expireTrial gives a slot on trial up once it had its time.
func (a *Agent) expireTrial(why string) error {
	if fleet.MemberState(a.update.State) != fleet.MemberVerifying || a.Now().Before(a.bootedAt.Add(a.ConfirmWithin)) {
		return nil
	}
	return a.rollBack(errors.New(why))
}

// follow does what the answer of a check-in asks for. It returns true where the
// next check-in should follow at once, to say what happened.
func (a *Agent) follow(ctx context.Context, answer api.CheckInAnswer) (again bool, err error) {
	if a.slots == nil {
		return false, nil
	}
	if fleet.MemberState(a.update.State) == fleet.MemberVerifying {
		return a.confirm(answer)
	}
	if answer.Assignment == nil || a.settled(*answer.Assignment) {
		return false, nil
	}
	err = a.install(ctx, *answer.Assignment)
	if err == nil || errors.Is(err, ErrReboot) || ctx.Err() != nil {
		return false, err
	}
	a.Log.Warn("update did not succeed", "version", answer.Assignment.Version, "error", err)
	if resumable(err) {
		return false, a.report("", "", nil)
	}
	return true, a.report(fleet.MemberFailure, answer.Assignment.Version, err)
}

// confirm makes the new slot the good one where the service recognised the
// release in a quote from it.
func (a *Agent) confirm(answer api.CheckInAnswer) (again bool, err error) {
	if answer.Firmware != a.update.Version {
		return false, a.expireTrial("the service does not recognise what booted")
	}
	if err := a.slots.Confirm(); err != nil && !errors.Is(err, slot.ErrNoTrial) {
		return false, err
	}
	a.Log.Info("update confirmed", "version", a.update.Version)
	return true, a.report(fleet.MemberSuccess, a.update.Version, nil)
}

// settled reports whether nothing is to be done about the assignment: it is
// what runs, or this rollout was tried and did not work here. Another rollout of
// the same release is a new attempt.
func (a *Agent) settled(as api.Assignment) bool {
	running, _, _, err := a.slots.Running()
	if err == nil && running.Version == as.Version {
		return true
	}
	return a.update.Rollout == as.Rollout && fleet.MemberState(a.update.State).Ended()
}

// install downloads, verifies and writes a release, and asks for the reboot.
func (a *Agent) install(ctx context.Context, as api.Assignment) error {
	a.update = updateState{Rollout: as.Rollout}
	if err := a.tell(ctx, fleet.MemberDownloading, as.Version); err != nil {
		return err
	}
	path, target, err := a.download(ctx, as)
	if err != nil {
		return err
	}
	if err := a.tell(ctx, fleet.MemberInstalling, as.Version); err != nil {
		return err
	}
	if err := installFile(ctx, a.slots, path, target); err != nil {
		return err
	}
	if err := a.tell(ctx, fleet.MemberRebooting, as.Version); err != nil {
		return err
	}
	return ErrReboot
}

// download fetches the assigned target. The signed metadata decides what it
// is: an assignment only names it.
func (a *Agent) download(ctx context.Context, as api.Assignment) (string, client.Target, error) {
	updater, err := a.updater()
	if err != nil {
		return "", client.Target{}, err
	}
	if err := updater.Refresh(ctx); err != nil {
		return "", client.Target{}, err
	}
	target, err := updater.Lookup(ctx, as.Target)
	if err != nil {
		return "", client.Target{}, err
	}
	if r := target.Release; r == nil || r.Model != a.Model || r.Version != as.Version || r.Counter != as.Counter {
		return "", client.Target{}, fmt.Errorf("target %s is not release %s for model %s", as.Target, as.Version, a.Model)
	}
	path, took, err := fetch(ctx, updater, target, filepath.Join(a.StateDir, "download"), a.slots)
	if took.Trouble != nil {
		a.Log.Warn("downloading more than what changed", "version", as.Version, "error", took.Trouble)
	}
	if err == nil {
		a.Log.Info("downloaded", "version", as.Version, "bytes", took.Length, "fetched", took.Fetched, "reused", took.Reused)
	}
	return path, target, err
}

func (a *Agent) updater() (*client.Client, error) {
	root, err := os.ReadFile(a.TUFRoot)
	if err != nil {
		return nil, fmt.Errorf("read first TUF root: %w", err)
	}
	config, err := a.following(root)
	if err != nil {
		return nil, err
	}
	config.Dir, config.Now, config.UserAgent = filepath.Join(a.StateDir, "tuf"), a.Now, "troth-agent/"+a.Version
	return client.New(config)
}

// errUntold says that the service did not take the news of an update, which is
// well itself.
var errUntold = errors.New("progress was not told")

// resumable reports whether a later attempt continues where this one ended.
func resumable(err error) bool {
	if errors.Is(err, errUntold) || errors.Is(err, install.ErrLater) {
		return true
	}
	switch client.Code(err) {
	case client.CodeUnreachable, client.CodeSlow, client.CodeTruncated:
		return true
	}
	return api.CodeOf(err) != "" || errors.Is(err, context.DeadlineExceeded)
}

// report writes down how far the update is; the next check-in says it.
func (a *Agent) report(state fleet.MemberState, version string, cause error) error {
	a.update = updateState{Rollout: a.update.Rollout, State: string(state), Version: version}
	if cause != nil {
		a.update.Error = cause.Error()
	}
	return a.state.write("update.json", a.update)
}

// tell writes down how far the update is and checks in to say so.
func (a *Agent) tell(ctx context.Context, state fleet.MemberState, version string) error {
	if err := a.report(state, version, nil); err != nil {
		return err
	}
	a.Log.Info("update", "state", string(state), "version", version)
	if _, err := a.checkIn(ctx); err != nil {
		return fmt.Errorf("%w: %w", errUntold, err)
	}
	return nil
}
