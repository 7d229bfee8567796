package httpapi

import (
	"context"
	"time"

	"troth/internal/api"
	"troth/internal/device"
	"troth/internal/fleet"
)

func devIDView(d fleet.DevID) *api.IDevID {
	if !d.Given() {
		return nil
	}
	return &api.IDevID{Kind: d.Kind, Manufacturer: d.Manufacturer, Serial: d.Serial, Model: d.Model, Problem: d.Problem}
}

func deviceView(d fleet.Device, now time.Time) api.Device {
	return api.Device{
		ID: string(d.ID), Name: d.Name, Model: d.Model, Labels: d.Labels,
		Lifecycle: string(d.Lifecycle), LifecycleReason: d.LifecycleReason,
		Presence: string(d.PresenceAt(now)), Verdict: string(d.Believed(now)), VerdictSince: instant(d.VerdictSince),
		Firmware: d.FirmwareVersion, Manufacturer: d.Manufacturer, IDevID: devIDView(d.DevID),
		EnrolledAt: instant(d.EnrolledAt), LastSeen: instant(d.LastSeen),
	}
}

func detailView(detail device.Detail, now time.Time) api.Device {
	v := deviceView(detail.Device, now)
	if c := detail.Certificate; c != nil {
		v.CertificateEnds = instant(c.NotAfter)
	}
	p := detail.Posture
	if p == nil {
		return v
	}
	v.Posture = &api.Posture{At: p.At, Verdict: string(p.Verdict), Attestation: p.Attestation, Reported: p.Reported, Evidence: p.Evidence}
	for _, c := range p.Controls {
		v.Posture.Controls = append(v.Posture.Controls, api.Control{
			ID: c.ID, Title: c.Title, Severity: string(c.Severity), Outcome: string(c.Outcome), Reason: c.Reason,
			Since: c.Since, EnforcedAt: c.EnforcedAt, Advisory: c.Advisory, Reported: c.Reported,
		})
	}
	if d := detail.Decision; d != nil {
		v.Posture.Policy, v.Posture.Input = d.Policy, d.Input
	}
	return v
}

func manufacturerView(m fleet.Manufacturer) api.Manufacturer {
	return api.Manufacturer{Name: m.Name, PEM: string(m.PEM), AddedAt: m.AddedAt, AddedBy: m.AddedBy}
}

func alertView(a fleet.Alert, name string) api.Alert {
	return api.Alert{
		ID: a.ID, Device: string(a.Device), DeviceName: name, Subject: a.Subject, Key: a.Key, Title: a.Title,
		Severity: string(a.Severity), State: string(a.State), Reason: a.Reason, Count: a.Count,
		OpenedAt: a.OpenedAt, LastAt: a.LastAt, AcknowledgedBy: a.AcknowledgedBy, ResolvedAt: instant(a.ResolvedAt),
	}
}

func rolloutView(r fleet.Rollout) api.Rollout {
	v := api.Rollout{
		ID: r.ID, Model: r.Model, Version: r.Version, State: string(r.State), Reason: r.Reason,
		MaxFailurePercent: r.Plan.MaxFailurePercent, SoakSeconds: int(r.Plan.Soak.Seconds()), TimeoutSeconds: int(r.Plan.DeviceTimeout.Seconds()),
		CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, StartedBy: r.StartedBy, StartedAt: instant(r.StartedAt), EndedAt: instant(r.EndedAt),
		Waves: []int{},
	}
	if !r.StartedAt.IsZero() {
		v.Wave = r.Wave + 1
	}
	for _, w := range r.Plan.Waves {
		v.Waves = append(v.Waves, w.Percent)
	}
	return v
}

func (e *edge) rolloutDetail(ctx context.Context, r fleet.Rollout, members []fleet.Member) api.Rollout {
	v := rolloutView(r)
	for _, m := range members {
		v.Members = append(v.Members, api.Member{
			Device: string(m.Device), Name: e.nameOf(ctx, m.Device), Wave: m.Wave + 1,
			State: string(m.State), Reason: m.Reason, At: m.ChangedAt,
		})
	}
	return v
}

// instant is t, or nothing where t is the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
