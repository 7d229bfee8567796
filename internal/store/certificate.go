package store

import (
	"context"
	"time"

	"troth/internal/fleet"
)

var certificateTable = newTable("certificates", 1, `id device state reason serial der key_sha256 created_at not_before not_after ended_at
	rotate_key succeeds ca_confirmed_at ca_attempts ca_next_at ca_problem`)

var (
	selectCertificates = certificateTable.selects()
	insertCertificate  = certificateTable.insertAbsent()
)

// The moves that a certificate may make. What it was issued for, and when it
// was intended, never changes; what was issued stays on record when it is revoked.
const (
	issueCertificate = `UPDATE certificates SET state = $3, reason = $4, serial = $5, der = $6, key_sha256 = $7,
		not_before = $8, not_after = $9, ended_at = $10, rotate_key = $11, succeeds = $12,
		ca_confirmed_at = $13, ca_attempts = $14, ca_next_at = $15, ca_problem = $16
		WHERE id = $1 AND device = $2 AND state IN ('intended', 'ambiguous')`
	failCertificate = `UPDATE certificates SET state = 'failed', reason = $3, ended_at = $4
		WHERE id = $1 AND device = $2 AND state IN ('intended', 'ambiguous')`
	// What is in doubt may be known all the same: signed, and never delivered.
	doubtCertificate = `UPDATE certificates SET state = 'ambiguous', reason = $3, ended_at = $4, serial = $5, der = $6, not_before = $7, not_after = $8
		WHERE id = $1 AND device = $2 AND state = 'intended'`
	revokeCertificate = `UPDATE certificates SET state = 'revoked', reason = $3, ended_at = $4
		WHERE id = $1 AND device = $2 AND state IN ('issued', 'restricted')`
	revokeCertificates = `UPDATE certificates SET state = 'revoked', reason = $3, ended_at = $4
		WHERE device = $1 AND id <> $2 AND state IN ('issued', 'restricted')`
	restrictCertificates = `UPDATE certificates SET state = 'restricted', reason = $2, ended_at = $3
		WHERE device = $1 AND state = 'issued'`
	rotateCertificates = `UPDATE certificates SET rotate_key = 1 WHERE device = $1 AND state IN ('issued', 'restricted')`
	useCertificate     = `UPDATE certificates SET succeeds = 0 WHERE id = $1 AND device = $2 AND succeeds = 1`
	confirmRevocation  = `UPDATE certificates SET ca_confirmed_at = $2, ca_attempts = $3, ca_next_at = $4, ca_problem = $5
		WHERE id = $1 AND ca_confirmed_at = ` + never + ` AND state NOT IN ('intended', 'issued')`
	// The condition is that of the index certificates_to_revoke.
	toRevoke = ` WHERE ca_confirmed_at = ` + never + ` AND serial <> '' AND state NOT IN ('intended', 'issued', 'failed') AND not_after > $1`
	never    = "-62135596800000000" // the zero time
)

func scanCertificate(r row) (c fleet.Certificate, err error) {
	err = r.Scan(&c.ID, &c.Device, &c.State, &c.Reason, &c.Serial, toBytes{&c.DER}, toBytes{&c.Key},
		toTime{&c.CreatedAt}, toTime{&c.NotBefore}, toTime{&c.NotAfter}, toTime{&c.EndedAt}, &c.RotateKey, &c.Succeeds,
		toTime{&c.Authority.ConfirmedAt}, &c.Authority.Attempts, toTime{&c.Authority.NextAt}, &c.Authority.Problem)
	return c, err
}

