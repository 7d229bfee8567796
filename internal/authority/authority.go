// Package authority changes a certificate authority without a flag day: it says
// how far the change is, and takes a step only when nobody is left behind.
//
//	begin     the next authority is announced to devices and relying parties
//	activate  it signs; refused while devices have not confirmed its bundle
//	retire    the old one leaves; refused while a live certificate depends on it
//
// The state is the CA's own (ca.Rotator), so it survives crashes and is one for
// all replicas. Each step leaves two events, one before and one after.
package authority

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"troth/ca"
	"troth/internal/fleet"
)

// Store is what the use case needs to know and to record.
type Store interface {
	Devices(ctx context.Context, f fleet.DeviceFilter) ([]fleet.Device, error)
	Postures(ctx context.Context, ids []fleet.DeviceID) (map[fleet.DeviceID]fleet.Posture, error)
	// LiveCertificates are on record as issued and end after the instant.
	LiveCertificates(ctx context.Context, now time.Time) ([]fleet.Certificate, error)
	Apply(ctx context.Context, c fleet.Change) error
}

// CA is a certificate authority of the service.
type CA struct {
	Name string
	// Authorities lists those in its bundle, the oldest first.
	Authorities func(ctx context.Context) ([]ca.Authority, error)
	Rotator     ca.Rotator // nil: it is not changed from here
}

// Config is what the service is made of.
type Config struct {
	Store Store
	CAs   []CA
	// Own is the service's own certificate.
	Own func() *x509.Certificate
	// Refresh reads the bundles anew after a step; Digest names what devices are
	// to believe since.
	Refresh func(ctx context.Context) error
	Digest  func() string
	Now     func() time.Time
}

// Service is the use case.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

// Member is an authority and what depends on it.
type Member struct {
	ca.Authority
	Live     int       // certificates that are on record as issued and have not ended
	LastEnds time.Time // of them; zero: there are none
}

// State is a CA and its members.
type State struct {
	Name      string
	Rotatable bool
	Members   []Member
}

// Status is how far a change is.
type Status struct {
	CAs                []State
	Bundle             string
	Devices, Confirmed int
}

// Status counts what depends on each authority, and who has confirmed the bundle.
func (s *Service) Status(ctx context.Context) (Status, error) {
	if err := s.Refresh(ctx); err != nil {
		return Status{}, unavailable(err)
	}
	status := Status{Bundle: s.Digest()}
	var err error
	if status.Devices, status.Confirmed, err = s.confirmed(ctx, status.Bundle); err != nil {
		return Status{}, err
	}
	live, err := s.live(ctx)
	if err != nil {
		return Status{}, err
	}
	for _, c := range s.CAs {
		all, err := c.Authorities(ctx)
		if err != nil {
			return Status{}, unavailable(err)
		}
		state := State{Name: c.Name, Rotatable: c.Rotator != nil}
		for _, a := range all {
			m := live[a.ID]
			m.Authority = a
			state.Members = append(state.Members, m)
		}
		status.CAs = append(status.CAs, state)
	}
	return status, nil
}

// live counts certificates by the authority that signed them.
func (s *Service) live(ctx context.Context) (map[string]Member, error) {
	now := s.Now()
	records, err := s.Store.LiveCertificates(ctx, now)
	if err != nil {
		return nil, err
	}
	live := map[string]Member{}
	add := func(c *x509.Certificate) {
		m := live[ca.AuthorityID(c)]
		m.Live++
		if c.NotAfter.After(m.LastEnds) {
			m.LastEnds = c.NotAfter
		}
		live[ca.AuthorityID(c)] = m
	}
	for _, r := range records {
		c, err := x509.ParseCertificate(r.DER)
		if err != nil {
			return nil, fmt.Errorf("read certificate %s: %w", r.ID, err)
		}
		add(c)
	}
	if own := s.Own(); own != nil && own.NotAfter.After(now) {
		add(own)
	}
	return live, nil
}

