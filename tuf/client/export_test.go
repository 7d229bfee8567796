package client

import (
	"errors"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Accept verifies one file of each role in turn, as Refresh does, without
// network or disk. panicked tells that only the guard stopped one.
func Accept(now time.Time, root, nextRoot, timestamp, snapshot, targets []byte) (panicked bool, err error) {
	trusted, err := parseRoot(root)
	if err != nil {
		return errors.Is(err, errPanic), classify(metadata.ROOT, err)
	}
	trusted.RefTime = now
	for _, f := range []struct {
		role   string
		data   []byte
		verify func([]byte) error
	}{
		{metadata.ROOT, nextRoot, func(b []byte) error { _, err := trusted.UpdateRoot(b); return err }},
		{metadata.TIMESTAMP, timestamp, func(b []byte) error { _, err := trusted.UpdateTimestamp(b); return err }},
		{metadata.SNAPSHOT, snapshot, func(b []byte) error { _, err := trusted.UpdateSnapshot(b, false); return err }},
		{metadata.TARGETS, targets, func(b []byte) error { _, err := trusted.UpdateTargets(b); return err }},
	} {
		if err := accept(f.role, f.role, f.data, f.verify); err != nil {
			return errors.Is(err, errPanic), err
		}
	}
	return false, nil
}

// ContentRange reads the header of an answer to a request for a range.
func ContentRange(s string) (first, length, total int64, err error) {
	got, total, err := parseContentRange(s)
	return got.first, got.length, total, err
}
