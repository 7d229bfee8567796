package storetest

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"troth/internal/store"
)

// testFaults: a change that is interrupted at any statement, or at its commit,
// leaves nothing behind; one whose answer is lost is there as a whole. Either
// way the store goes on, and the same change again does what a caller expects.
func testFaults(t *testing.T, database Database) {
	t.Run("failed", func(t *testing.T) { testFault(t, database(t), failed, errFault) })
	t.Run("answer lost", func(t *testing.T) { testFault(t, database(t), lost, errFault) })
	t.Run("cancelled", func(t *testing.T) { testFault(t, database(t), cancelled, context.Canceled) })
}

// wholeStatements is how many statements wholeChange takes, without its commit.
const wholeStatements = 29

// testFault lets the first operation of a change fail, then the second, and so
// on, until the change is written.
func testFault(t *testing.T, dsn string, mode faultMode, cause error) {
	var f faults
	s := Open(t, dsn, store.WithConnector(f.wrap))
	for _, c := range background() {
		apply(t, s, c)
	}
	before := read(t, s)
	for n := 0; ; n++ {
		ctx, cancel := context.WithCancel(context.Background())
		f.arm(n, mode, cancel)
		err := s.Apply(ctx, wholeChange())
		cancel()
		hit := f.disarm()
		if hit != (err != nil) || (hit && !errors.Is(err, cause)) {
			t.Fatalf("operation %d: fault %v, error %v", n, hit, err)
		}
		after := read(t, s)
		if reflect.DeepEqual(after, before) {
			continue
		}
		// The last operation is the commit; only its answer can be lost.
		if hit && mode != lost {
			t.Fatalf("operation %d failed, and yet there is:\n%+v", n, after)
		}
		if n < wholeStatements || len(after.Devices) != 2 || len(after.Events) != 1 || !after.Blobs[1] {
			t.Fatalf("after operation %d there is half of the change:\n%+v", n, after)
		}
		refuse(t, s, wholeChange(), "conflict") // again, because of the lost answer
		same(t, "after trying again", read(t, s), after)
		return
	}
}
