package firmware

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

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
	text, err := r.content(ctx, updater, bom.Target, osv.MaxSBOMBytes)
	if err != nil {
		return nil, fmt.Errorf("read bill of materials: %w", err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != bom.SHA256 {
		return nil, fmt.Errorf("read bill of materials %s: %w: it is not the one that the release names", bom.Target, tuf.ErrContent)
	}
	return text, nil
}
