package slot

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// write fills a slot and returns the digest of what can be read back from it.
func (p Pair) write(name string, image io.Reader) (Slot, error) {
	f, err := p.openToWrite(name)
	if err != nil {
		return Slot{}, fmt.Errorf("open slot %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // what was written is synced and read back
	n, err := io.Copy(f, image)
	if err != nil {
		return Slot{}, fmt.Errorf("write slot %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return Slot{}, fmt.Errorf("sync slot %s: %w", name, err)
	}
	// What is read back must come from the medium, where the kernel can be asked to
	// forget its copy. A file system that cannot is no reason to stop.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Slot{}, fmt.Errorf("read back slot %s: %w", name, err)
	}
	s, err := digest(io.LimitReader(f, n), n)
	if err != nil {
		return Slot{}, fmt.Errorf("read back slot %s: %w", name, err)
	}
	return s, nil
}

// openToWrite opens a slot's medium. A file is made where it is missing; a device
// must exist, and O_EXCL has the kernel refuse one that is mounted.
func (p Pair) openToWrite(name string) (*os.File, error) {
	path := p.image(name)
	if p.device {
		return os.OpenFile(path, os.O_RDWR|os.O_EXCL, 0)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}
