package result

import (
	"troth/attest/ear"
	"troth/internal/fleet"
)

// firmwareKnown is the control that says which release booted; nothing else
// affirms executables.
const firmwareKnown = "firmware-known"

// weight is what an enforced failure of a control says of the device.
type weight struct {
	aspect ear.Aspect
	claim  ear.Claim
}

// weightOf is the table of the built-in controls (docs/integrator-guide.md); ok
// is false for a control of somebody else's policy.
func weightOf(control string) (w weight, ok bool) {
	switch control {
	case "attestation-verified":
		return weight{ear.InstanceIdentity, ear.BadCrypto}, true
	case "clock-monotonic":
		return weight{ear.Hardware, ear.UntrustedHardware}, true
	case "clock-safe":
		return weight{ear.Hardware, ear.UnsafeHardware}, true
	case firmwareKnown:
		return weight{ear.Executables, ear.UntrustedExecutables}, true
	case "firmware-current":
		return weight{ear.Executables, ear.UnsafeExecutables}, true
	case "boot-dbx", "boot-sbat": // what is revoked may run
		return weight{ear.Executables, ear.UnsafeExecutables}, true
	case "no-unexplained-pcrs", "ima-list", "ima-no-violations", "ima-known-files", "ima-boot-aggregate", "boot-authorities", "boot-option-roms":
		return weight{ear.Executables, ear.UnknownExecutables}, true
	case "secure-boot":
		return weight{ear.Configuration, ear.UnsupportableConfig}, true
	case "boot-mok", "boot-command-line":
		return weight{ear.Configuration, ear.UnsafeConfig}, true
	case "event-log":
		return weight{ear.Configuration, ear.HiddenConfig}, true
	case "firmware-reported", "certificate-current", "update-healthy":
		return weight{ear.Configuration, ear.UnsafeConfig}, true
	default:
		return weight{}, false
	}
}

// aspectOf is what a control is about; those of other policies count as
// configuration.
func aspectOf(control string) ear.Aspect {
	if w, ok := weightOf(control); ok {
		return w.aspect
	}
	return ear.Configuration
}

// weigh is what an enforced finding says of which aspect. What could not be
// decided takes the affirmation away; a failure of an unknown control counts by
// its severity.
func weigh(c fleet.Control) (ear.Aspect, ear.Claim) {
	w, known := weightOf(c.ID)
	switch {
	case c.Outcome == fleet.Errored:
		return aspectOf(c.ID), ear.NoClaim
	case known:
		return w.aspect, w.claim
	case c.Severity == fleet.Critical, c.Severity == fleet.High:
		return ear.Configuration, ear.UnsupportableConfig
	default:
		return ear.Configuration, ear.UnsafeConfig
	}
}
