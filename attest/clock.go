package attest

// CompareClock compares a device's quoted clock with the one quoted before, both
// under the same attestation key: for keys outside the endorsement hierarchy the
// TPM adds an offset of the key's own to both counts (Part 1, "Attestation of
// Clock and Counters"), so that only differences under one key mean something.
// What cannot happen on one TPM that was not cleared is an error, what deserves a
// look a warning; nil means that now may follow prev. The zero Clock is none, and
// anything may follow it.
//
// Clock stands still without power. At a TPM Reset it may fall back by what was
// not yet saved, at most 2^22 milliseconds, and then is not Safe until it has
// caught up (Part 2, TPMS_CLOCK_INFO). TPM2_Clear sets everything to zero.
func CompareClock(prev, now Clock) []Problem {
	if prev == (Clock{}) {
		return nil
	}
	var out []Problem
	resets := countDelta(prev.ResetCount, now.ResetCount)
	switch {
	case resets < 0:
		out = append(out, problem(CodeResetCountWentBack, SeverityError,
			"the reset count went back from %d to %d: the TPM was cleared or replaced, or the quote is old", prev.ResetCount, now.ResetCount))
	case resets == 0 && countDelta(prev.RestartCount, now.RestartCount) < 0:
		out = append(out, problem(CodeRestartCountWentBack, SeverityError,
			"the restart count went back from %d to %d without a reset", prev.RestartCount, now.RestartCount))
	}
	if now.Clock >= prev.Clock {
		return out
	}
	severity, back := SeverityError, prev.Clock-now.Clock
	if resets > 0 && !now.Safe && back <= maxClockLoss {
		severity = SeverityWarning
	}
	return append(out, problem(CodeClockWentBack, severity, "the TPM's clock went back by %d ms", back))
}

// maxClockLoss in milliseconds: a TPM saves Clock at least this often (Part 2,
// TPMS_CLOCK_INFO, clock).
const maxClockLoss = 1 << 22

// countDelta is how far a count went; with a key's offset it wraps at 2^32.
func countDelta(prev, now uint32) int32 {
	return int32(now - prev) //nolint:gosec // the wrap is meant
}
