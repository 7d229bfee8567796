package posture

import (
	"context"

	"troth/attest"
	"troth/internal/evidence"
	"troth/internal/fleet"
)

// appraise verifies the evidence of a check-in against what is remembered of the
// device, and says how many entries of its IMA list are then counted. Where the
// device was read first, its revision makes sure that nobody counted meanwhile.
func (s *Service) appraise(ctx context.Context, d fleet.Device, c CheckIn) (evidence.Appraised, int, error) {
	progress, err := s.progress(ctx, d)
	if err != nil {
		return evidence.Appraised{}, 0, err
	}
	about := evidence.Subject{
		Purpose: "checkin", Device: d.ID, AK: d.AKPublic, ClientKey: c.ClientKey, Nonce: c.Nonce,
		Progress: progress, Clock: d.Clock, EventLogs: s.EventLogs,
	}
	if s.Files != nil {
		about.Files = func(p attest.PCRs) (attest.IMAFiles, error) { return s.files(ctx, d.Model, p) }
	}
	a, err := evidence.Appraise(ctx, s.Store, c.Evidence, about)
	if a.Progress != nil {
		progress = *a.Progress
	}
	return a, progress.Entries, err
}

// progress is how far the device's IMA list is counted under its present keys.
func (s *Service) progress(ctx context.Context, d fleet.Device) (fleet.Progress, error) {
	p, err := s.Store.Progress(ctx, d.ID)
	if err != nil && !fleet.IsKind(err, fleet.NotFound) {
		return p, err
	}
	if under := d.Under(); p.Under != under {
		p = fleet.Progress{Device: d.ID, Under: under}
	}
	return p, nil
}

// files is what may run under the release that the PCR values prove; nothing is
// judged where they prove none.
func (s *Service) files(ctx context.Context, model string, p attest.PCRs) (attest.IMAFiles, error) {
	release, known, _ := s.Releases.Catalog().Identify(model, evidence.PCRValues(attest.Result{PCRs: p}))
	if !known {
		return attest.IMAFiles{}, nil
	}
	files, err := s.Files.IMAFiles(ctx, release)
	if err != nil {
		return attest.IMAFiles{}, s.unreadable(ctx, release, err)
	}
	return files, nil
}
