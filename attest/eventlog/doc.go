// Package eventlog parses, replays and explains the firmware event log of the
// TCG PC Client Platform Firmware Profile Specification (PFP) 1.05 and 1.06:
// the crypto-agile log (section 10.2.2, TCG_PCR_EVENT2) and the SHA-1 log of
// TPM 1.2 times (section 10.2.1, TCG_PCClientPCREvent).
//
// A log is the device's own word. What a quote authenticates is only the
// sequence of digests in each PCR that the quote covers and that the log
// replays to; event types, descriptions and order across PCRs are not
// authenticated. The package therefore separates three things:
//
//   - Replay: the PCR values that the digests lead to.
//   - Check: where the log breaks the profile's rules (a digest that is not the
//     hash of its data where the profile says it is, an event type in a PCR
//     where it does not belong, separators missing, repeated or odd).
//   - Facts: what the log says, with a mark on everything whose digest was
//     recomputed from the data. No fact is drawn from a PCR with a finding.
//
// Parsing is bounded: nothing is allocated for a length that the remaining
// input cannot hold, and nothing recurses.
package eventlog
