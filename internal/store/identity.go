package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"troth/internal/fleet"
)

var (
	enrollmentTable = newTable("enrollments", 1, `id device name model ek_public ek_certificate manufacturer ek_problem
	ak_public tls_public secret_sha256 nonce created_at expires_at
	idevid_public idevid_kind idevid_manufacturer idevid_serial idevid_model idevid_problem`)
	manufacturerTable = newTable("manufacturers", 1, "name pem added_at added_by")
)

var (
	insertEnrollment    = enrollmentTable.insert()
	selectEnrollments   = enrollmentTable.selects()
	takeEnrollment      = "DELETE FROM enrollments WHERE id = $1 RETURNING " + enrollmentTable.list()
	selectManufacturers = manufacturerTable.selects()
	upsertManufacturer  = manufacturerTable.upsert()
)

func scanEnrollment(r row) (e fleet.Enrollment, err error) {
	err = r.Scan(&e.ID, &e.Device, &e.Name, &e.Model, toBytes{&e.EKPublic}, toBytes{&e.EKCertificate}, &e.Manufacturer, &e.EKProblem,
		toBytes{&e.AKPublic}, toBytes{&e.TLSPublic}, toBytes{&e.SecretSHA256}, toBytes{&e.Nonce}, toTime{&e.CreatedAt}, toTime{&e.ExpiresAt},
		toBytes{&e.DevIDPublic}, &e.DevID.Kind, &e.DevID.Manufacturer, &e.DevID.Serial, &e.DevID.Model, &e.DevID.Problem)
	return e, err
}

// SaveEnrollment keeps an attempt to enrol until it is taken or expires.
func (s *Store) SaveEnrollment(ctx context.Context, e fleet.Enrollment) error {
	err := s.inTransaction(ctx, func(w *writer) error {
		return w.must(insertEnrollment, e.ID, string(e.Device), e.Name, e.Model, e.EKPublic, e.EKCertificate, e.Manufacturer, e.EKProblem,
			e.AKPublic, e.TLSPublic, e.SecretSHA256, e.Nonce, micros(e.CreatedAt), micros(e.ExpiresAt),
			e.DevIDPublic, e.DevID.Kind, e.DevID.Manufacturer, e.DevID.Serial, e.DevID.Model, e.DevID.Problem)
	})
	return s.wrap(ctx, "save enrolment", err)
}

// Enrollment is the attempt to enrol with the id. Its challenge is answered by the
// Change that says so (fleet.Change.Answers), once.
func (s *Store) Enrollment(ctx context.Context, id string) (fleet.Enrollment, error) {
	return one(ctx, s, scanEnrollment, selectEnrollments+" WHERE id = $1", id)
}

func (w *writer) answers(c fleet.Change) error {
	if c.Answers == "" {
		return nil
	}
	return w.must("DELETE FROM enrollments WHERE id = $1", c.Answers)
}

// TakeEnrollment removes the attempt and returns it, so that its challenge can
// be answered once: whoever comes second gets fleet.ErrNotFound. Whether it has
// expired is for the caller to see.
func (s *Store) TakeEnrollment(ctx context.Context, id string) (e fleet.Enrollment, err error) {
	args := []any{id}
	if err := arguments(args); err != nil {
		return fleet.Enrollment{}, err
	}
	err = s.inTransaction(ctx, func(w *writer) error {
		e, err = scanEnrollment(w.tx.QueryRowContext(w.ctx, takeEnrollment, args...))
		return err
	})
	if err != nil {
		return fleet.Enrollment{}, s.wrap(ctx, "take enrolment", err)
	}
	return e, nil
}

// ExpireEnrollments forgets the attempts that expire before the instant and
// returns how many there were.
func (s *Store) ExpireEnrollments(ctx context.Context, before time.Time) (int, error) {
	var n int64
	err := s.inTransaction(ctx, func(w *writer) (err error) {
		n, err = w.exec("DELETE FROM enrollments WHERE expires_at < $1", micros(before))
		return err
	})
	if err != nil {
		return 0, s.wrap(ctx, "expire enrolments", err)
	}
	return int(n), nil
}

func scanManufacturer(r row) (m fleet.Manufacturer, err error) {
	err = r.Scan(&m.Name, toBytes{&m.PEM}, toTime{&m.AddedAt}, &m.AddedBy)
	return m, err
}

func (w *writer) manufacturers(c fleet.Change) error {
	for _, m := range c.Manufacturers {
		if err := w.must(upsertManufacturer, m.Name, m.PEM, micros(m.AddedAt), m.AddedBy); err != nil {
			return err
		}
	}
	return nil
}

// Manufacturers are all of them, in the order of their names' bytes.
func (s *Store) Manufacturers(ctx context.Context) ([]fleet.Manufacturer, error) {
	list, err := all(ctx, s, scanManufacturer, selectManufacturers)
	slices.SortFunc(list, func(a, b fleet.Manufacturer) int { return cmp.Compare(a.Name, b.Name) })
	return list, err
}
