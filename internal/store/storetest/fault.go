package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"troth/internal/fleet"
	"troth/internal/store"
)

// testFaults: a change that is interrupted at any statement, or at its commit,
// leaves nothing behind; one whose answer is lost is there as a whole. Either
// way the store goes on, and the same change again does what a caller expects.
func testFaults(t *testing.T, database Database) {
	for _, mode := range []struct {
		name string
		mode faultMode
	}{{"failed", failed}, {"answer lost", lost}, {"cancelled", cancelled}} {
		t.Run(mode.name, func(t *testing.T) {
			for n := 0; ; n++ {
				var more bool
				if !t.Run(fmt.Sprintf("operation %d", n), func(t *testing.T) { more = testFault(t, database(t), n, mode.mode) }) || !more {
					break
				}
			}
		})
	}
}

// testFault reports whether the change has an operation n.
func testFault(t *testing.T, dsn string, n int, mode faultMode) bool {
	var f faults
	s := Open(t, dsn, store.WithConnector(f.wrap))
	for _, c := range background() {
		apply(t, s, c)
	}
	before := read(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	f.arm(n, mode, cancel)
	err := s.Apply(ctx, wholeChange())
	if !f.disarm() {
		if err != nil {
			t.Fatalf("apply without a fault: %v", err)
		}
		if n < 20 {
			t.Fatalf("the change took only %d operations: it does not touch everything", n)
		}
		return false
	}
	if err == nil {
		t.Fatal("the fault was swallowed")
	}
	if want := map[faultMode]error{failed: errFault, lost: errFault, cancelled: context.Canceled}[mode]; !errors.Is(err, want) {
		t.Fatalf("the cause is lost: %v", err)
	}
	after := read(t, s)
	written := !reflect.DeepEqual(after, before)
	again := s.Apply(context.Background(), wholeChange())
	whole := read(t, s)
	switch {
	case written && (mode != lost || !reflect.DeepEqual(after, whole)):
		t.Fatalf("half of the change is visible:\n%+v", after)
	case written && !errors.Is(again, fleet.ErrConflict):
		t.Fatalf("again, after it was written: %v", again)
	case !written && again != nil:
		t.Fatalf("again, after nothing was written: %v", again)
	}
	if len(whole.Devices) != 2 || len(whole.Events) != 1 || !whole.Blobs[1] {
		t.Fatalf("the change is not there in the end: %+v", whole)
	}
	return true
}
