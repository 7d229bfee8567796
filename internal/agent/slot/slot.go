// Package slot keeps two firmware slots and the decision which of them boots.
//
// One slot is good: it has proven itself. A new image is written into the other
// one, which is then on trial: the boot loader (Boot) tries it a bounded number
// of times, and unless somebody confirms it, the good slot boots again. The
// state is one small file that is replaced atomically, so a power cut at any
// byte leaves a slot that boots. A slot is a file in a directory, or a block
// device.
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

// What can be wrong with a slot or a release.
var (
	ErrNoTrial   = errors.New("no slot is on trial")
	ErrDowngrade = errors.New("downgrades are refused")
	// ErrUncounted: a try could not be written down, so the good slot boots.
	ErrUncounted = errors.New("the boot could not be counted, the good slot boots")
	// ErrGivenUp: the slot that runs was given up, and the good one boots next.
	ErrGivenUp = errors.New("the running slot was given up: reboot into the good one")
)

// Slot is one of the two, as it was written.
type Slot struct {
	Version string `json:"version"`
	Counter uint64 `json:"counter"`          // release counter; grows
	SHA256  string `json:"sha256"`           // of the image, hexadecimal
	Length  int64  `json:"length,omitempty"` // of the image in bytes; 0 in a state of before it was kept
}

type state struct {
	Slots   map[string]Slot `json:"slots"`
	Good    string          `json:"good"`              // a or b
	Trial   string          `json:"trial,omitempty"`   // the other one, while it is on trial
	Tries   int             `json:"tries,omitempty"`   // that the boot loader has left for it
	Running string          `json:"running"`           // what booted last
	Highest uint64          `json:"highest,omitempty"` // release counter that was ever confirmed
}

// Pair is the two slots. Its state is state.json in a directory.
type Pair struct {
	dir    string
	images map[string]string // by slot
	device bool
}

// Open returns the slots in dir: a/image and b/image. It touches nothing.
func Open(dir string) Pair {
	return Pair{dir, map[string]string{"a": filepath.Join(dir, "a", "image"), "b": filepath.Join(dir, "b", "image")}, false}
}

// OpenDevices returns the slots that are the two block devices, with their state
// in dir. An image begins at the first byte of its device; what follows it is
// whatever was there. A device that is mounted is never written.
func OpenDevices(dir, a, b string) Pair {
	return Pair{dir, map[string]string{"a": a, "b": b}, true}
}

// Format makes a new pair in a directory, whose slot a holds the image and is good.
func Format(dir string, image io.Reader, version string, counter uint64) error {
	return Open(dir).Format(image, version, counter)
}

// Format writes the image to slot a, which is good from then on.
func (p Pair) Format(image io.Reader, version string, counter uint64) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("make slot directory: %w", err)
	}
	written, err := p.write("a", image)
	if err != nil {
		return err
	}
	written.Version, written.Counter = version, counter
	return p.save(state{Slots: map[string]Slot{"a": written}, Good: "a", Running: "a", Highest: counter})
}

