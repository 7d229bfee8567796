// Package attest is the verifier of TPM 2.0 evidence: it appraises quotes, PCR
// values, firmware event logs and IMA lists (TPM 2.0 Library Part 2, TPMS_ATTEST
// and TPMT_SIGNATURE; TCG PC Client Platform Firmware Profile; Linux IMA), checks
// attestation keys, makes credential activation challenges (Part 1, "Credential
// Protection") and checks keys certified by an attestation key (TPM2_Certify).
//
// It is pure: bytes in, result out. It reads no clock, no file and no network,
// and no bytes make it panic. All sizes are bounded before anything is parsed.
//
// What a Result says rests on this chain, in this order; each link is checked
// only when those before it hold:
//
//	key type, size, curve, attributes and scheme → signature → TPM_GENERATED and
//	attest type → qualifying data → signed PCR selection → PCR digest → every log
//	that was given replays to the quoted values, and leaves no PCR of 0 to 7
//	unexplained → IMA's boot_aggregate is that of the quoted PCRs → facts, drawn only
//	from PCRs that the quote covers and the log replays to.
//
// Verified says that the chain holds. What the logs then say (Secure Boot is off,
// an IMA violation) is for policy.
package attest
