package posture

import (
	"context"
	"encoding/json"
	"time"

	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/policy"
)

// report is what a device says of itself: the part that the service acts on,
// and the whole, which goes to policy.
type report struct {
	raw      json.RawMessage
	all      map[string]any
	firmware string
	update   fleet.UpdateReport
	host     policy.HostInput
}

func parseReport(raw []byte) (report, error) {
	var known struct {
		Firmware struct {
			Version string `json:"version"`
		} `json:"firmware"`
		Update fleet.UpdateReport `json:"update"`
	}
	r := report{raw: raw}
	host, err := evidence.HostFacts(raw)
	if err != nil || json.Unmarshal(raw, &known) != nil || json.Unmarshal(raw, &r.all) != nil {
		return report{}, fleet.Errorf(fleet.Invalid, "reported_malformed", "the reported state does not have the documented form")
	}
	r.firmware, r.update, r.host = known.Firmware.Version, known.Update, host
	delete(r.all, "host") // policies see it in its own form, and once
	return r, nil
}

// input gathers what the posture policy decides on.
func (s *Service) input(ctx context.Context, d fleet.Device, previous fleet.Posture, a evidence.Appraised, f policy.FirmwareInput, r report, now time.Time) (policy.PostureInput, error) {
	certificates, err := s.Store.Certificates(ctx, d.ID)
	if err != nil {
		return policy.PostureInput{}, err
	}
	in := policy.PostureInput{
		Now: now, Evidence: a.Document.Digest, Device: deviceInput(d), Firmware: f, Reported: r.all, Host: r.host,
		Attestation:  evidence.Attestation(a.Result),
		Update:       policy.UpdateInput{State: string(r.update.State), Version: r.update.Version, Error: r.update.Error},
		Previous:     policy.PreviousInput{Verdict: string(previous.Verdict), Clock: evidence.ClockInput(d.Clock)},
		FailingSince: previous.FailingSince(),
	}
	for _, c := range certificates {
		if c.Opens() && c.NotAfter.After(in.Certificate.NotAfter) {
			in.Certificate = policy.CertificateInput{
				NotBefore: c.NotBefore, NotAfter: c.NotAfter, KeySince: fleet.KeySince(certificates, c.Key),
			}
		}
	}
	in.Endorsement = policy.EndorsementInput{Known: true, Manufacturer: d.Manufacturer}
	if d.DevID.Manufacturer != "" {
		in.Endorsement.DevID = d.DevID.Kind
	}
	return in, nil
}

func deviceInput(d fleet.Device) policy.DeviceInput {
	return policy.DeviceInput{
		ID: string(d.ID), Name: d.Name, Model: d.Model, Labels: d.Labels,
		Lifecycle: string(d.Lifecycle), Firmware: d.FirmwareVersion,
	}
}

func controls(results []policy.ControlResult) []fleet.Control {
	out := make([]fleet.Control, len(results))
	for i, c := range results {
		out[i] = fleet.Control{
			ID: c.ID, Title: c.Title, Severity: fleet.Severity(c.Severity), Outcome: fleet.Outcome(c.Outcome),
			Reason: c.Reason, Since: c.Since, EnforcedAt: c.EnforcedAt, Advisory: c.Advisory, Reported: c.Reported, Remediation: c.Remediation, Frameworks: c.Frameworks,
		}
	}
	return out
}
