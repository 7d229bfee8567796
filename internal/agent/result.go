package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"troth/internal/api"
	"troth/internal/atomicfile"
	"troth/internal/fleet"
)

// keepResult writes the device's own attestation result where software on the
// device finds it, to show it to relying parties (the passport model, RFC 9334,
// section 5.1). A result that cannot be had does not disturb the check-in; an
// old one that says more than this check-in is taken away.
func (a *Agent) keepResult(ctx context.Context, answer api.CheckInAnswer) {
	if a.ResultFile == "" {
		return
	}
	path := a.ResultFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.StateDir, path)
	}
	err := a.writeResult(ctx, path)
	if err == nil {
		return
	}
	if answer.Verdict != string(fleet.Compliant) || answer.Lifecycle != string(fleet.Active) {
		if gone := os.Remove(path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	a.Log.Warn("the attestation result was not kept", "error", err)
}

func (a *Agent) writeResult(ctx context.Context, path string) error {
	var r api.Result
	if err := a.session.client.Do(ctx, http.MethodGet, api.PathDeviceResult, nil, &r); err != nil {
		return fmt.Errorf("get result: %w", err)
	}
	// Whoever may look into the directory may read it: it is no secret, and names
	// the key that whoever shows it must have.
	return atomicfile.Write(path, []byte(r.Token+"\n"), 0o644)
}
