package firmware

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"troth/internal/fleet"
	"troth/osv"
	"troth/tuf"
)

// SBOM is the bill of materials of a release of the catalogue, verified as the TUF
// target that its signed metadata names. Where it cannot be read, the error is of
// kind Unavailable with the code sbom_unavailable: what is in the release is then
// not known. A release that names none has nil.
func (r *Repository) SBOM(ctx context.Context, release fleet.Release) ([]byte, error) {
	if release.SBOM == nil {
		return nil, nil
	}
	text, err := r.fetchSBOM(ctx, *release.SBOM)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fleet.Because(err, fleet.Unavailable, "sbom_unavailable",
			"the bill of materials of release %s of %s cannot be read, so its vulnerabilities are not known: %v", release.Version, release.Model, err)
	}
	return text, nil
}

func (r *Repository) fetchSBOM(ctx context.Context, bom fleet.SBOM) ([]byte, error) {
	updater := r.client.Load()
	if updater == nil {
		return nil, errors.New("the repository was not read yet")
	}
	dir, err := os.MkdirTemp(r.TrustDir, "sbom-")
	if err != nil {
		return nil, fmt.Errorf("store bill of materials: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sbom")
	if err := updater.Download(ctx, bom.Target, path, nil); err != nil {
		return nil, fmt.Errorf("fetch bill of materials %s: %w", bom.Target, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open bill of materials: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, osv.MaxSBOMBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read bill of materials: %w", err)
	}
	if len(text) > osv.MaxSBOMBytes {
		return nil, fmt.Errorf("read bill of materials %s: it has more than %d bytes", bom.Target, osv.MaxSBOMBytes)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != bom.SHA256 {
		return nil, fmt.Errorf("read bill of materials %s: %w: it is not the one that the release names", bom.Target, tuf.ErrContent)
	}
	return text, nil
}
