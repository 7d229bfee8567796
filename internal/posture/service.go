// Package posture is the continuous check: a device's evidence comes in, is
// appraised, compared with the reference values of published firmware, decided
// on by policy, and answered; what newly fails raises an alert and the
// remediation that its control names.
package posture

import (
	"context"
	"time"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/internal/nonce"
	"troth/policy"
)

// Store is what the continuous check needs to remember.
type Store interface {
	Device(ctx context.Context, id fleet.DeviceID) (fleet.Device, error)
	Posture(ctx context.Context, id fleet.DeviceID) (fleet.Posture, error)
	// Progress is how far an IMA list is counted, or fleet.ErrNotFound.
	Progress(ctx context.Context, id fleet.DeviceID) (fleet.Progress, error)
	// Decision is a recorded decision, or fleet.ErrNotFound.
	Decision(ctx context.Context, id string) (fleet.Decision, error)
	Blob(ctx context.Context, digest string) ([]byte, error)
	Alerts(ctx context.Context, f fleet.AlertFilter) ([]fleet.Alert, error)
	Certificates(ctx context.Context, id fleet.DeviceID) ([]fleet.Certificate, error)
	// Overdue are at most limit devices whose verdict is past its freshness.
	Overdue(ctx context.Context, now time.Time, limit int) ([]fleet.Device, error)
	Apply(ctx context.Context, c fleet.Change) error
}

// Policy decides on postures and what follows from them.
type Policy interface {
	Posture(ctx context.Context, in policy.PostureInput) (policy.PostureDecision, error)
	Remediate(ctx context.Context, in policy.RemediateInput) (policy.RemediateDecision, error)
}

// Releases is the catalogue of published firmware.
type Releases interface {
	Catalog() fleet.Catalog
}

// Files knows what may run under a release.
type Files interface {
	// IMAFiles may be shared by all devices; the zero value judges nothing. An error
	// leaves the check-in undone.
	IMAFiles(ctx context.Context, r fleet.Release) (attest.IMAFiles, error)
}

// Vulnerabilities knows what is wrong with releases.
type Vulnerabilities interface {
	// Facts are what policy is told of the release that a device proved; the zero
	// Release is none.
	Facts(r fleet.Release) policy.ReleaseVulnerabilitiesInput
}

// Rollouts moves firmware. Both calls may be repeated without harm.
type Rollouts interface {
	// Observe takes what a check-in showed and answers with what the device is
	// to install, nil for nothing.
	Observe(ctx context.Context, d fleet.Device, report fleet.UpdateReport) (*fleet.Rollout, error)
	// Propose makes a rollout known to people; start begins it at once.
	Propose(ctx context.Context, model, version, reason string, start bool) error
}

// Config is what the service is made of.
type Config struct {
	Store    Store
	Policy   Policy
	Releases Releases
	Files    Files       // nil: no file is judged
	Loaded   func() bool // whether Releases was read since the start; nil: it was
	Rollouts Rollouts
	// Vulnerabilities is nil where nobody compares releases with records of them.
	Vulnerabilities Vulnerabilities
	Nonces          *nonce.Issuer
	// EventLogs keeps what the logs of devices that booted alike say, for all of
	// them; nil: each is read at each check-in.
	EventLogs *eventlog.Cache
	Interval  time.Duration // between two check-ins of a device
	Fresh     time.Duration // how long a verdict is believed; more than one Interval
	Now       func() time.Time
}

// Service is the use case.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

// vulnerabilities of the release, as policy is told.
func (s *Service) vulnerabilities(r fleet.Release) policy.ReleaseVulnerabilitiesInput {
	if s.Vulnerabilities == nil {
		return policy.ReleaseVulnerabilitiesInput{Problem: "no_feed"}
	}
	return s.Vulnerabilities.Facts(r)
}

// Challenge is what a device needs to check in.
type Challenge struct {
	Nonce      []byte
	Selection  map[string][]int // of PCRs to quote
	IMAEntries int              // as in Answer
}

// Nonce is a fresh challenge for the device's next check-in.
func (s *Service) Nonce(ctx context.Context, id fleet.DeviceID) (Challenge, error) {
	d, err := s.Store.Device(ctx, id)
	if err != nil {
		return Challenge{}, err
	}
	p, err := s.progress(ctx, d)
	if err != nil {
		return Challenge{}, err
	}
	return Challenge{Nonce: s.Nonces.Issue(d, s.Now()), Selection: evidence.Selection(), IMAEntries: p.Entries}, nil
}

// Sweep makes every verdict that is past its freshness unknown and raises an
// alert for each. It may run in several replicas at once. It returns how many
// devices it found.
func (s *Service) Sweep(ctx context.Context) (int, error) {
	const page = 500
	found := 0
	for {
		devices, err := s.Store.Overdue(ctx, s.Now(), page)
		if err != nil {
			return found, err
		}
		moved := 0
		for _, d := range devices {
			ok, err := s.expire(ctx, d)
			if err != nil {
				return found, err
			}
			if ok {
				moved++
			}
		}
		found += moved
		if len(devices) < page || moved == 0 {
			return found, nil
		}
	}
}

func (s *Service) expire(ctx context.Context, d fleet.Device) (bool, error) {
	now := s.Now()
	last := d.Verdict
	d, ok := d.Expire(now)
	if !ok {
		return false, nil
	}
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: string(d.ID), Open: true})
	if err != nil {
		return false, err
	}
	silent := fleet.Raise(open, fleet.Alert{
		Subject: string(d.ID), Key: fleet.KeySilent, Device: d.ID, Severity: fleet.High,
		Title:  "Device has no fresh posture",
		Reason: "the last accepted check-in was at " + d.LastSeen.UTC().Format(time.RFC3339) + "; its verdict was " + string(last),
	}, now)
	err = s.Store.Apply(ctx, fleet.Change{
		Devices: []fleet.Device{d}, Alerts: []fleet.Alert{silent},
		Events: []fleet.Event{fleet.NewEvent(now, "system", "device.unknown", string(d.ID), silent.Reason)},
	})
	if fleet.IsKind(err, fleet.Conflict) {
		return false, nil // it checked in meanwhile, or another replica was faster
	}
	return err == nil, err
}
