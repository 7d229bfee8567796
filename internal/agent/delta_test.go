package agent_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/internal/agent/install"
	"troth/internal/agent/slot"
	"troth/tuf/client"
)

const largeSize = 2 << 20

func largeContent(version string) string {
	b := make([]byte, largeSize)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	copy(b[largeSize/2:], version)
	return string(b)
}

// newLargeShelf runs the first release, and has the second to offer.
func newLargeShelf(t *testing.T) (s *shelf, took *client.Transfer) {
	t.Helper()
	s, took = newShelf(t), &client.Transfer{}
	s.once.Downloaded = func(got client.Transfer) { *took = got }
	if err := s.pair.Format(strings.NewReader(largeContent("one")), "1.0.0", 1); err != nil {
		t.Fatal(err)
	}
	s.publish(t, "1.1.0", 2, largeContent("two"))
	return s, took
}

func (s *shelf) update(t *testing.T, want string) {
	t.Helper()
	if _, err := s.once.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.boots(t, want)
	if left, err := os.ReadDir(filepath.Join(s.once.StateDir, "download")); err != nil || len(left) > 0 {
		t.Errorf("left of the download: %v, %v", left, err)
	}
}

func TestUpdateFetchesWhatChanged(t *testing.T) {
	s, took := newLargeShelf(t)
	s.update(t, largeContent("two"))
	if took.Trouble != nil || took.Fetched > largeSize/5 || took.Reused < largeSize*4/5 {
		t.Errorf("took %+v", took)
	}
}

// The slots are devices, larger than the image.
func TestUpdateFetchesWhatChangedFromADevice(t *testing.T) {
	s, took := newLargeShelf(t)
	dir := t.TempDir()
	devices := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	for _, d := range devices {
		if err := os.WriteFile(d, bytes.Repeat([]byte{0xff}, largeSize+12345), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair := slot.OpenDevices(filepath.Join(dir, "slots"), devices[0], devices[1])
	if err := pair.Format(strings.NewReader(largeContent("one")), "1.0.0", 1); err != nil {
		t.Fatal(err)
	}
	s.once.Installer = install.Slots{Pair: pair}
	if _, err := s.once.Update(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took.Trouble != nil || took.Fetched > largeSize/5 {
		t.Errorf("took %+v", took)
	}
}

// Whatever became of the old slot, the new release is installed.
func TestAttack_T6_OldSlotIsOfNoUse(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"gone":        os.Remove,
		"empty":       func(path string) error { return os.Truncate(path, 0) },
		"cut short":   func(path string) error { return os.Truncate(path, 100) },
		"overwritten": func(path string) error { return os.WriteFile(path, make([]byte, largeSize), 0o600) },
		"a directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			s, took := newLargeShelf(t)
			path, err := s.pair.Boot()
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			s.update(t, largeContent("two"))
			if took.Trouble == nil || took.Fetched < largeSize {
				t.Errorf("took %+v", took)
			}
		})
	}
}

// An unfinished download is kept for the same release, and for no other.
func TestUnfinishedDownloadsAreCleared(t *testing.T) {
	s, _ := newLargeShelf(t)
	dir := filepath.Join(s.once.StateDir, "download")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", ".part", ".chunks", ".chunks.part"} {
		if err := os.WriteFile(filepath.Join(dir, strings.Repeat("ab", 32)+suffix), []byte("another release"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.update(t, largeContent("two"))
}

func TestOpenRunning(t *testing.T) {
	s, _ := newLargeShelf(t)
	f, length, err := s.pair.OpenRunning()
	if err != nil || length != largeSize {
		t.Fatalf("%d bytes, %v", length, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := slot.Open(t.TempDir()).OpenRunning(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("slots that are not there: %v", err)
	}
}
