package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"troth/internal/agent/install"
	"troth/internal/agent/slot"
	"troth/internal/atomicfile"
	"troth/tuf/client"
)

// Once is an update without a service: from a mirror, or without a network from a
// directory or an exported repository, such as a USB stick brings.
type Once struct {
	StateDir  string   // the agent's own
	TUFRoot   string   // first trusted TUF root, a file
	From      []string // base URLs of the repository, tried in this order: http(s)://, file:/// or bundle:///
	Model     string
	Target    string // empty: the newest release for the model
	Installer install.Installer
	UserAgent string
	Now       func() time.Time
	// Downloaded is told what the download took, if not nil.
	Downloaded func(client.Transfer)
}

// ErrNothingNew says that what is asked for runs already.
var ErrNothingNew = errors.New("nothing newer to install")

// Update installs the release, to be tried at the next boot. Signatures decide
// what it is, as with a service. The error wraps ErrNothingNew where it runs
// already.
func (o Once) Update(ctx context.Context) (slot.Slot, error) {
	root, err := os.ReadFile(o.TUFRoot)
	if err != nil {
		return slot.Slot{}, fmt.Errorf("read first TUF root: %w", err)
	}
	config := client.Config{Dir: filepath.Join(o.StateDir, "tuf"), Root: root, Now: o.Now, UserAgent: o.UserAgent}
	for i, base := range o.From {
		m := client.Mirror{MetadataURL: base + "/metadata", TargetsURL: base + "/targets"}
		if i == 0 {
			config.MetadataURL, config.TargetsURL = m.MetadataURL, m.TargetsURL
		} else {
			config.Mirrors = append(config.Mirrors, m)
		}
	}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return slot.Slot{}, fmt.Errorf("make state directory: %w", err)
	}
	atomicfile.Clean(o.StateDir) // of what power cuts left
	updater, err := client.New(config)
	if err != nil {
		return slot.Slot{}, err
	}
	if err := updater.Refresh(ctx); err != nil {
		return slot.Slot{}, err
	}
	target, err := o.choose(ctx, updater)
	if err != nil {
		return slot.Slot{}, err
	}
	wanted := release(target)
	running, _, _, err := o.Installer.Running()
	if err != nil {
		return slot.Slot{}, err
	}
	if running.SHA256 == wanted.SHA256 {
		return running, fmt.Errorf("release %s runs: %w", running.Version, ErrNothingNew)
	}
	path, took, err := fetch(ctx, updater, target, filepath.Join(o.StateDir, "download"), o.Installer)
	if o.Downloaded != nil && (err == nil || took.Trouble != nil) {
		o.Downloaded(took)
	}
	if err != nil {
		return slot.Slot{}, err
	}
	return wanted.Slot, installFile(ctx, o.Installer, path, target)
}

func (o Once) choose(ctx context.Context, updater *client.Client) (client.Target, error) {
	if o.Target != "" {
		t, err := updater.Lookup(ctx, o.Target)
		if err == nil && (t.Release == nil || t.Release.Model != o.Model) {
			err = fmt.Errorf("target %s is no release for model %s", o.Target, o.Model)
		}
		return t, err
	}
	catalog, err := updater.Catalog(ctx)
	if err != nil {
		return client.Target{}, err
	}
	var best, far client.Target
	for _, t := range catalog.Targets {
		if t.Release == nil || t.Release.Model != o.Model {
			continue
		}
		if reaches(o.Installer, t) != nil {
			far = t
		} else if best.Release == nil || t.Release.Counter > best.Release.Counter {
			best = t
		}
	}
	if best.Release == nil {
		best = far // which is refused, and says why
	}
	if best.Release == nil {
		return client.Target{}, fmt.Errorf("the repository has no release for model %s", o.Model)
	}
	return updater.Lookup(ctx, best.Name) // which refuses what expired
}
