package ima_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"troth/attest/ima"
)

func numbered(n uint64) []byte {
	d := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	return d[:]
}

func packed(n uint64) []byte {
	out := make([]byte, 0, 32*n)
	for i := range n {
		out = append(out, numbered(i)...)
	}
	return out
}

func TestAllowList(t *testing.T) {
	const n = 5000
	edges := append(make([]byte, 32), bytes.Repeat([]byte{0xff}, 32)...)
	l, err := ima.NewAllowList("sha256", append(append(packed(n), packed(10)...), edges...))
	if err != nil || l.Len() != n+2 {
		t.Fatalf("%d digests, %v", l.Len(), err)
	}
	for i := range uint64(2 * n) {
		if got := l.Contains("sha256", numbered(i)); got != (i < n) {
			t.Fatalf("digest %d: %v", i, got)
		}
	}
	for name, got := range map[string]bool{
		"lowest": !l.Contains("sha256", edges[:32]), "highest": !l.Contains("sha256", edges[32:]),
		"another algorithm": l.Contains("sm3", numbered(0)), "short": l.Contains("sha256", numbered(0)[:31]), "nil": l.Contains("sha256", nil),
		"a violation": l.Allows(&ima.Entry{Algorithm: "sha256", Digest: numbered(0), Violation: true}),
		"an entry":    !l.Allows(&ima.Entry{Algorithm: "sha256", Digest: numbered(0)}),
	} {
		if got {
			t.Errorf("%s is wrong", name)
		}
	}
	empty, err := ima.NewAllowList("sha512", nil)
	if err != nil || empty.Len() != 0 || empty.Contains("sha512", make([]byte, 64)) {
		t.Errorf("empty list: %v", err)
	}
	for _, bad := range []struct {
		algorithm string
		packed    []byte
	}{{"sha256", make([]byte, 33)}, {"", nil}, {"sha1000", nil}} {
		if _, err := ima.NewAllowList(bad.algorithm, bad.packed); err == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
}

// TestAllowListAllocatesNothing: a lookup for each of a device's entries must
// leave nothing behind.
func TestAllowListAllocatesNothing(t *testing.T) {
	l, err := ima.NewAllowList("sha256", packed(1000))
	if err != nil {
		t.Fatal(err)
	}
	known, unknown := numbered(1), numbered(5000)
	if n := testing.AllocsPerRun(100, func() { l.Contains("sha256", known); l.Contains("sha256", unknown) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAllowList(b *testing.B) {
	const n = 1_000_000
	digests := packed(n)
	l, err := ima.NewAllowList("sha256", digests)
	if err != nil {
		b.Fatal(err)
	}
	unknown := numbered(n + 1)
	b.Run("known of 1000000", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i = (i + 7919) % n
			if !l.Contains("sha256", digests[32*i:32*i+32]) {
				b.Fatal("not found")
			}
		}
	})
	b.Run("unknown", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if l.Contains("sha256", unknown) {
				b.Fatal("found")
			}
		}
	})
}
