package eventlog

import "slices"

// Replay extends the digests of all events into fresh PCRs and returns, for
// each bank and each PCR that at least one event extends, the value it leads
// to. PCR 0 starts from the startup locality, every other PCR from zeros. No
// event is made up and none is left out.
func (l *Log) Replay() map[string]map[int][]byte { return l.ReplayBanks(l.Banks) }

// ReplayBanks is Replay in those of the given banks that the log has.
func (l *Log) ReplayBanks(banks []string) map[string]map[int][]byte {
	out := make(map[string]map[int][]byte, len(banks))
	for _, bank := range banks {
		if slices.Contains(l.Banks, bank) {
			out[bank] = l.replayBank(bank)
		}
	}
	return out
}

func (l *Log) replayBank(bank string) map[int][]byte {
	var values [MaxPCR + 1][]byte
	extended := 0           // PCRs
	var buffer [2 * 64]byte // a PCR's value, then what extends it
	for i := range l.Events {
		e := &l.Events[i]
		if e.Type == NoAction {
			continue
		}
		value := values[e.PCR]
		if value == nil {
			value = l.Initial(bank, e.PCR)
			values[e.PCR] = value
			extended++
		}
		sum(value[:0], bank, append(append(buffer[:0], value...), e.Digests.In(bank)...))
	}
	pcrs := make(map[int][]byte, extended)
	for pcr, value := range values {
		if value != nil {
			pcrs[pcr] = value
		}
	}
	return pcrs
}

// Initial is the value from which a PCR starts when the platform resets: zeros,
// and for PCR 0 the startup locality in the last byte (TPM 2.0 Library Part 1,
// section "Initializing PCR"). It is nil for a bank this package cannot replay.
func (l *Log) Initial(bank string, pcr int) []byte {
	h, ok := HashOf(bank)
	if !ok {
		return nil
	}
	value := make([]byte, h.Size())
	if pcr == 0 {
		value[len(value)-1] = byte(l.StartupLocality)
	}
	return value
}
