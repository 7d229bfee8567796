// Package storetest is the contract of a fleet's store: one suite that every
// database which package store supports passes.
package storetest

import (
	"context"
	"reflect"
	"testing"

	"troth/internal/fleet"
	"troth/internal/store"
)

// Database returns the dsn of a fresh, empty database that lives as long as the
// test.
type Database func(t testing.TB) string

// Run checks that a store on such databases keeps its contract.
func Run(t *testing.T, database Database) {
	for _, group := range []struct {
		name string
		run  func(*testing.T, Database)
	}{
		{"open", testOpen},
		{"round trip", testRoundTrip},
		{"revisions", testRevisions},
		{"uniqueness", testUniqueness},
		{"certificates", testCertificates},
		{"tokens", testTokens},
		{"members", testMembers},
		{"enrolments", testEnrollments},
		{"blobs", testBlobs},
		{"policies", testPolicies},
		{"vulnerabilities", testVulnerabilities},
		{"reads", testReads},
		{"hostile text", testHostileText},
		{"faults", testFaults},
		{"unavailable", testUnavailable},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, database) })
	}
}

// Open opens a store that is closed when the test ends.
func Open(t testing.TB, dsn string, opts ...store.Option) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), dsn, opts...)
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return s
}

func apply(t testing.TB, s *store.Store, c fleet.Change) {
	t.Helper()
	if err := s.Apply(context.Background(), c); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

// refuse applies a change that must fail with the code.
func refuse(t testing.TB, s *store.Store, c fleet.Change, code string) {
	t.Helper()
	if err := s.Apply(context.Background(), c); err == nil || fleet.CodeOf(err) != code {
		t.Fatalf("apply: %v, want code %s", err, code)
	}
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// get asserts that a read succeeds.
func get[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		return v
	}
}
