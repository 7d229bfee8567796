package agent

import (
	"errors"
	"fmt"

	"troth/internal/agent/install"
	"troth/internal/agent/slot"
	"troth/tuf/client"
)

// ErrMinimum is the code of a release that is for devices which run a later one than
// this device does: another has to be installed first.
var ErrMinimum = errors.New("release_minimum")

// reaches refuses a release that is not to be installed over what runs here, as its
// signed metadata says. A release of no known counter is below every minimum.
func reaches(has install.Installer, t client.Target) error {
	if t.Release == nil || t.Release.Minimum == 0 {
		return nil
	}
	runs, _, _, err := has.Running()
	if err != nil && !errors.Is(err, slot.ErrGivenUp) {
		return err
	}
	if runs.Counter < t.Release.Minimum {
		return fmt.Errorf("release %s is for devices that run counter %d or later, and this one runs %d: one in between comes first (%w)",
			t.Release.Version, t.Release.Minimum, runs.Counter, ErrMinimum)
	}
	return nil
}
