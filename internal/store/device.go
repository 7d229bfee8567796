package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"troth/internal/fleet"
)

var deviceTable = newTable("devices", 1, `id name model labels lifecycle lifecycle_reason lifecycle_at
	registered_at enrolled_at manufacturer ek_public ek_certificate ak_public tls_public
	ek_key idevid_kind idevid_manufacturer idevid_serial idevid_model idevid_problem
	verdict verdict_at verdict_since fresh_until last_seen next_check_in last_nonce
	firmware_version firmware_counter clock_reset_count clock_restart_count clock_ms clock_safe revision`)

var (
	selectDevices = deviceTable.selects()
	insertDevice  = deviceTable.insertUnlessTaken()
	swapDevice    = deviceTable.swap()
)

func deviceValues(d fleet.Device, revision int64) []any {
	return []any{
		string(d.ID), d.Name, d.Model, asJSON{d.Labels}, string(d.Lifecycle), d.LifecycleReason, micros(d.LifecycleAt),
		micros(d.RegisteredAt), micros(d.EnrolledAt), d.Manufacturer, d.EKPublic, d.EKCertificate, d.AKPublic, d.TLSPublic,
		d.EKKey, d.DevID.Kind, d.DevID.Manufacturer, d.DevID.Serial, d.DevID.Model, d.DevID.Problem,
		string(d.Verdict), micros(d.VerdictAt), micros(d.VerdictSince), micros(d.FreshUntil), micros(d.LastSeen),
		micros(d.NextCheckIn), d.LastNonce, d.FirmwareVersion, bits(d.FirmwareCounter),
		int64(d.Clock.ResetCount), int64(d.Clock.RestartCount), bits(d.Clock.Clock), bit(d.Clock.Safe), revision,
	}
}

func scanDevice(r row) (d fleet.Device, err error) {
	err = r.Scan(
		&d.ID, &d.Name, &d.Model, toJSON{&d.Labels}, &d.Lifecycle, &d.LifecycleReason, toTime{&d.LifecycleAt},
		toTime{&d.RegisteredAt}, toTime{&d.EnrolledAt}, &d.Manufacturer, toBytes{&d.EKPublic}, toBytes{&d.EKCertificate},
		toBytes{&d.AKPublic}, toBytes{&d.TLSPublic},
		&d.EKKey, &d.DevID.Kind, &d.DevID.Manufacturer, &d.DevID.Serial, &d.DevID.Model, &d.DevID.Problem,
		&d.Verdict, toTime{&d.VerdictAt}, toTime{&d.VerdictSince}, toTime{&d.FreshUntil}, toTime{&d.LastSeen},
		toTime{&d.NextCheckIn}, &d.LastNonce, &d.FirmwareVersion, toBits{&d.FirmwareCounter},
		&d.Clock.ResetCount, &d.Clock.RestartCount, toBits{&d.Clock.Clock}, &d.Clock.Safe, &d.Revision,
	)
	return d, err
}

func (w *writer) devices(c fleet.Change) error {
	list := slices.Clone(c.Devices)
	// One that is retired gives its name to another of the same change.
	slices.SortStableFunc(list, func(a, b fleet.Device) int {
		return cmp.Or(cmp.Compare(bit(b.Lifecycle == fleet.Retired), bit(a.Lifecycle == fleet.Retired)), cmp.Compare(a.ID, b.ID))
	})
	for _, d := range list {
		write := w.swapDevice
		if d.Revision == 0 {
			write = w.insertDevice
		}
		if err := write(d); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) swapDevice(d fleet.Device) error {
	return w.must(swapDevice, deviceValues(d, d.Revision)...)
}

// insertDevice asks afterwards which of the unique indexes refused a row: two
// writers of one new device collide in its id, its EK's key and its name, and a
// database reports whichever it looked at first.
func (w *writer) insertDevice(d fleet.Device) error {
	n, err := w.exec(insertDevice, deviceValues(d, 1)...)
	if err != nil || n > 0 {
		return err
	}
	var exists, keyTaken bool
	err = w.tx.QueryRowContext(w.ctx, `SELECT EXISTS (SELECT 1 FROM devices WHERE id = $1),
		EXISTS (SELECT 1 FROM devices WHERE ek_key = $2 AND ek_key <> '')`, string(d.ID), d.EKKey).Scan(&exists, &keyTaken)
	switch {
	case err != nil:
		return err
	case exists:
		return fleet.ErrConflict
	case keyTaken:
		return errKeyTaken
	}
	return errNameTaken
}

// Device is the device with the id.
func (s *Store) Device(ctx context.Context, id fleet.DeviceID) (fleet.Device, error) {
	return one(ctx, s, scanDevice, selectDevices+" WHERE id = $1", string(id))
}

// Devices are those that the filter selects, in the order of their ids. An
// IDPrefix that is not lower-case hexadecimal selects none.
func (s *Store) Devices(ctx context.Context, f fleet.DeviceFilter) ([]fleet.Device, error) {
	var q filter
	if f.Name != "" {
		q.where("name = ?", f.Name)
	}
	if f.Model != "" {
		q.where("model = ?", f.Model)
	}
	if f.Lifecycle != "" {
		q.where("lifecycle = ?", string(f.Lifecycle))
	}
	if f.IDPrefix != "" {
		if strings.Trim(f.IDPrefix, "0123456789abcdef") != "" {
			return nil, nil
		}
		q.where("id >= ? AND id < ?", f.IDPrefix, f.IDPrefix+"g") // g follows f
	}
	for _, label := range slices.Sorted(maps.Keys(f.Scope)) {
		pair, err := json.Marshal(map[string]string{label: f.Scope[label]})
		if err != nil {
			return nil, fmt.Errorf("encode label: %w", err)
		}
		// Labels are an object of strings as Go writes it. A pair stands in it after a
		// brace or a comma, and nowhere else: quotes inside of strings are escaped.
		text := string(pair[1 : len(pair)-1])
		q.where("(replace(labels, ?, '') <> labels OR replace(labels, ?, '') <> labels)", "{"+text, ","+text)
	}
	if f.After != "" {
		q.where("id > ?", string(f.After))
	}
	return all(ctx, s, scanDevice, selectDevices+q.tail("id", f.Limit), q.args...)
}

// Overdue are at most limit enrolled devices whose verdict was to be believed
// until before now and has not been given up, the longest overdue first. A
// limit of 0 returns all.
func (s *Store) Overdue(ctx context.Context, now time.Time, limit int) ([]fleet.Device, error) {
	var q filter
	// The first two conditions are literally those of the index devices_overdue.
	q.where("lifecycle NOT IN ('pending', 'retired')")
	q.where("verdict <> 'unknown'")
	q.where("fresh_until < ?", micros(now))
	return all(ctx, s, scanDevice, selectDevices+q.tail("fresh_until", limit), q.args...)
}
