package eventlog_test

import (
	"crypto/sha256"
	"reflect"
	"sync"
	"testing"

	"troth/attest/eventlog"
)

func reading(t testing.TB, log []byte) *eventlog.Reading {
	t.Helper()
	r, err := eventlog.Read(log)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A reading says what the log says, for each coverage, from any goroutine, and
// whatever happens to the bytes that it was read from.
func TestReadingIsTheLog(t *testing.T) {
	data := agile(append(separators(), same(7, eventlog.EFIVariableDriverConfig, variable(globalGUID, "SecureBoot", "\x01")),
		entry{8, eventlog.IPL, "/vmlinuz ro", "kernel_cmdline: /vmlinuz ro\x00"})...)
	log, err := eventlog.Parse(append([]byte{}, data...))
	if err != nil {
		t.Fatal(err)
	}
	r := reading(t, data)
	if r.Sum() != sha256.Sum256(data) {
		t.Error("another sum")
	}
	clear(data)
	if !reflect.DeepEqual(r.Replay(), log.Replay()) || !reflect.DeepEqual(r.Log(), log) {
		t.Error("another log")
	}
	var wg sync.WaitGroup
	for range 4 {
		for _, covered := range []eventlog.Coverage{log.All(), {}, {7: {"sha256"}}, {7: {"sha1"}}, {8: {"sha1", "sha256"}}, {8: {"sha256", "sha1"}},
			{7: {"sha256", "sha256"}}, {7: {"sha384"}}, {9: {"sha1"}}, {8: {"sha256"}}} {
			wg.Go(func() {
				for range 3 {
					findings, facts := r.Examine(covered)
					wantFindings, wantFacts := log.Examine(covered)
					if !reflect.DeepEqual(findings, wantFindings) || !reflect.DeepEqual(facts, wantFacts) {
						t.Errorf("%v: %v %+v, want %v %+v", covered, findings, facts, wantFindings, wantFacts)
					}
				}
			})
		}
	}
	wg.Wait()
	if _, err := eventlog.Read([]byte("no log")); err == nil {
		t.Error("read what is no log")
	}
}

func TestCacheKeepsWhatWasUsedLast(t *testing.T) {
	logs := make([]*eventlog.Reading, 4)
	size := 0
	for i := range logs {
		data := agile(same(8, eventlog.IPL, string(rune('a'+i))))
		logs[i], size = reading(t, data), len(data)
	}
	c, err := eventlog.NewCache(8 * (3*size + size/2))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range logs[:3] {
		c.Keep(r)
	}
	c.Get(logs[0].Sum())
	c.Keep(logs[3])
	c.Keep(logs[3])
	for i, kept := range []bool{true, false, true, true} {
		if got := c.Get(logs[i].Sum()); (got == logs[i]) != kept {
			t.Errorf("log %d is kept: %v, want %v", i, got != nil, kept)
		}
	}
	large := reading(t, agile(same(8, eventlog.IPL, string(make([]byte, 4*size)))))
	c.Keep(large)
	if c.Get(large.Sum()) != nil || c.Get(logs[3].Sum()) == nil {
		t.Error("a log larger than the cache is kept, or drives others out")
	}
	var none *eventlog.Cache
	if none.Keep(large); none.Get(large.Sum()) != nil {
		t.Error("no cache keeps a log")
	}
	if _, err := eventlog.NewCache(0); err == nil {
		t.Error("a cache of nothing")
	}
}
