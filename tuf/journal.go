package tuf

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Files of a ceremony, outside of what is served.
const (
	stageDir    = ".stage"
	pendingFile = "pending.json"    // the stage that waits for signatures
	contentDir  = "content"         // by SHA-256, what its targets will be
	journalFile = "publishing.json" // what publishing it is about to write
)

func (r *Repository) stagePath(name string) string { return filepath.Join(r.dir, stageDir, name) }

// pending says whether a stage waits.
func (r *Repository) pending() bool { return exists(r.stagePath(pendingFile)) }

// journaled is one file of the journal; its path is below the repository.
type journaled struct {
	Path string `json:"path"`
	Data []byte `json:"data"`
}

// begin writes down what publishing a stage will write. A new root may change who
// signs everything else, so these files count only together: from here on a crash
// is mended by whoever opens the repository next.
func (r *Repository) begin(files []file) error {
	var list []journaled
	for _, f := range files {
		path, err := filepath.Rel(r.dir, f.path)
		if err != nil {
			return fmt.Errorf("write journal: %w", err)
		}
		list = append(list, journaled{path, f.data})
	}
	data, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	path := r.stagePath(journalFile)
	if err := writeFile(r.dir, path, data, 0o600); err != nil {
		return err
	}
	return r.step(path)
}

// finish completes what a crash interrupted. The caller holds the lock.
func (r *Repository) finish() error {
	data, err := os.ReadFile(r.stagePath(journalFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	var list []journaled
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	var files []file
	for _, f := range list {
		if !filepath.IsLocal(f.Path) {
			return fmt.Errorf("read journal: %q is no path of the repository", f.Path)
		}
		files = append(files, file{filepath.Join(r.dir, f.Path), f.Data})
	}
	if err := r.write(files); err != nil {
		return err
	}
	return r.clearStage()
}

// clearStage forgets the stage. The journal goes first but one: without it the
// pending stage would seem to wait again.
func (r *Repository) clearStage() error {
	for _, name := range []string{pendingFile, journalFile} {
		if err := os.Remove(r.stagePath(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove stage: %w", err)
		}
	}
	if err := os.RemoveAll(r.stagePath("")); err != nil {
		return fmt.Errorf("remove stage: %w", err)
	}
	return nil
}

// mend finishes what was interrupted, where nobody else is about to.
func (r *Repository) mend() error {
	if !exists(r.stagePath(journalFile)) {
		return nil
	}
	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if errors.Is(err, ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return r.finish()
}
