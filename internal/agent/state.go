package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"troth/attest/tpm"
	"troth/internal/atomicfile"
	"troth/internal/fleet"
)

// stateDir holds what an agent must remember across boots. Nothing in it is
// secret: keys are blobs that only this TPM can load.
type stateDir struct{ dir string }

// identity is the keys of a device.
type identity struct {
	EK tpm.EK `json:"-"`
	// EKPublic is the endorsement key that the device is known by (TPMT_PUBLIC).
	// It is kept, so that a certificate which a TPM is given later for another of
	// its EKs does not make it another device. Agents before did not keep it.
	EKPublic []byte  `json:"ek,omitempty"`
	AK       tpm.Key `json:"ak"`
	TLS      tpm.Key `json:"tls"`
	// Next is to succeed TLS; nil: no rotation is under way.
	Next *tpm.Key `json:"next,omitempty"`
}

// credential is what enrolment gave.
type credential struct {
	DeviceID  string    `json:"device_id"`
	URI       string    `json:"uri"`
	Chain     [][]byte  `json:"chain"` // DER, the device's first
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// Key is what the certificate is for, where it came by a rotation. nil: the TLS
	// key of the identity.
	Key *tpm.Key `json:"key,omitempty"`
}

// updateState is how far an update is.
type updateState struct {
	Rollout string `json:"rollout,omitempty"`
	State   string `json:"state,omitempty"` // fleet.MemberState
	Version string `json:"version,omitempty"`
	Error   string `json:"error,omitempty"`
}

// DefaultTPM is Linux's TPM behind the kernel's resource manager.
const DefaultTPM = "/dev/tpmrm0"

// DeviceID is the id of the device with the TPM: the hash of its endorsement key
// by which it can be registered. It is the key that the agent with the state
// directory goes by, if it has one and this is still its TPM, and otherwise the
// one that it would choose.
func DeviceID(spec, dir string) (fleet.DeviceID, error) {
	var kept identity
	if _, err := (&stateDir{dir}).read(keysFile, &kept); err != nil {
		return "", err
	}
	transport, err := tpm.Open(spec)
	if err != nil {
		return "", fmt.Errorf("open TPM %s: %w", spec, err)
	}
	t := tpm.New(transport)
	ek, err := kept.endorsementKey(t)
	if err = errors.Join(err, t.Close()); err != nil {
		return "", fmt.Errorf("read endorsement key: %w", err)
	}
	sum := sha256.Sum256(ek.Public)
	return fleet.DeviceID(hex.EncodeToString(sum[:])), nil
}

// endorsementKey is the kept one, unless the TPM is another.
func (id *identity) endorsementKey(t *tpm.TPM) (tpm.EK, error) {
	if id.EKPublic != nil {
		if err := t.CheckIdentity(id.EKPublic); err != nil && !errors.Is(err, tpm.ErrReplaced) {
			return tpm.EK{}, err
		}
	}
	return t.EK()
}

func (s *stateDir) credential() (credential, bool, error) {
	var c credential
	found, err := s.read(credentialFile, &c)
	return c, found && len(c.Chain) > 0, err
}

func (s *stateDir) forgetCredential() error {
	return errors.Join(s.remove(credentialFile), s.remove(nextCredentialFile))
}

func (s *stateDir) remove(name string) error {
	err := os.Remove(filepath.Join(s.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove state: %w", err)
	}
	return nil
}

func (s *stateDir) rename(from, to string) error {
	if err := os.Rename(filepath.Join(s.dir, from), filepath.Join(s.dir, to)); err != nil {
		return fmt.Errorf("rename state: %w", err)
	}
	return nil
}

func (s *stateDir) update() (updateState, error) {
	var u updateState
	_, err := s.read("update.json", &u)
	return u, err
}

// read decodes a file; found is false where there is none. A damaged file
// counts as none: everything here can be made again.
func (s *stateDir) read(name string, v any) (found bool, err error) {
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read state: %w", err)
	}
	return json.Unmarshal(b, v) == nil, nil
}

func (s *stateDir) write(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	return atomicfile.Write(filepath.Join(s.dir, name), b, 0o600)
}
