// Package agent is the loop of a device: it enrols with its TPM, checks in with
// fresh evidence, keeps its credential alive, installs the firmware that it is
// assigned, and goes back to the old one where the new one does not hold.
//
// It needs read and write access to the TPM and to its own directories, no
// privilege beyond that, and listens on nothing.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"troth/attest/tpm"
	"troth/internal/agent/hostfacts"
	"troth/internal/agent/install"
	"troth/internal/agent/slot"
	"troth/internal/api"
	"troth/internal/atomicfile"
)

// ErrReboot says that the device is to boot again: into the slot that the boot
// loader chooses.
var ErrReboot = errors.New("reboot to finish the update")

// Config is what an agent is made of.
type Config struct {
	Server        string // base URL of trothd
	ServerCA      string // PEM file: whom to believe as that server
	StateDir      string // the agent's own; keys as TPM blobs, credential, progress
	TPM           string // tpm.Open
	Model         string
	Name          string          // what the device calls itself; may be empty
	EventLog      string          // path of the firmware's event log; empty: none
	IMA           string          // path of the IMA list; empty: none
	UserspaceLog  string          // path of systemd's log of its own measurements; empty: none
	SlotDir       string          // firmware slots; empty: as Installer says
	TUFRoot       string          // first trusted TUF root, a file
	Mirrors       []string        // base URLs of copies of the service's repository, asked for images before it
	ResultFile    string          // where the attestation result goes, relative to StateDir; empty: nowhere
	Version       string          // of the agent
	IDevIDChain   string          // the manufacturer's certificates for an IDevID or IAK, a file; empty: the TPM has them
	IDevIDHandle  uint32          // where that key is persistent; 0: where the TCG says
	Host          *hostfacts.Host // what it reads of its own system; nil: it reports nothing of it
	ConfirmWithin time.Duration   // for a new slot to be proven, or it is given up

	// Installer puts releases on the device where SlotDir is empty. nil: the agent
	// installs nothing.
	Installer install.Installer
	// HealthCheck says whether what booted works. nil: it does.
	HealthCheck func(context.Context) error
	Log         *slog.Logger
	Now         func() time.Time
}

// Agent runs on one device.
type Agent struct {
	Config
	tpm      *tpm.TPM
	state    *stateDir
	slots    install.Installer // nil: installs nothing
	identity *identity
	session  *session // nil until enrolled

	withoutDevID bool // the TPM did not certify the manufacturer's key

	bootedAt  time.Time
	nonce     []byte          // for the next check-in; nil: ask for one
	selection api.Selection   // of PCRs to quote; nil: ask for it
	held      map[string]bool // digests of logs that the service holds
	list      imaList
	update    updateState
	health    string
}

// Run works until the context ends (nil), the device is to boot again
// (ErrReboot), or something is wrong that waiting cannot mend.
func Run(ctx context.Context, c Config) error {
	a, err := open(ctx, c)
	if err != nil && ctx.Err() != nil {
		return nil // it was told to stop while it waited for the TPM
	}
	if err != nil {
		return err
	}
	defer a.tpm.Close() //nolint:errcheck // nothing is left to do about it
	if err := a.afterBoot(ctx); err != nil {
		return err
	}
	return a.loop(ctx)
}

func open(ctx context.Context, c Config) (*Agent, error) {
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	atomicfile.Clean(c.StateDir) // of what power cuts left
	transport, err := openTPM(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open TPM %s: %w", c.TPM, err)
	}
	if c.ConfirmWithin == 0 {
		c.ConfirmWithin = 15 * time.Minute
	}
	a := &Agent{Config: c, tpm: tpm.New(transport), state: &stateDir{c.StateDir}, held: map[string]bool{}, bootedAt: c.Now()}
	a.slots = c.Installer
	if c.SlotDir != "" {
		a.slots = install.Slots{Pair: slot.Open(c.SlotDir)}
	}
	if a.identity, err = a.state.identity(ctx, a.tpm, a.Log); err != nil {
		return nil, errors.Join(err, a.tpm.Close())
	}
	if a.update, err = a.state.update(); err != nil {
		return nil, errors.Join(err, a.tpm.Close())
	}
	return a, nil
}

// Waiting between attempts that failed.
const (
	firstRetry = time.Second
	lastRetry  = 2 * time.Minute
	// mostAsked bounds what a service that is overwhelmed may ask for: a mistake in
	// it, or something between that answers in its place, must not silence a fleet.
	mostAsked = 10 * time.Minute
)

// loop enrols where needed, then checks in, again and again. What fails is
// tried again, ever more slowly.
func (a *Agent) loop(ctx context.Context) error {
	retry := firstRetry
	for ctx.Err() == nil {
		next, err := a.turn(ctx)
		switch {
		case errors.Is(err, ErrReboot):
			return err
		case err == nil:
			retry = firstRetry
		case ctx.Err() == nil: // otherwise the agent was told to stop
			next = pause(retry, err)
			a.Log.Warn("check-in did not succeed", "error", err, "retry_in", next.String())
			a.mendKeys(ctx, err)
			retry = min(2*retry, lastRetry)
			if err := a.expireTrial("the service did not accept the new slot in time: " + err.Error()); err != nil {
				return err
			}
		}
		sleep(ctx, jitter(next))
	}
	return nil
}

// pause is how long to wait after err: as long as the service asks for, where it
// does, and at least as long as after any other failure. What jitter may take off is
// added here.
func pause(retry time.Duration, err error) time.Duration {
	asked := min(api.RetryAfterOf(err), mostAsked)
	return max(retry, asked+asked/18)
}

// turn is one pass: it returns how long to wait for the next.
func (a *Agent) turn(ctx context.Context) (time.Duration, error) {
	if a.session == nil || !a.Now().Before(a.session.credential.NotAfter) {
		if err := a.connect(ctx); err != nil {
			return 0, a.explainClock(err)
		}
	}
	answer, err := a.checkIn(ctx)
	if err != nil {
		return 0, a.heal(err)
	}
	a.keepResult(ctx, answer)
	if err := a.followTrust(ctx, answer); err != nil {
		a.Log.Warn("the trust bundle was not taken over", "error", err)
	}
	again, err := a.follow(ctx, answer)
	if err != nil || again {
		return 0, err
	}
	if err := a.renew(ctx, answer); err != nil {
		a.Log.Warn("certificate was not renewed", "error", err)
	}
	return time.Duration(answer.NextSeconds) * time.Second, nil
}

// heal forgets what the service no longer accepts, so that the next turn makes
// it anew, and passes the error on.
func (a *Agent) heal(err error) error {
	a.nonce = nil
	switch {
	case api.CodeOf(err) == "log_required":
		a.held = map[string]bool{}
	case refusedCertificate(err):
		a.session = nil
		return errors.Join(err, a.state.forgetCredential())
	}
	return a.explainClock(err)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// jitter spreads a fleet's check-ins: within a tenth of d.
func jitter(d time.Duration) time.Duration {
	return d - d/20 + time.Duration(rand.Int64N(int64(d/10)+1)) //nolint:gosec // no secret
}
