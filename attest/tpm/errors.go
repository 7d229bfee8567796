package tpm

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// What can be the matter with a TPM, to be told apart with errors.Is. Each says
// what leads back.
var (
	// ErrBusy: the TPM or its driver has something else to do, or another program
	// holds the device. The same call works a little later.
	ErrBusy = errors.New("TPM is busy")
	// ErrLockout: the TPM refuses authorizations after too many wrong ones
	// (TPM_RC_LOCKOUT). It ends by itself with time (TPM_PT_LOCKOUT_INTERVAL), or
	// when whoever knows the lockout password resets it. No key made here is
	// subject to it.
	ErrLockout = errors.New("TPM is locked out after wrong authorizations")
	// ErrAuthorization: the endorsement hierarchy or an NV index has a password,
	// or the platform disabled the hierarchy. Whoever set it can undo it.
	ErrAuthorization = errors.New("TPM does not authorize the use of its endorsement hierarchy")
	// ErrUnavailable: no answer, or one that says that the TPM was not started or
	// failed its self-test. Power, driver or device permissions are at fault.
	ErrUnavailable = errors.New("TPM does not answer")
	// ErrForeignKey is returned when a key blob was made by another TPM, by this
	// TPM before it was cleared, or was damaged. CheckIdentity tells which.
	ErrForeignKey = errors.New("key does not belong to this TPM")
	// ErrCleared: the TPM is the same, but its keys are gone, as after TPM2_Clear
	// (a firmware menu has it), or the blobs are damaged. New keys and another
	// enrolment lead back to the same device identity. It is an ErrForeignKey.
	ErrCleared = fmt.Errorf("TPM was cleared: %w", ErrForeignKey)
	// ErrReplaced: another TPM, or another endorsement seed in the same
	// (TPM2_ChangeEPS). To a verifier this is another device, and an operator
	// decides about it. It is an ErrForeignKey.
	ErrReplaced = fmt.Errorf("TPM was replaced: %w", ErrForeignKey)
)

// explain puts a sentinel in front of what the TPM answered.
func explain(err error) error {
	for _, kind := range []struct {
		sentinel error
		codes    []tpm2.TPMRC
	}{
		{ErrBusy, []tpm2.TPMRC{tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCCanceled, tpm2.TPMRCNVRate, tpm2.TPMRCNVUnavailable}},
		{ErrLockout, []tpm2.TPMRC{tpm2.TPMRCLockout}},
		{ErrAuthorization, []tpm2.TPMRC{tpm2.TPMRCBadAuth, tpm2.TPMRCAuthFail, tpm2.TPMRCHierarchy}},
		{ErrUnavailable, []tpm2.TPMRC{tpm2.TPMRCInitialize, tpm2.TPMRCFailure, tpm2.TPMRCReboot}},
	} {
		for _, code := range kind.codes {
			if errors.Is(err, code) && !errors.Is(err, kind.sentinel) {
				return fmt.Errorf("%w: %w", kind.sentinel, err)
			}
		}
	}
	return err
}

// channel is a transport whose errors are told apart from the TPM's answers.
type channel struct{ transport.TPM }

// Send sends a command and returns the answer to it.
func (c channel) Send(command []byte) ([]byte, error) {
	response, err := c.TPM.Send(command)
	if err != nil {
		return nil, unreachable(err)
	}
	return response, nil
}

func unreachable(err error) error {
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