// Adopt makes a pair of what runs already: slot name holds an image of that
// length, which is read and is good from then on.
func (p Pair) Adopt(name string, length int64, version string, counter uint64) error {
	if p.images[name] == "" {
		return fmt.Errorf("adopt slot %q: it is neither a nor b", name)
	}
	f, err := os.Open(p.image(name))
	if err != nil {
		return fmt.Errorf("open slot %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("make slot directory: %w", err)
	}
	s, err := digest(f, length)
	if err != nil {
		return fmt.Errorf("read slot %s: %w", name, err)
	}
	s.Version, s.Counter = version, counter
	return p.save(state{Slots: map[string]Slot{name: s}, Good: name, Running: name, Highest: counter})
}

// Boot is what the boot loader does: it decides which slot boots now, and says
// the path of its image. A trial whose tries are used up is over.
//
// A disk that is full or read-only must not keep a device from booting: with an
// error that wraps ErrUncounted there is a path too, of the good slot. A boot that
// changes nothing writes nothing.
func (p Pair) Boot() (path string, err error) {
	s, err := p.load()
	if err != nil {
		return "", err
	}
	was := s
	s.Running = s.Good
	switch {
	case s.Trial != "" && s.Tries > 0 && p.intact(s, s.Trial):
		s.Tries--
		s.Running = s.Trial
	default:
		s.Trial, s.Tries = "", 0
	}
	if s.Running == was.Running && s.Trial == was.Trial && s.Tries == was.Tries {
		return p.image(s.Running), nil
	}
	if err := p.save(s); err != nil {
		return p.image(s.Good), fmt.Errorf("%w: %w", ErrUncounted, err)
	}
	return p.image(s.Running), nil
}

// Running is the slot that booted last, its name, and whether it is on trial.
// With ErrGivenUp it is also what runs, but no more than until the next boot.
func (p Pair) Running() (slot Slot, name string, trial bool, err error) {
	s, err := p.load()
	if err != nil {
		return Slot{}, "", false, err
	}
	trial = s.Running == s.Trial
	if !trial && s.Running != s.Good {
		err = ErrGivenUp
	}
	return s.Slots[s.Running], s.Running, trial, err
}

// Untried says that a slot is on trial, and that no boot has tried it yet.
func (p Pair) Untried() bool {
	s, err := p.load()
	return err == nil && s.Trial != "" && s.Tries == tries && s.Running != s.Trial
}

// Install writes an image into the slot that is not running, reads it back, and
// puts it on trial for the next boot. The image must have the digest and length
// of want, which were verified. downgradeFrom is the highest release counter that
// the release may take the place of although its own is lower; 0 for none.
func (p Pair) Install(image io.Reader, want Slot, downgradeFrom uint64) error {
	s, err := p.load()
	if err != nil {
		return err
	}
	if err := Allowed(want, max(s.Highest, s.Slots[s.Good].Counter), s.Slots[s.Good], downgradeFrom); err != nil {
		return err
	}
	if s.Running != s.Good {
		return errors.New("install: the running slot is on trial: confirm it or go back first")
	}
	other := "a"
	if s.Running == "a" {
		other = "b"
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
	if written.SHA256 != want.SHA256 {
		return fmt.Errorf("install release %s: the slot reads back as %s, want %s", want.Version, written.SHA256, want.SHA256)
	}
	want.Length = written.Length
	s.Slots[other], s.Trial, s.Tries = want, other, tries
	return p.save(s)
}

// Allowed refuses a release that would take a device back: its counter must be
// above the highest that was ever confirmed, or the release itself must say, in
// what was signed, that it may follow on that one. Errors wrap ErrDowngrade.
func Allowed(want Slot, highest uint64, good Slot, downgradeFrom uint64) error {
	if want.Counter > highest || want.Counter != good.Counter && downgradeFrom >= highest && highest > 0 {
		return nil
	}
	return fmt.Errorf("install release %s: its counter %d is not above %d, which ran here: %w", want.Version, want.Counter, highest, ErrDowngrade)
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
	s.Highest = max(s.Highest, s.Slots[s.Good].Counter)
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

func (p Pair) image(name string) string { return p.images[name] }

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

// digest reads length bytes; all of r where length is 0.
func digest(r io.Reader, length int64) (Slot, error) {
	sum := sha256.New()
	if length > 0 {
		r = io.LimitReader(r, length)
	}
	n, err := io.Copy(sum, r)
	if err == nil && length > 0 && n != length {
		err = io.ErrUnexpectedEOF
	}
	return Slot{SHA256: hex.EncodeToString(sum.Sum(nil)), Length: n}, err
}

// intact reports whether a slot still holds what was installed.
func (p Pair) intact(s state, name string) bool {
	f, err := os.Open(p.image(name))
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	length := int64(0)
	if p.device {
		length = s.Slots[name].Length
	}
	is, err := digest(f, length)
	return err == nil && is.SHA256 == s.Slots[name].SHA256
}
