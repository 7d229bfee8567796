package store

import (
	"cmp"
	"context"
	"slices"

	"troth/internal/fleet"
)

var alertTable = newTable("alerts", 1, `id subject alert_key device title severity state reason seen
	opened_at last_at acknowledged_by acknowledged_at resolved_at revision`)

var (
	selectAlerts = alertTable.selects()
	insertAlert  = alertTable.insertAbsent()
	swapAlert    = alertTable.swap()
)

func scanAlert(r row) (a fleet.Alert, err error) {
	err = r.Scan(&a.ID, &a.Subject, &a.Key, &a.Device, &a.Title, &a.Severity, &a.State, &a.Reason, &a.Count,
		toTime{&a.OpenedAt}, toTime{&a.LastAt}, &a.AcknowledgedBy, toTime{&a.AcknowledgedAt}, toTime{&a.ResolvedAt}, &a.Revision)
	return a, err
}

func (w *writer) alerts(c fleet.Change) error {
	list := slices.Clone(c.Alerts)
	// One that is resolved makes room for another of the same subject and key.
	slices.SortStableFunc(list, func(a, b fleet.Alert) int {
		return cmp.Or(cmp.Compare(bit(b.State == fleet.AlertResolved), bit(a.State == fleet.AlertResolved)), cmp.Compare(a.ID, b.ID))
	})
	for _, a := range list {
		query, revision := swapAlert, a.Revision
		if a.Revision == 0 {
			query, revision = insertAlert, 1
		}
		err := w.must(query, a.ID, a.Subject, a.Key, string(a.Device), a.Title, string(a.Severity), string(a.State), a.Reason, int64(a.Count),
			micros(a.OpenedAt), micros(a.LastAt), a.AcknowledgedBy, micros(a.AcknowledgedAt), micros(a.ResolvedAt), revision)
		if err != nil {
			return err
		}
	}
	return nil
}

// Alert is the alert with the id.
func (s *Store) Alert(ctx context.Context, id string) (fleet.Alert, error) {
	return one(ctx, s, scanAlert, selectAlerts+" WHERE id = $1", id)
}

// Alerts are those that the filter selects, the last opened first.
func (s *Store) Alerts(ctx context.Context, f fleet.AlertFilter) ([]fleet.Alert, error) {
	var q filter
	if f.Subject != "" {
		q.where("subject = ?", f.Subject)
	}
	if f.Key != "" {
		q.where("alert_key = ?", f.Key)
	}
	if f.Open {
		q.where("state <> 'resolved'") // literally the condition of the index alerts_open_by_time
	}
	return all(ctx, s, scanAlert, selectAlerts+q.tail("opened_at DESC, id DESC", f.Limit), q.args...)
}
