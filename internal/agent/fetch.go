package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"troth/internal/agent/install"
	"troth/internal/agent/slot"
	"troth/tuf/client"
)

// What a download leaves beside its file while it is unfinished.
var unfinished = []string{".part", ".chunks", ".chunks.part"} //nolint:gochecknoglobals // read only

// fetch downloads a target into a directory of the agent's own, under its digest,
// and takes what it can from the release that runs. What other downloads left there
// is removed first: only one is ever needed, and the disk of a device is small.
func fetch(ctx context.Context, updater *client.Client, t client.Target, dir string, has install.Installer) (string, client.Transfer, error) {
	if t.Hashes["sha256"] == "" {
		return "", client.Transfer{}, fmt.Errorf("target %s is signed without a SHA-256", t.Name)
	}
	if err := reaches(has, t); err != nil {
		return "", client.Transfer{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", client.Transfer{}, fmt.Errorf("make download directory: %w", err)
	}
	path := filepath.Join(dir, t.Hashes["sha256"])
	if err := clearDownloads(dir, path); err != nil {
		return "", client.Transfer{}, err
	}
	old, closeOld, trouble := running(has, t)
	defer closeOld()
	took, err := updater.DownloadFrom(ctx, t.Name, path, old, nil)
	took.Trouble = errors.Join(trouble, took.Trouble)
	if errors.Is(err, syscall.ENOSPC) {
		// What does not fit must not keep the disk full: others need to write too.
		for _, suffix := range unfinished {
			if gone := os.Remove(path + suffix); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
		}
	}
	return path, took, err
}

// clearDownloads removes all but the download that is to be kept.
func clearDownloads(dir, keep string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read download directory: %w", err)
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if rest, of := strings.CutPrefix(name, keep); of && (rest == "" || slices.Contains(unfinished, rest)) {
			continue
		}
		if err := os.RemoveAll(name); err != nil {
			return fmt.Errorf("remove old download: %w", err)
		}
	}
	return nil
}

// running is the image of the release that runs, where the device has it and the
// target can be made from it.
func running(has install.Installer, t client.Target) (old client.Old, done func(), trouble error) {
	holder, ok := has.(install.Holder)
	if !ok || t.Release == nil || t.Release.Chunks == nil {
		return client.Old{}, func() {}, nil
	}
	image, length, err := holder.OpenRunning()
	if err != nil {
		return client.Old{}, func() {}, err
	}
	return client.Old{Content: image, Length: length}, func() { _ = image.Close() }, nil
}

// installFile verifies the downloaded file and installs it through one
// descriptor: whoever replaces the file in between changes nothing.
func installFile(ctx context.Context, to install.Installer, path string, t client.Target) error {
	image, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("open download: %w", err)
	}
	defer image.Close() //nolint:errcheck // only read
	if err := t.Verify(image); err != nil {
		return err
	}
	if _, err := image.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read download: %w", err)
	}
	if err := to.Install(ctx, image, release(t)); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove download: %w", err)
	}
	return nil
}

// release is what an installer is told about a target.
func release(t client.Target) install.Release {
	return install.Release{
		Slot:          slot.Slot{Version: t.Release.Version, Counter: t.Release.Counter, SHA256: t.Hashes["sha256"], Length: t.Length},
		DowngradeFrom: t.Release.DowngradeFrom,
	}
}