func (w *writer) certificates(change fleet.Change) error {
	for _, c := range change.Certificates {
		if err := w.certificate(c); err != nil {
			return err
		}
	}
	for _, c := range change.Revocations {
		r := c.Authority
		if err := w.must(confirmRevocation, c.ID, micros(r.ConfirmedAt), int64(r.Attempts), micros(r.NextAt), r.Problem); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) certificate(c fleet.Certificate) error {
	r := c.Authority
	switch c.State {
	case fleet.CertificateIntended:
		return w.must(insertCertificate, c.ID, string(c.Device), string(c.State), c.Reason, c.Serial, c.DER, c.Key,
			micros(c.CreatedAt), micros(c.NotBefore), micros(c.NotAfter), micros(c.EndedAt), bit(c.RotateKey), bit(c.Succeeds),
			micros(r.ConfirmedAt), int64(r.Attempts), micros(r.NextAt), r.Problem)
	case fleet.CertificateIssued, fleet.CertificateRestricted:
		return w.must(issueCertificate, c.ID, string(c.Device), string(c.State), c.Reason, c.Serial, c.DER, c.Key,
			micros(c.NotBefore), micros(c.NotAfter), micros(c.EndedAt), bit(c.RotateKey), bit(c.Succeeds),
			micros(r.ConfirmedAt), int64(r.Attempts), micros(r.NextAt), r.Problem)
	case fleet.CertificateFailed:
		return w.must(failCertificate, c.ID, string(c.Device), c.Reason, micros(c.EndedAt))
	case fleet.CertificateInDoubt:
		return w.must(doubtCertificate, c.ID, string(c.Device), c.Reason, micros(c.EndedAt), c.Serial, c.DER, micros(c.NotBefore), micros(c.NotAfter))
	case fleet.CertificateRevoked:
		return w.must(revokeCertificate, c.ID, string(c.Device), c.Reason, micros(c.EndedAt))
	default:
		return fleet.Errorf(fleet.Invalid, "invalid_change", "a certificate has no state %q", string(c.State))
	}
}

// revocations ends certificates at the time and for the reason that the change
// gives: RevokeOthers with the certificate, Restrict and RevokeAll with the
// device's move.
func (w *writer) revocations(change fleet.Change) error {
	if change.RotateKeys != "" {
		if _, err := w.exec(rotateCertificates, string(change.RotateKeys)); err != nil {
			return err
		}
	}
	if c := change.FirstUse; c != nil {
		if err := w.must(useCertificate, c.ID, string(c.Device)); err != nil {
			return err
		}
	}
	if c := change.RevokeOthers; c != nil {
		if c.EndedAt.IsZero() {
			return fleet.Errorf(fleet.Invalid, "invalid_change", "RevokeOthers needs EndedAt, the time of the revocation")
		}
		if _, err := w.exec(revokeCertificates, string(c.Device), c.ID, c.Reason, micros(c.EndedAt)); err != nil {
			return err
		}
	}
	if err := w.withDevice(change, change.Restrict, "Restrict", func(d fleet.Device) error {
		_, err := w.exec(restrictCertificates, string(d.ID), d.LifecycleReason, micros(d.LifecycleAt))
		return err
	}); err != nil {
		return err
	}
	return w.withDevice(change, change.RevokeAll, "RevokeAll", func(d fleet.Device) error {
		_, err := w.exec(revokeCertificates, string(d.ID), "", d.LifecycleReason, micros(d.LifecycleAt))
		return err
	})
}

// withDevice calls do with the device of the id as the change leaves it; nothing
// is done for no id.
func (w *writer) withDevice(change fleet.Change, id fleet.DeviceID, field string, do func(fleet.Device) error) error {
	if id == "" {
		return nil
	}
	for _, d := range change.Devices {
		if d.ID == id {
			return do(d)
		}
	}
	return fleet.Errorf(fleet.Invalid, "invalid_change", "%s needs its device in the same change, for the time and the reason", field)
}

// Certificate is the certificate with the id.
func (s *Store) Certificate(ctx context.Context, id string) (fleet.Certificate, error) {
	return one(ctx, s, scanCertificate, selectCertificates+" WHERE id = $1", id)
}

// CertificateBySerial is the certificate that was issued with the serial number
// (lower-case hexadecimal).
func (s *Store) CertificateBySerial(ctx context.Context, serial string) (fleet.Certificate, error) {
	return one(ctx, s, scanCertificate, selectCertificates+" WHERE serial = $1 AND serial <> ''", serial)
}

// Certificates are all that were ever intended for the device, newest first.
func (s *Store) Certificates(ctx context.Context, device fleet.DeviceID) ([]fleet.Certificate, error) {
	return all(ctx, s, scanCertificate, selectCertificates+" WHERE device = $1 ORDER BY created_at DESC, id DESC", string(device))
}

// Intents are the certificates that were intended before the instant and of
// which nothing more is known, oldest first: what a crash leaves behind.
func (s *Store) Intents(ctx context.Context, before time.Time) ([]fleet.Certificate, error) {
	return all(ctx, s, scanCertificate, selectCertificates+" WHERE state = 'intended' AND created_at < $1 ORDER BY created_at, id", micros(before))
}

// ToRevoke are at most limit certificates that have ended here before their time
// and of which the CA has not confirmed it, those whose next attempt is due.
func (s *Store) ToRevoke(ctx context.Context, now time.Time, limit int) ([]fleet.Certificate, error) {
	return all(ctx, s, scanCertificate, selectCertificates+toRevoke+" AND ca_next_at <= $1 ORDER BY ca_next_at, id LIMIT $2", micros(now), limit)
}

// LongestToRevoke is the certificate that has waited longest for the CA's
// confirmation, or fleet.ErrNotFound.
func (s *Store) LongestToRevoke(ctx context.Context, now time.Time) (fleet.Certificate, error) {
	return one(ctx, s, scanCertificate, selectCertificates+toRevoke+" ORDER BY ended_at, id LIMIT 1", micros(now))
}

// Succeeding are the certificates of before the instant that were issued to
// succeed others and were not used yet, oldest first.
func (s *Store) Succeeding(ctx context.Context, before time.Time) ([]fleet.Certificate, error) {
	return all(ctx, s, scanCertificate, selectCertificates+" WHERE succeeds = 1 AND created_at < $1 ORDER BY created_at, id", micros(before))
}

// LiveCertificates are on record as opening something and end after the instant, in the
// order of their ids.
func (s *Store) LiveCertificates(ctx context.Context, now time.Time) ([]fleet.Certificate, error) {
	return all(ctx, s, scanCertificate, selectCertificates+" WHERE state IN ('issued', 'restricted') AND not_after > $1 ORDER BY id", micros(now))
}
