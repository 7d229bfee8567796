package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"troth/internal/agent/slot"
	"troth/internal/atomicfile"
)

// Tool is an installation system that keeps slots and a boot loader of its own.
type Tool interface {
	// Booted names the slot that runs.
	Booted(ctx context.Context) (string, error)
	// Write installs into the slot that does not run, and has the boot loader try
	// it next. It returns the digest (SHA-256, hexadecimal) of the image as it was
	// read back; "" where the system's own format makes that impossible.
	Write(ctx context.Context, image *os.File, r Release) (digest string, err error)
	// Confirm tells the boot loader that the running slot works.
	Confirm(ctx context.Context) error
	// Revert has the boot loader take the slot that was confirmed last, whichever
	// runs.
	Revert(ctx context.Context) error
}

// Tracked makes an Installer of a Tool: it remembers which release is in which
// slot, what is on trial, and the highest counter that was confirmed.
type Tracked struct {
	tool Tool
	file string
}

// Track keeps its memory in a file, which is made where it is missing: what
// runs then is good, and of no known version.
func Track(tool Tool, file string) *Tracked { return &Tracked{tool, file} }

// ledger is what is remembered.
type ledger struct {
	Slot    string     `json:"slot"` // of the good release
	Good    slot.Slot  `json:"good"`
	Trial   *slot.Slot `json:"trial,omitempty"`    // was written to the other slot, or was begun to be
	GivenUp bool       `json:"given_up,omitempty"` // the other slot is to be left
	Highest uint64     `json:"highest"`
}

// Running is Installer's. Whether the boot loader went back shows in the slot
// that booted.
func (t *Tracked) Running() (s slot.Slot, name string, trial bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), shortTime)
	defer cancel()
	l, booted, err := t.read(ctx)
	if err != nil {
		return slot.Slot{}, "", false, err
	}
	switch {
	case booted == l.Slot:
		return l.Good, booted, false, nil
	case l.GivenUp:
		return slot.Slot{}, booted, false, slot.ErrGivenUp
	case l.Trial != nil:
		// The power may have gone between the tool's switch and the note that all
		// was well: what runs is on trial then too.
		return *l.Trial, booted, true, nil
	}
	return slot.Slot{}, booted, false, nil // somebody else switched
}

// Install is Installer's.
func (t *Tracked) Install(ctx context.Context, image *os.File, r Release) error {
	l, booted, err := t.read(ctx)
	if err != nil {
		return err
	}
	if err := slot.Allowed(r.Slot, l.Highest, l.Good, r.DowngradeFrom); err != nil {
		return err
	}
	if booted != l.Slot {
		return errors.New("install: what runs is not the slot that was confirmed last: confirm it or go back first")
	}
	l.Trial, l.GivenUp = &r.Slot, false
	if err := t.save(l); err != nil {
		return err
	}
	digest, err := t.tool.Write(ctx, image, r)
	if err == nil && digest != "" && digest != r.SHA256 {
		err = fmt.Errorf("the slot reads back as %s, want %s", digest, r.SHA256)
		err = errors.Join(err, t.tool.Revert(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return fmt.Errorf("install release %s: %w", r.Version, err)
	}
	return nil
}

// Confirm is Installer's.
func (t *Tracked) Confirm() error {
	ctx, cancel := context.WithTimeout(context.Background(), shortTime)
	defer cancel()
	l, booted, err := t.read(ctx)
	if err != nil {
		return err
	}
	if l.Trial == nil || l.GivenUp || booted == l.Slot {
		return slot.ErrNoTrial
	}
	if err := t.tool.Confirm(ctx); err != nil {
		return fmt.Errorf("confirm slot %s: %w", booted, err)
	}
	l.Slot, l.Good, l.Trial = booted, *l.Trial, nil
	l.Highest = max(l.Highest, l.Good.Counter)
	return t.save(l)
}

// Revert is Installer's.
func (t *Tracked) Revert() error {
	ctx, cancel := context.WithTimeout(context.Background(), shortTime)
	defer cancel()
	l, booted, err := t.read(ctx)
	if err != nil {
		return err
	}
	if l.Trial == nil || booted == l.Slot {
		return slot.ErrNoTrial
	}
	// First the note: what is given up is never confirmed.
	l.GivenUp = true
	if err := t.save(l); err != nil {
		return err
	}
	if err := t.tool.Revert(ctx); err != nil {
		return fmt.Errorf("give slot %s up: %w", booted, err)
	}
	return nil
}

// read gives the memory and the slot that runs.
func (t *Tracked) read(ctx context.Context) (ledger, string, error) {
	booted, err := t.tool.Booted(ctx)
	if err != nil {
		return ledger{}, "", fmt.Errorf("find the running slot: %w", err)
	}
	b, err := os.ReadFile(t.file)
	if errors.Is(err, fs.ErrNotExist) {
		l := ledger{Slot: booted}
		return l, booted, t.save(l)
	}
	if err != nil {
		return ledger{}, "", fmt.Errorf("read installed releases: %w", err)
	}
	var l ledger
	if err := json.Unmarshal(b, &l); err != nil || l.Slot == "" {
		// Without it, any release could go back to any other.
		return ledger{}, "", fmt.Errorf("read installed releases: %s is damaged", t.file)
	}
	return l, booted, nil
}

func (t *Tracked) save(l ledger) error {
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode installed releases: %w", err)
	}
	return atomicfile.Write(t.file, b, 0o600)
}
