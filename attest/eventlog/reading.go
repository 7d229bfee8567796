package eventlog

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
)

// Reading is a log that was parsed and replayed once, and is explained once for
// each coverage that it is asked about, so that a verifier need not do it again
// for a log that it has seen. It never changes and may be shared by goroutines;
// nothing that it returns may be changed.
type Reading struct {
	log    *Log
	bytes  []byte
	sum    [sha256.Size]byte
	replay map[string]map[int][]byte

	mu        sync.Mutex
	explained map[coverageKey]explanation
}

type explanation struct {
	findings []Finding
	facts    Facts
}

// coverageKey has a bit for each bank of the log that a PCR is covered in.
type coverageKey [MaxPCR + 1]uint8

// maxExplained bounds the coverages that a Reading keeps: verifiers ask for one
// or two selections, and a log that does not replay changes the coverage.
const maxExplained = 4

// Read parses and replays a log, of which it keeps a copy. Errors are Parse's.
func Read(log []byte) (*Reading, error) {
	kept := bytes.Clone(log)
	parsed, err := Parse(kept)
	if err != nil {
		return nil, err
	}
	return &Reading{log: parsed, bytes: kept, sum: sha256.Sum256(kept), replay: parsed.Replay(), explained: map[coverageKey]explanation{}}, nil
}

// Log is what was parsed.
func (r *Reading) Log() *Log { return r.log }

// Sum is the SHA-256 of the log's bytes.
func (r *Reading) Sum() [sha256.Size]byte { return r.sum }

// Bytes are the log as it was read.
func (r *Reading) Bytes() []byte { return r.bytes }

// Replay is Log.Replay.
func (r *Reading) Replay() map[string]map[int][]byte { return r.replay }

// Examine is Log.Examine.
func (r *Reading) Examine(covered Coverage) ([]Finding, Facts) {
	key, exact := r.key(covered)
	if !exact {
		return r.log.Examine(covered)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.explained[key]
	if !ok {
		known.findings, known.facts = r.log.Examine(covered)
		if len(r.explained) < maxExplained {
			r.explained[key] = known
		}
	}
	return known.findings, known.facts
}

// key is exact where the coverage names each bank once and only the log's.
func (r *Reading) key(covered Coverage) (key coverageKey, exact bool) {
	for pcr, banks := range covered {
		for _, bank := range banks {
			at := slices.Index(r.log.Banks, bank)
			if at < 0 || at > 7 || key[pcr]&(1<<at) != 0 {
				return key, false
			}
			key[pcr] |= 1 << at
		}
	}
	return key, true
}

// Cache keeps the readings that were asked for last, up to so many bytes of logs.
// A thousand devices that boot alike have one log. It may be shared by goroutines;
// a nil Cache keeps nothing.
//
// Keep only what was found to belong to a verified quote: then a device cannot
// fill the cache with logs that nobody booted.
type Cache struct {
	limit int

	mu    sync.Mutex
	size  int
	known map[[sha256.Size]byte]*cached
	clock uint64
}

type cached struct {
	reading *Reading
	used    uint64
}

// memoryPerByte estimates what a Reading takes for each byte of its log.
const memoryPerByte = 8

// NewCache makes a cache that takes about so many bytes of memory.
func NewCache(memory int) (*Cache, error) {
	if memory < memoryPerByte {
		return nil, fmt.Errorf("make event log cache: %d bytes hold nothing", memory)
	}
	return &Cache{limit: memory / memoryPerByte, known: map[[sha256.Size]byte]*cached{}}, nil
}

// Get gives the reading of the log with this SHA-256; nil: not kept.
func (c *Cache) Get(sum [sha256.Size]byte) *Reading {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[sum]
	if !ok {
		return nil
	}
	c.clock++
	k.used = c.clock
	return k.reading
}

// Keep keeps a reading, and drops those that were not asked for the longest. One
// that is larger than the whole cache is not kept.
func (c *Cache) Keep(r *Reading) {
	if c == nil || r == nil || len(r.bytes) > c.limit {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	if k, ok := c.known[r.sum]; ok {
		k.used = c.clock
		return
	}
	for c.size+len(r.bytes) > c.limit {
		c.dropOldest()
	}
	c.known[r.sum] = &cached{r, c.clock}
	c.size += len(r.bytes)
}

func (c *Cache) dropOldest() {
	var oldest *cached
	for _, k := range c.known {
		if oldest == nil || k.used < oldest.used {
			oldest = k
		}
	}
	delete(c.known, oldest.reading.sum)
	c.size -= len(oldest.reading.bytes)
}
