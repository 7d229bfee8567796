package eventlog

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
)

// Limits on a log, beyond which Parse refuses it.
const (
	MaxSize       = 4 << 20 // bytes of the whole log
	MaxPCR        = 23      // highest PCR index of the PC Client profile
	MaxEvents     = 1 << 14 // entries; real logs have at most some hundred
	maxAlgorithms = 16      // digest algorithms in one Spec ID event
)

const usualEvent = 256 // bytes of an event in real logs, or more

const specIDSize = 16 // bytes of a Spec ID signature, with its NUL

// Event is one entry of the log. Data and Digests alias the parsed bytes.
type Event struct {
	PCR  int
	Type EventType
	// Digests are those that were extended. Algorithms this package does not know
	// are left out.
	Digests Digests
	Data    []byte
	// Sequence counts from 0, which is the Spec ID event where there is one.
	Sequence int
}

// Log is a parsed event log.
type Log struct {
	Events []Event
	// Banks that every extending event carries a digest for and that this
	// package can replay, in the log's order.
	Banks []string
	// Legacy is true for the SHA-1 format.
	Legacy bool
	// SpecVersion is the profile version that the Spec ID event states, as
	// "major.minor.errata"; empty for a legacy log without that event.
	SpecVersion string
	// StartupLocality is the locality of TPM2_Startup (0, 3, or 4), which is the
	// last byte of PCR 0's initial value (PFP section 10.4.5.3).
	StartupLocality int
}

type algorithm struct {
	id   uint16
	size int
	bank string // empty: an algorithm that is skipped
}

// Parse reads a whole log, as the kernel gives it in
// /sys/kernel/security/tpm0/binary_bios_measurements. Trailing bytes, truncated
// events, digests of algorithms that the Spec ID event does not announce, and
// extending events without a digest for each of them are errors. The result
// aliases log, which must not change while it is used.
func Parse(log []byte) (*Log, error) {
	if len(log) == 0 {
		return nil, errors.New("parse event log: empty")
	}
	if len(log) > MaxSize {
		return nil, fmt.Errorf("parse event log: %d bytes, more than %d", len(log), MaxSize)
	}
	r := &reader{b: log}
	first, err := parseLegacyEvent(r)
	if err != nil {
		return nil, fmt.Errorf("parse event log: event 0: %w", err)
	}
	l := &Log{Events: append(make([]Event, 0, 1+len(log)/usualEvent), first), Legacy: true, Banks: []string{"sha1"}}
	algorithms, err := l.readSpecID(first)
	if err != nil {
		return nil, fmt.Errorf("parse event log: Spec ID event: %w", err)
	}
	digests := newShelf(len(l.Banks) * cap(l.Events))
	for n := 1; r.len() > 0; n++ {
		if n >= MaxEvents {
			return nil, fmt.Errorf("parse event log: more than %d events", MaxEvents)
		}
		var e Event
		if l.Legacy {
			e, err = parseLegacyEvent(r)
		} else {
			e, err = parseAgileEvent(r, algorithms, digests)
		}
		if err != nil {
			return nil, fmt.Errorf("parse event log: event %d: %w", n, err)
		}
		e.Sequence = n
		l.Events = append(l.Events, e)
	}
	if err := l.readStartupLocality(); err != nil {
		return nil, fmt.Errorf("parse event log: %w", err)
	}
	return l, nil
}

// parseLegacyEvent reads TCG_PCClientPCREvent (PFP section 10.2.1).
func parseLegacyEvent(r *reader) (Event, error) {
	pcr, typ := r.u32(), EventType(r.u32())
	digest := r.take(crypto.SHA1.Size())
	data := r.take(int64ToInt(r.u32()))
	if r.err != nil {
		return Event{}, r.err
	}
	return newEvent(pcr, typ, Digests{{"sha1", digest}}, data)
}

// parseAgileEvent reads TCG_PCR_EVENT2 (PFP section 10.2.2).
func parseAgileEvent(r *reader, algorithms []algorithm, s *shelf) (Event, error) {
	pcr, typ := r.u32(), EventType(r.u32())
	count := r.u32()
	if r.err == nil && count > uint32(len(algorithms)) {
		return Event{}, fmt.Errorf("%d digests, the Spec ID event announces %d", count, len(algorithms))
	}
	digests := s.list(len(algorithms))
	var seen uint32 // a bit for each announced algorithm
	for i := uint32(0); i < count && r.err == nil; i++ {
		id := r.u16()
		if r.err != nil {
			break
		}
		at := find(algorithms, id)
		if at < 0 || seen&(1<<at) != 0 {
			return Event{}, fmt.Errorf("digest algorithm 0x%04x is repeated or not announced", id)
		}
		seen |= 1 << at
		digest := r.take(algorithms[at].size)
		if bank := algorithms[at].bank; bank != "" {
			digests = append(digests, BankDigest{bank, digest})
		}
	}
	data := r.take(int64ToInt(r.u32()))
	if r.err != nil {
		return Event{}, r.err
	}
	// EV_NO_ACTION extends nothing, so what digests it carries is of no account.
	if typ != NoAction && int(count) != len(algorithms) {
		return Event{}, fmt.Errorf("%d digests, the Spec ID event announces %d", count, len(algorithms))
	}
	return newEvent(pcr, typ, digests, data)
}

func newEvent(pcr uint32, typ EventType, digests Digests, data []byte) (Event, error) {
	if pcr > MaxPCR {
		// EV_NO_ACTION may name PCR 0xffffffff (PFP section 10.4.5).
		if typ != NoAction {
			return Event{}, fmt.Errorf("PCR index %d is above %d", pcr, MaxPCR)
		}
		return Event{PCR: -1, Type: typ, Digests: digests, Data: data}, nil
	}
	return Event{PCR: int(pcr), Type: typ, Digests: digests, Data: data}, nil
}

// find gives the index of an announced algorithm, or -1.
func find(algorithms []algorithm, id uint16) int {
	return slices.IndexFunc(algorithms, func(a algorithm) bool { return a.id == id })
}

// readStartupLocality honours the StartupLocality event (PFP section 10.4.5.3).
// It must come before the first measurement into PCR 0, at most once.
func (l *Log) readStartupLocality() error {
	seen, measured := false, false
	for _, e := range l.Events {
		if e.Type != NoAction {
			measured = measured || e.PCR == 0
			continue
		}
		signature := []byte("StartupLocality\x00")
		if !bytes.HasPrefix(e.Data, signature) {
			continue
		}
		rest := e.Data[len(signature):]
		switch {
		case e.PCR != 0 || len(rest) != 1 || (rest[0] != 0 && rest[0] != 3 && rest[0] != 4):
			return fmt.Errorf("event %d: malformed StartupLocality", e.Sequence)
		case seen || measured:
			return fmt.Errorf("event %d: StartupLocality repeated or after a measurement into PCR 0", e.Sequence)
		}
		seen, l.StartupLocality = true, int(rest[0])
	}
	return nil
}
