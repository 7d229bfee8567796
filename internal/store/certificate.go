package store

import (
	"context"
	"time"

	"troth/internal/fleet"
)

var certificateTable = newTable("certificates", 1, "id device state reason serial der key_sha256 created_at not_before not_after ended_at")

var (
	selectCertificates = certificateTable.selects()
	insertCertificate  = certificateTable.insertAbsent()
)

// The moves that a certificate may make. What it was issued for, and when it
// was intended, never changes; what was issued stays on record when it is revoked.
const (
	issueCertificate = `UPDATE certificates SET state = 'issued', reason = $3, serial = $4, der = $5, key_sha256 = $6,
		not_before = $7, not_after = $8, ended_at = $9 WHERE id = $1 AND device = $2 AND state IN ('intended', 'ambiguous')`
	failCertificate = `UPDATE certificates SET state = 'failed', reason = $3, ended_at = $4
		WHERE id = $1 AND device = $2 AND state IN ('intended', 'ambiguous')`
	doubtCertificate = `UPDATE certificates SET state = 'ambiguous', reason = $3, ended_at = $4
		WHERE id = $1 AND device = $2 AND state = 'intended'`
	revokeCertificate = `UPDATE certificates SET state = 'revoked', reason = $3, ended_at = $4
		WHERE id = $1 AND device = $2 AND state = 'issued'`
	revokeCertificates = `UPDATE certificates SET state = 'revoked', reason = $3, ended_at = $4
		WHERE device = $1 AND id <> $2 AND state = 'issued'`
)

func scanCertificate(r row) (c fleet.Certificate, err error) {
	err = r.Scan(&c.ID, &c.Device, &c.State, &c.Reason, &c.Serial, toBytes{&c.DER}, toBytes{&c.Key},
		toTime{&c.CreatedAt}, toTime{&c.NotBefore}, toTime{&c.NotAfter}, toTime{&c.EndedAt})
	return c, err
}

func (w *writer) certificates(change fleet.Change) error {
	for _, c := range change.Certificates {
		if err := w.certificate(c); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) certificate(c fleet.Certificate) error {
	switch c.State {
	case fleet.CertificateIntended:
		return w.must(insertCertificate, c.ID, string(c.Device), string(c.State), c.Reason, c.Serial, c.DER, c.Key,
			micros(c.CreatedAt), micros(c.NotBefore), micros(c.NotAfter), micros(c.EndedAt))
	case fleet.CertificateIssued:
		return w.must(issueCertificate, c.ID, string(c.Device), c.Reason, c.Serial, c.DER, c.Key,
			micros(c.NotBefore), micros(c.NotAfter), micros(c.EndedAt))
	case fleet.CertificateFailed:
		return w.must(failCertificate, c.ID, string(c.Device), c.Reason, micros(c.EndedAt))
	case fleet.CertificateInDoubt:
		return w.must(doubtCertificate, c.ID, string(c.Device), c.Reason, micros(c.EndedAt))
	case fleet.CertificateRevoked:
		return w.must(revokeCertificate, c.ID, string(c.Device), c.Reason, micros(c.EndedAt))
	default:
		return fleet.Errorf(fleet.Invalid, "invalid_change", "a certificate has no state %q", string(c.State))
	}
}

// revocations ends certificates at the time and for the reason that the change
// gives: RevokeOthers with the certificate, RevokeAll with the device's move.
func (w *writer) revocations(change fleet.Change) error {
	if c := change.RevokeOthers; c != nil {
		if c.EndedAt.IsZero() {
			return fleet.Errorf(fleet.Invalid, "invalid_change", "RevokeOthers needs EndedAt, the time of the revocation")
		}
		if _, err := w.exec(revokeCertificates, string(c.Device), c.ID, c.Reason, micros(c.EndedAt)); err != nil {
			return err
		}
	}
	if change.RevokeAll == "" {
		return nil
	}
	for _, d := range change.Devices {
		if d.ID == change.RevokeAll {
			_, err := w.exec(revokeCertificates, string(d.ID), "", d.LifecycleReason, micros(d.LifecycleAt))
			return err
		}
	}
	return fleet.Errorf(fleet.Invalid, "invalid_change", "RevokeAll needs its device in the same change, for the time and the reason")
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
