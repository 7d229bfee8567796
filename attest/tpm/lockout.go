package tpm

import (
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// Lockout is the state of a TPM's protection against guessed passwords (TPM 2.0
// Library part 1, "Dictionary Attack Protection").
type Lockout struct {
	Failures int           // wrong authorizations that are not forgotten yet
	Most     int           // at this many the TPM is locked
	Interval time.Duration // until the TPM forgets one; 0: it never does by itself
}

// Locked reports whether the TPM refuses authorizations.
func (l Lockout) Locked() bool { return l.Failures >= l.Most }

// Lockout asks the TPM how it stands, which needs no authorization.
func (t *TPM) Lockout() (Lockout, error) {
	var l Lockout
	err := t.sequence(func() error {
		const counter, maxAuthFail, interval = tpm2.TPMPTLockoutCounter, tpm2.TPMPTMaxAuthFail, tpm2.TPMPTLockoutInterval
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(counter), PropertyCount: 3}.Execute(t.transport)
		if err != nil {
			return err
		}
		properties, err := rsp.CapabilityData.Data.TPMProperties()
		if err != nil {
			return err
		}
		found := 0
		for _, p := range properties.TPMProperty {
			switch p.Property {
			case counter:
				l.Failures = int(p.Value)
			case maxAuthFail:
				l.Most = int(p.Value)
			case interval:
				l.Interval = time.Duration(p.Value) * time.Second
			default:
				continue
			}
			found++
		}
		if found != 3 {
			return fmt.Errorf("TPM returned %d of 3 properties", found)
		}
		return nil
	})
	if err != nil {
		return Lockout{}, fmt.Errorf("read lockout: %w", err)
	}
	return l, nil
}
