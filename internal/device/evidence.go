package device

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"troth/internal/fleet"
)

// nothing is the SHA-256 of no bytes, which are not stored.
const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// pcrIMA grows while a device runs, without a boot.
const pcrIMA = 10

// Evidence is the latest evidence of a device that held and was kept, with
// everything that is needed to appraise it again.
type Evidence struct {
	Device   fleet.Device
	At       time.Time // when it was verified
	Digest   string    // SHA-256 of Document
	Document []byte    // JSON: evidence.Document
	// Content are the logs that Document names, by their SHA-256.
	Content map[string][]byte
}

// Evidence finds the latest evidence of a device. Evidence is kept where it changed
// an outcome or shows another boot, and once a day: where a later check-in showed
// other PCR values all the same, or did not hold, what is kept says nothing of the
// device as it is, and that is an error of kind Conflict.
func (s *Service) Evidence(ctx context.Context, key string) (Evidence, error) {
	d, err := s.Resolve(ctx, key)
	if err != nil {
		return Evidence{}, err
	}
	p, err := s.Store.Posture(ctx, d.ID)
	if fleet.IsKind(err, fleet.NotFound) {
		return Evidence{}, fleet.Errorf(fleet.NotFound, "evidence_not_found", "the device has sent no evidence yet that held")
	}
	if err != nil {
		return Evidence{}, err
	}
	decision, err := s.Store.Decision(ctx, p.Decision)
	if err != nil {
		return Evidence{}, err
	}
	e := Evidence{Device: d, At: decision.At, Digest: p.Evidence, Content: map[string][]byte{}}
	if e.Document, err = s.Store.Blob(ctx, p.Evidence); err != nil {
		return Evidence{}, err
	}
	if err := s.stillHolds(ctx, p, e); err != nil {
		return Evidence{}, err
	}
	return e, s.logs(ctx, &e)
}

// stillHolds compares with what came after the evidence.
func (s *Service) stillHolds(ctx context.Context, p fleet.Posture, e Evidence) error {
	alerts, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: string(e.Device.ID), Open: true})
	if err != nil {
		return err
	}
	for _, a := range alerts {
		if a.Key == fleet.KeyEvidenceRefused {
			return fleet.Errorf(fleet.Conflict, "evidence_outdated", "the device has since sent evidence that does not hold: see its alert")
		}
	}
	var kept, latest struct {
		PCRs map[string]map[int]string `json:"pcrs"`
	}
	if err := json.Unmarshal(e.Document, &kept); err != nil {
		return fmt.Errorf("read evidence: %w", err)
	}
	if err := json.Unmarshal(p.Attestation, &latest); err != nil {
		return fmt.Errorf("read attestation: %w", err)
	}
	for bank, values := range latest.PCRs {
		if maps.Equal(booted(values), booted(kept.PCRs[bank])) {
			continue
		}
		return fleet.Errorf(fleet.Conflict, "evidence_outdated",
			"the evidence of %s is the latest that is kept, and the device shows other PCR values since: its next check-in is kept", e.At.UTC().Format(time.RFC3339))
	}
	return nil
}

// booted are the values that only a boot changes.
func booted(values map[int]string) map[int]string {
	out := maps.Clone(values)
	delete(out, pcrIMA)
	return out
}

// logs fetches what the document names.
func (s *Service) logs(ctx context.Context, e *Evidence) error {
	var names struct {
		EventLog  string   `json:"event_log"`
		IMA       string   `json:"ima"`
		IMABefore []string `json:"ima_before"`
		Userspace string   `json:"userspace_log"`
	}
	if err := json.Unmarshal(e.Document, &names); err != nil {
		return fmt.Errorf("read evidence: %w", err)
	}
	for _, name := range append(names.IMABefore, names.EventLog, names.IMA, names.Userspace) {
		if name == "" || name == nothing || e.Content[name] != nil {
			continue
		}
		content, err := s.Store.Blob(ctx, name)
		if err != nil {
			return err
		}
		e.Content[name] = content
	}
	return nil
}
