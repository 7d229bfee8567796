package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest/tpm"
	"troth/internal/api"
)

// Files of the keys: those in use, and those that a TPM no longer takes.
const (
	keysFile    = "keys.json"
	oldKeysFile = "keys.old.json"
)

// identity loads the device's keys, or makes them. Keys of another TPM or of
// before the TPM was cleared are put aside, and new ones made. It waits for a TPM
// that is busy or locked out, until the context ends.
func (s *stateDir) identity(ctx context.Context, t *tpm.TPM, log *slog.Logger) (id *identity, err error) {
	err = patiently(ctx, t, log, func() error {
		id, err = s.tryIdentity(t, log)
		return err
	})
	return id, err
}

func (s *stateDir) tryIdentity(t *tpm.TPM, log *slog.Logger) (*identity, error) {
	id := &identity{}
	found, err := s.read(keysFile, id)
	if err != nil {
		return nil, err
	}
	if !found {
		return s.newKeys(t)
	}
	err = id.check(t)
	switch {
	case err == nil:
		return id, nil
	case errors.Is(err, tpm.ErrReplaced):
		log.Warn("the TPM was replaced, so this is another device to the service: new keys are made, and the device enrols anew; "+
			"where it has to be registered, an operator registers its new EK hash and retires the old device", "error", err)
	case errors.Is(err, tpm.ErrForeignKey):
		log.Warn("the TPM was cleared, or the keys are damaged: new keys are made, and the device enrols anew under its old id; "+
			"operators see the alert new_keys", "error", err)
	default:
		return nil, fmt.Errorf("load keys: %w", err)
	}
	if err := s.putAside(); err != nil {
		return nil, err
	}
	return s.newKeys(t)
}

// check asks the TPM whether the keys are its own, and has it go on with the EK
// that they were enrolled with.
func (id *identity) check(t *tpm.TPM) (err error) {
	if id.EKPublic == nil {
		if id.EK, err = t.EK(); err != nil {
			return err
		}
		id.EKPublic = id.EK.Public
	}
	if err := t.CheckIdentity(id.EKPublic, id.AK, id.TLS); err != nil {
		return err
	}
	id.EK, err = t.EK()
	return err
}

// newKeys makes the keys of a device with the EK that CheckIdentity recognized, or
// of one that has none yet.
func (s *stateDir) newKeys(t *tpm.TPM) (*identity, error) {
	// A credential without its key would be shown in vain.
	if err := s.forgetCredential(); err != nil {
		return nil, err
	}
	id := &identity{}
	var err error
	if id.EK, err = t.EK(); err != nil {
		return nil, fmt.Errorf("read endorsement key: %w", err)
	}
	id.EKPublic = id.EK.Public
	if id.AK, err = t.CreateAK(); err != nil {
		return nil, fmt.Errorf("make attestation key: %w", err)
	}
	if id.TLS, err = t.CreateTLSKey(); err != nil {
		return nil, fmt.Errorf("make TLS key: %w", err)
	}
	return id, s.write(keysFile, id)
}

// putAside keeps the last keys that the TPM did not take, for who wants to know
// what happened. The credential goes first: it is worth nothing without them.
func (s *stateDir) putAside() error {
	if err := s.forgetCredential(); err != nil {
		return err
	}
	err := os.Rename(filepath.Join(s.dir, keysFile), filepath.Join(s.dir, oldKeysFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put old keys aside: %w", err)
	}
	return nil
}

// mendKeys looks after the keys where the TPM did not take them while the agent
// ran: somebody cleared it. The next turn enrols with what there is then.
func (a *Agent) mendKeys(ctx context.Context, cause error) {
	if !errors.Is(cause, tpm.ErrForeignKey) && !a.lostKeys(cause) {
		return
	}
	id, err := a.state.identity(ctx, a.tpm, a.Log)
	if err != nil {
		a.Log.Error("no new keys could be made", "error", err)
		return
	}
	a.identity, a.session, a.nonce = id, nil, nil
}

// lostKeys asks the TPM whether it still takes the TLS key, after a failure that
// is no answer of the service: crypto/tls passes on only the words of what its
// signer says, and a TPM that is cleared in the middle of a command says anything.
func (a *Agent) lostKeys(cause error) bool {
	if api.CodeOf(cause) != "" {
		return false
	}
	_, err := a.tpm.Signer(a.identity.TLS)
	return errors.Is(err, tpm.ErrForeignKey)
}

// openTPM opens the TPM, and waits for another program that holds it.
func openTPM(ctx context.Context, c Config) (t transport.TPMCloser, err error) {
	err = patiently(ctx, nil, c.Log, func() error {
		t, err = tpm.Open(c.TPM)
		return err
	})
	return t, err
}

// patiently does something with the TPM, again and again while the TPM is busy or
// locked out: time mends both.
func patiently(ctx context.Context, t *tpm.TPM, log *slog.Logger, do func() error) error {
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		err := do()
		switch {
		case errors.Is(err, tpm.ErrLockout):
			log.Warn("the TPM is locked out after wrong authorizations: "+howLong(t), "error", err, "retry_in", retry.String())
		case errors.Is(err, tpm.ErrBusy):
			log.Warn("the TPM is busy", "error", err, "retry_in", retry.String())
		default:
			return err
		}
		sleep(ctx, jitter(retry))
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// howLong says how long a lockout lasts (TPM 2.0 Library part 1, "Dictionary
// Attack Protection").
func howLong(t *tpm.TPM) string {
	const reset = "whoever knows the lockout password can end it at once (tpm2_dictionarylockout --clear-lockout)"
	if t == nil {
		return reset
	}
	l, err := t.Lockout()
	if err != nil || l.Interval == 0 {
		return "it does not end by itself; " + reset
	}
	return fmt.Sprintf("%d of %d wrong authorizations are not forgotten; the TPM forgets one in %s while it has power; %s",
		l.Failures, l.Most, l.Interval.Round(time.Second), reset)
}
