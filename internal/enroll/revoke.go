package enroll

import (
	"context"
	"errors"
	"slices"
	"time"

	"troth/ca"
	"troth/internal/fleet"
)

const (
	revocationBatch    = 50               // told to the CA in one run
	revocationTime     = 10 * time.Second // for one of them
	revocationPatience = time.Hour
	revocationSubject  = "ca"
)

// Revoke tells the CA of certificates that have ended here before their time, so
// that those who read its CRL or ask its OCSP responder refuse them too. Each is
// told until the CA confirms it; several replicas may do so at once. People are
// told when the CA refuses, or does not confirm within an hour.
func (s *Service) Revoke(ctx context.Context) error {
	due, err := s.Store.ToRevoke(ctx, s.Now(), revocationBatch)
	if err != nil {
		return err
	}
	refused := ""
	for _, c := range due {
		cause := s.tell(ctx, c)
		if errors.Is(cause, ca.ErrRefused) {
			refused = cause.Error()
		}
		change := fleet.Change{Revocations: []fleet.Certificate{told(c, cause, s.Now())}}
		if cause == nil {
			change.Events = []fleet.Event{fleet.NewEvent(s.Now(), "system", "certificate.revoke", string(c.Device), c.Serial)}
		}
		if err := s.Store.Apply(ctx, change); err != nil && !fleet.IsKind(err, fleet.Conflict) {
			return err
		}
		if errors.Is(cause, ca.ErrUnavailable) || ctx.Err() != nil {
			break // the others will not fare better
		}
	}
	return s.alarm(ctx, refused, s.Now())
}

func (s *Service) tell(ctx context.Context, c fleet.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, revocationTime)
	defer cancel()
	return s.Issuer.Revoke(ctx, c.DER)
}

func told(c fleet.Certificate, cause error, now time.Time) fleet.Certificate {
	switch {
	case cause == nil:
		c.Authority = c.Authority.Confirmed(now)
	case errors.Is(cause, ca.ErrRefused):
		c.Authority = c.Authority.Failed("refused", now)
	default:
		c.Authority = c.Authority.Failed("away", now)
	}
	return c
}

// alarm raises or resolves the one alert about revocations.
func (s *Service) alarm(ctx context.Context, refused string, now time.Time) error {
	longest, err := s.Store.LongestToRevoke(ctx, now)
	waits := err == nil
	if err != nil && !fleet.IsKind(err, fleet.NotFound) {
		return err
	}
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: revocationSubject, Open: true})
	if err != nil {
		return err
	}
	raised := slices.IndexFunc(open, func(a fleet.Alert) bool { return a.Key == fleet.KeyRevocation })
	var alert fleet.Alert
	switch {
	case raised < 0 && refused != "":
		alert = revocationAlert("the CA refuses to revoke a certificate: "+refused, now)
	case raised < 0 && waits && longest.Authority.Attempts > 0 && now.Sub(longest.EndedAt) > revocationPatience:
		alert = revocationAlert("a certificate that ended at "+longest.EndedAt.UTC().Format(time.RFC3339)+" is not revoked at the CA yet, which does not answer", now)
	case raised >= 0 && !waits:
		alert = open[raised].Resolve(now)
	default:
		return nil
	}
	err = s.Store.Apply(ctx, fleet.Change{Alerts: []fleet.Alert{alert}})
	if fleet.IsKind(err, fleet.Conflict) {
		return nil // another replica was faster
	}
	return err
}

func revocationAlert(reason string, now time.Time) fleet.Alert {
	return fleet.Raise(nil, fleet.Alert{
		Subject: revocationSubject, Key: fleet.KeyRevocation, Severity: fleet.High, Title: "Revocation is not known at the CA",
		Reason: reason + "; Troth itself refuses it, others accept it until it expires",
	}, now)
}
