package device

import (
	"context"

	"troth/internal/fleet"
)

// Certificates are all that were ever asked for the device, newest first.
func (s *Service) Certificates(ctx context.Context, key string) (fleet.Device, []fleet.Certificate, error) {
	d, err := s.Resolve(ctx, key)
	if err != nil {
		return d, nil, err
	}
	list, err := s.Store.Certificates(ctx, d.ID)
	return d, list, err
}

// RotateKey has the device make a new TLS key in its TPM at its next check-in. Its
// certificates are not renewed for the old one any more.
func (s *Service) RotateKey(ctx context.Context, key, reason, by string) (fleet.Device, error) {
	return s.certificates(ctx, key, "device.rotate-key", reason, by, func(d fleet.Device, c *fleet.Change) {
		c.RotateKeys = d.ID
	})
}

// Revoke ends the certificates of the device. It has to attest anew to get
// another one, which its agent does by itself: quarantine or retire keep it out.
func (s *Service) Revoke(ctx context.Context, key, reason, by string) (fleet.Device, error) {
	return s.certificates(ctx, key, "device.revoke", reason, by, func(d fleet.Device, c *fleet.Change) {
		c.RevokeOthers = &fleet.Certificate{Device: d.ID, Reason: reason, EndedAt: s.Now()}
	})
}

func (s *Service) certificates(ctx context.Context, key, action, reason, by string, edit func(fleet.Device, *fleet.Change)) (fleet.Device, error) {
	d, list, err := s.Certificates(ctx, key)
	if err != nil {
		return d, err
	}
	now, found := s.Now(), false
	for _, c := range list {
		found = found || c.Opens() && now.Before(c.NotAfter)
	}
	if !found {
		return d, fleet.Errorf(fleet.Conflict, "no_certificate", "device %s has no certificate in force", d.ID.Short())
	}
	change := fleet.Change{Events: []fleet.Event{fleet.NewEvent(now, by, action, string(d.ID), reason)}}
	edit(d, &change)
	return d, s.Store.Apply(ctx, change)
}