// confirmed counts the devices that are in use, and those of them that said under
// their last quote that they hold the bundle.
func (s *Service) confirmed(ctx context.Context, bundle string) (devices, confirmed int, err error) {
	const page = 500
	filter := fleet.DeviceFilter{Limit: page}
	for {
		list, err := s.Store.Devices(ctx, filter)
		if err != nil {
			return 0, 0, err
		}
		var ids []fleet.DeviceID
		for _, d := range list {
			if d.Lifecycle == fleet.Active || d.Lifecycle == fleet.Quarantined {
				ids = append(ids, d.ID)
			}
		}
		postures, err := s.Store.Postures(ctx, ids)
		if err != nil {
			return 0, 0, err
		}
		devices += len(ids)
		for _, p := range postures {
			var reported struct {
				Bundle string `json:"trust_bundle"`
			}
			if json.Unmarshal(p.Reported, &reported) == nil && reported.Bundle == bundle {
				confirmed++
			}
		}
		if len(list) < page {
			return devices, confirmed, nil
		}
		filter.After = list[len(list)-1].ID
	}
}

func unavailable(cause error) error {
	return fleet.Because(cause, fleet.Unavailable, "ca_unavailable", "the certificate authority does not answer: try again")
}

// Step is what Rotate does.
type Step string

// The steps.
const (
	Begin    Step = "begin"
	Activate Step = "activate"
	Retire   Step = "retire"
)

// Rotate takes one step of a change of the CA with the name; empty: the only one
// that can be changed from here. It may be repeated after any error. Force takes
// the step also where somebody is left behind.
func (s *Service) Rotate(ctx context.Context, step Step, name, by string, force bool) (Status, error) {
	target, err := s.find(name)
	if err != nil {
		return Status{}, err
	}
	status, err := s.Status(ctx)
	if err != nil {
		return Status{}, err
	}
	left, err := s.leftBehind(step, target.Name, status)
	if err != nil && !force {
		return Status{}, err
	}
	if err := s.note(ctx, by, "ca."+string(step), target.Name, "asked for"+left); err != nil {
		return Status{}, err
	}
	run := map[Step]func(context.Context) (ca.Authority, error){
		Begin: target.Rotator.Begin, Activate: target.Rotator.Activate, Retire: target.Rotator.Retire,
	}[step]
	done, err := run(ctx)
	if err != nil {
		return Status{}, explain(err)
	}
	if err := s.note(ctx, by, "ca."+string(step)+".done", target.Name, fmt.Sprintf("authority %s, %s", done.ID, done.Certificate.Subject)); err != nil {
		return Status{}, err
	}
	return s.Status(ctx)
}

// leftBehind refuses a step that would, and says whom, for the trail.
func (s *Service) leftBehind(step Step, name string, status Status) (string, error) {
	if step == Activate && status.Confirmed < status.Devices {
		return fmt.Sprintf("; %d of %d devices have not confirmed the bundle", status.Devices-status.Confirmed, status.Devices),
			fleet.Errorf(fleet.Refused, "ca_bundle_unconfirmed", "%d of %d devices have not confirmed that they hold the new trust bundle: wait for their check-ins, retire those that are gone, or force it", status.Devices-status.Confirmed, status.Devices)
	}
	if step != Retire {
		return "", nil
	}
	for _, c := range status.CAs {
		for _, m := range c.Members {
			if c.Name == name && m.Role == ca.Retiring && m.Live > 0 {
				return fmt.Sprintf("; %d live certificates depend on it", m.Live),
					fleet.Errorf(fleet.Refused, "ca_in_use", "%d live certificates depend on the authority %s, the last until %s: wait for it, or force it", m.Live, m.ID, m.LastEnds.UTC().Format(time.RFC3339))
			}
		}
	}
	return "", nil
}

func (s *Service) find(name string) (CA, error) {
	var found []CA
	for _, c := range s.CAs {
		if c.Rotator != nil && (name == "" || name == c.Name) {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		return CA{}, fleet.Errorf(fleet.Invalid, "ca_name", "name the CA: %d of those that this service can change fit", len(found))
	}
	return found[0], nil
}

func (s *Service) note(ctx context.Context, by, action, name, detail string) error {
	return s.Store.Apply(ctx, fleet.Change{Events: []fleet.Event{fleet.NewEvent(s.Now(), by, action, "ca:"+name, detail)}})
}

func explain(err error) error {
	switch {
	case errors.Is(err, ca.ErrNoRotation):
		return fleet.Because(err, fleet.Conflict, "ca_no_rotation", "no such step is due: see the status of the CA")
	case errors.Is(err, ca.ErrRefused):
		return fleet.Because(err, fleet.Conflict, "ca_rotation_open", "the last change of the CA is not at its end: retire the old authority first")
	default:
		return unavailable(err)
	}
}
