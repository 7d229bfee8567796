# What ran since boot was measured (Linux Integrity Measurement Architecture),
# and the TPM's account of time holds.
package troth.posture

import data.troth.lib

# METADATA
# title: IMA list given and replayed
# description: >-
#   The device sent its IMA measurement list, and the list replays to the quoted
#   PCR 10.
# scope: rule
# custom:
#   id: ima-list
#   theme: runtime integrity
#   severity: medium
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Cybersecurity State Awareness"]
#     NISTIR 8259A: ["Cybersecurity State Awareness"]
#     IEC 62443-4-2: ["CR 3.4", "CR 6.2"]
#     EU CRA: ["Annex I Part I (2)(l)"]
controls contains lib.control(rego.metadata.rule(), ima_list)

# How many entries is not said: a list that grows is no news.
ima_list := unproven if {
	not proven
} else := {"outcome": "fail", "reason": "The device sent no IMA list."} if {
	input.attestation.ima.given == false
} else := {"outcome": "fail", "reason": "The IMA list does not replay to the quoted PCR 10."} if {
	input.attestation.ima.replayed == false
} else := {"outcome": "fail", "reason": "The IMA list is empty."} if {
	input.attestation.ima.entries == 0
} else := {"outcome": "pass", "reason": "The IMA list replays to the quoted PCR 10."} if {
	input.attestation.ima.given == true
	input.attestation.ima.replayed == true
	input.attestation.ima.entries > 0
} else := missing

# METADATA
# title: No IMA violations
# description: >-
#   No file changed while it was being measured. A violation is the kernel's own
#   word that a measurement may not be of what ran.
# scope: rule
# custom:
#   id: ima-no-violations
#   theme: runtime integrity
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     IEC 62443-4-2: ["CR 3.4"]
#     ETSI EN 303 645: ["5.7-2"]
#     EU CRA: ["Annex I Part I (2)(f)"]
controls contains lib.control(rego.metadata.rule(), ima_no_violations)

ima_no_violations := unproven if {
	not proven
} else := lib.fail(sprintf("The IMA list has %s.", [lib.counted(input.attestation.ima.violations, "violation", "violations")])) if {
	input.attestation.ima.violations > 0
} else := {"outcome": "fail", "reason": "Without an IMA list nothing shows that there were no violations."} if {
	input.attestation.ima.given == false
} else := {"outcome": "pass", "reason": "The IMA list has no violations."} if {
	input.attestation.ima.replayed == true
	input.attestation.ima.violations == 0
} else := missing

# METADATA
# title: TPM clock safe
# description: >-
#   The TPM vouches that its clock has not stepped back. It does not after power
#   was cut without a shutdown, until the clock has passed the last value that it
#   can have shown; hence the grace.
# scope: rule
# custom:
#   id: clock-safe
#   theme: runtime integrity
#   severity: low
#   grace: 24h
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Cybersecurity State Awareness"]
#     IEC 62443-4-2: ["CR 2.11"]
controls contains lib.control(rego.metadata.rule(), clock_safe)

clock_safe := unproven if {
	not proven
} else := {"outcome": "pass", "reason": "The TPM says that its clock is safe."} if {
	input.attestation.clock.safe == true
} else := {"outcome": "fail", "reason": "The TPM says that its clock may have stepped back: it lost power without a shutdown."} if {
	input.attestation.clock.safe == false
} else := missing

# METADATA
# title: TPM counters never go back
# description: >-
#   Reset count, restart count and clock are not lower than in the posture
#   before, and the verifier found them not to have gone back under the same key.
#   If they are, the TPM was cleared or another one took its place, or an old
#   quote was shown. What a loss of power explains is no failure.
# scope: rule
# custom:
#   id: clock-monotonic
#   theme: identity and keys
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Identification"]
#     NISTIR 8259A: ["Device Identification", "Cybersecurity State Awareness"]
#     IEC 62443-4-2: ["CR 1.2"]
controls contains lib.control(rego.metadata.rule(), clock_monotonic)

clock_monotonic := unproven if {
	not proven
} else := lib.fail(sprintf("The TPM's reset count went back from %d to %d.", [before.reset_count, after.reset_count])) if {
	after.reset_count < before.reset_count
} else := lib.fail(sprintf("The TPM's restart count went back from %d to %d without a reset.", [before.restart_count, after.restart_count])) if {
	after.reset_count == before.reset_count
	after.restart_count < before.restart_count
} else := lib.fail(sprintf("The TPM's clock went back from %d to %d ms within one boot.", [before.clock, after.clock])) if {
	after.reset_count == before.reset_count
	after.restart_count == before.restart_count
	after.clock < before.clock
} else := lib.fail(sprintf("The TPM's account of time went back: %s.", [lib.listed(sort(went_back))])) if {
	count(went_back) > 0
} else := {"outcome": "pass", "reason": "The TPM's counters did not go back."} if {
	is_number(before.reset_count)
	is_number(before.restart_count)
	is_number(before.clock)
	is_number(after.reset_count)
	is_number(after.restart_count)
	is_number(after.clock)
} else := missing

before := input.previous.clock

after := input.attestation.clock

# METADATA
# description: >-
#   The verifier's own words (package attest, CompareClock), of errors only. A
#   document that is older than these words has none.
went_back := {code |
	some code in input.attestation.problems
	code in {"reset_count_went_back", "restart_count_went_back", "clock_went_back"}
	not code in input.attestation.warnings
}
