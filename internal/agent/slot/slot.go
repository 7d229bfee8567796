// Package slot keeps two firmware slots and the decision which of them boots.
//
// One slot is good: it has proven itself. A new image is written into the other
// one, which is then on trial: the boot loader (Boot) tries it a bounded number
// of times, and unless somebody confirms it, the good slot boots again. The
// state is one small file that is replaced atomically, so a power cut at any
// byte leaves a slot that boots.
package slot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"troth/internal/atomicfile"
)

// tries of a slot on trial before the good one boots again.
const tries = 3

// ErrNoTrial says that no slot is on trial.
var ErrNoTrial = errors.New("no slot is on trial")

// Slot is one of the two, as it was written.
type Slot struct {
	Version string `json:"version"`
	Counter uint64 `json:"counter"` // release counter; grows
	SHA256  string `json:"sha256"`  // of the image, hexadecimal
}

type state struct {
	Slots   map[string]Slot `json:"slots"`
	Good    string          `json:"good"`            // a or b
	Trial   string          `json:"trial,omitempty"` // the other one, while it is on trial
	Tries   int             `json:"tries,omitempty"` // that the boot loader has left for it
	Running string          `json:"running"`         // what booted last
}

// Pair is the two slots in a directory: a/image, b/image and state.json.
type Pair struct{ dir string }

// Open returns the slots in dir. It touches nothing.
func Open(dir string) Pair { return Pair{dir} }

// Format makes a new pair whose slot a holds the image and is good.
func Format(dir string, image io.Reader, version string, counter uint64) error {
	p := Pair{dir}
	written, err := p.write("a", image)
	if err != nil {
		return err
	}
	written.Version, written.Counter = version, counter
	return p.save(state{Slots: map[string]Slot{"a": written}, Good: "a", Running: "a"})
}

// Boot is what the boot loader does: it decides which slot boots now, and says
// the path of its image. A trial whose tries are used up is over.
func (p Pair) Boot() (path string, err error) {
	s, err := p.load()
	if err != nil {
		return "", err
	}
	s.Running = s.Good
	switch {
	case s.Trial != "" && s.Tries > 0 && p.intact(s, s.Trial):
		s.Tries--
		s.Running = s.Trial
	default:
		s.Trial, s.Tries = "", 0
	}
	if err := p.save(s); err != nil {
		return "", err
	}
	return p.image(s.Running), nil
}

// Running is the slot that booted last, its name, and whether it is on trial.
func (p Pair) Running() (slot Slot, name string, trial bool, err error) {
	s, err := p.load()
	if err != nil {
		return Slot{}, "", false, err
	}
	return s.Slots[s.Running], s.Running, s.Running == s.Trial, nil
}

// Install writes an image into the slot that is not running, reads it back, and
// puts it on trial for the next boot. The image must have the digest (SHA-256,
// hexadecimal) that was verified.
func (p Pair) Install(image io.Reader, version string, counter uint64, digest string) error {
	s, err := p.load()
	if err != nil {
		return err
	}
	if counter <= s.Slots[s.Good].Counter {
		return fmt.Errorf("install release %s: its counter %d is not above %d of the running one: downgrades are refused", version, counter, s.Slots[s.Good].Counter)
	}
	other := "a"
	if s.Running == "a" {
		other = "b"
	}
	if s.Good == other {
		return errors.New("install: the running slot is on trial: confirm it or go back first")
	}
	s.Trial, s.Tries = "", 0
	delete(s.Slots, other)
	if err := p.save(s); err != nil { // from here on the other slot is not bootable
		return err
	}
	written, err := p.write(other, image)
	if err != nil {
		return err
	}
	if written.SHA256 != digest {
		return fmt.Errorf("install release %s: the slot reads back as %s, want %s", version, written.SHA256, digest)
	}
	written.Version, written.Counter = version, counter
	s.Slots[other], s.Trial, s.Tries = written, other, tries
	return p.save(s)
}

// Confirm makes the running slot, which is on trial, the good one.
func (p Pair) Confirm() error {
	s, err := p.load()
	if err != nil {
		return err
	}
	if s.Trial == "" || s.Running != s.Trial {
		return ErrNoTrial
	}
	s.Good, s.Trial, s.Tries = s.Trial, "", 0
	return p.save(s)
}

// Revert ends the trial: the good slot boots next.
func (p Pair) Revert() error {
	s, err := p.load()
	if err != nil {
		return err
	}
	if s.Trial == "" {
		return ErrNoTrial
	}
	s.Trial, s.Tries = "", 0
	return p.save(s)
}

func (p Pair) image(name string) string { return filepath.Join(p.dir, name, "image") }

// write fills a slot and returns the digest of what can be read back from it.
func (p Pair) write(name string, image io.Reader) (Slot, error) {
	path := p.image(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Slot{}, fmt.Errorf("make slot %s: %w", name, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return Slot{}, fmt.Errorf("open slot %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // what was written is synced and read back
	if _, err := io.Copy(f, image); err != nil {
		return Slot{}, fmt.Errorf("write slot %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return Slot{}, fmt.Errorf("sync slot %s: %w", name, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Slot{}, fmt.Errorf("read back slot %s: %w", name, err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return Slot{}, fmt.Errorf("read back slot %s: %w", name, err)
	}
	return Slot{SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// intact reports whether a slot still holds what was installed.
func (p Pair) intact(s state, name string) bool {
	f, err := os.Open(p.image(name))
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return false
	}
	return hex.EncodeToString(sum.Sum(nil)) == s.Slots[name].SHA256
}

func (p Pair) load() (state, error) {
	b, err := os.ReadFile(filepath.Join(p.dir, "state.json"))
	if err != nil {
		return state{}, fmt.Errorf("read slots: %w", err)
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil || s.Good != "a" && s.Good != "b" || s.Slots == nil {
		return state{}, fmt.Errorf("read slots: %s is damaged", filepath.Join(p.dir, "state.json"))
	}
	return s, nil
}

func (p Pair) save(s state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode slots: %w", err)
	}
	return atomicfile.Write(filepath.Join(p.dir, "state.json"), b, 0o600)
}
