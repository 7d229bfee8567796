// Package install puts verified releases on a device: into two slots that Troth
// keeps itself (Slots), or through what the device has for it: RAUC, SWUpdate,
// or a program of the integrator's (Exec).
//
// The rules are the same for all of them. What is installed is read from the one
// open file that was verified; a release is on trial until it is confirmed; and
// no release goes below the highest counter that was ever confirmed, unless what
// was signed allows it. RAUC's side is that of its reference manual ("Using
// RAUC", "Integration"), SWUpdate's that of its ("swupdate-client", "Bootloader
// interfaces").
package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"troth/internal/agent/slot"
)

// Release is what is to be installed: what the signed metadata says of it.
type Release struct {
	slot.Slot // all fields are set
	// DowngradeFrom is the highest release counter that this one may take the
	// place of although its own is lower. 0: none.
	DowngradeFrom uint64
}

// ErrLater says that an installation did not work now and may work later: it is
// no verdict on the release.
var ErrLater = errors.New("try the installation again later")

// Installer puts releases on a device and knows which of them runs.
type Installer interface {
	// Running is what booted last, the name of its slot, and whether it is on
	// trial. Errors wrap slot.ErrGivenUp where it is only to be left.
	Running() (s slot.Slot, name string, trial bool, err error)
	// Install writes the image, whose file is at its beginning and was verified, so
	// that the next boot tries it. Until it returns nil the old release boots.
	Install(ctx context.Context, image *os.File, r Release) error
	// Confirm makes the release on trial the one that boots from now on. The error
	// wraps slot.ErrNoTrial where none is on trial.
	Confirm() error
	// Revert gives the release on trial up: the old one boots next.
	Revert() error
}

// Slots installs into two slots that Troth keeps itself.
type Slots struct{ slot.Pair }

// Install is Installer's. The slot is read back and compared.
func (s Slots) Install(ctx context.Context, image *os.File, r Release) error {
	return s.Pair.Install(&stoppable{ctx, io.LimitReader(image, r.Length)}, r.Slot, r.DowngradeFrom)
}

// stoppable ends a copy when the context does.
type stoppable struct {
	ctx context.Context //nolint:containedctx // it bounds this one copy
	r   io.Reader
}

func (s *stoppable) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrLater, err)
	}
	return s.r.Read(b)
}
