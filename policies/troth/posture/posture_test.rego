package troth.posture_test

import data.troth.posture

test_all_well_is_compliant if verdict(good) == "compliant"

test_all_well_passes_every_control if {
	answer := posture.decision with input as good with data.config as strict
	having(answer, "pass") == ours
	every control in answer.controls {
		control.outcome in {"pass", "not_applicable"}
		object.keys(control) == {"id", "outcome", "reason"}
	}
}

# What nobody asked for does not apply. It does not pass.
test_unconfigured_controls_do_not_apply if {
	answer := decide(set_to({"/attestation/ima/judged_by": ""}))
	answer.verdict == "compliant"
	having(answer, "not_applicable") == {
		"agent-current",
		"boot-authorities",
		"boot-command-line",
		"boot-dbx",
		"boot-keys",
		"boot-mok",
		"boot-option-roms",
		"boot-sbat",
		"certificate-short-lived",
		"client-key-rotated",
		"device-certified",
		"firmware-floor",
		"ima-boot-aggregate",
		"ima-known-files",
		"listeners-listed",
		"model-supported",
		"restarted-in-time",
	}
}

# A decision's input that was stored before these facts were gathered.
old := json.patch(good, array.concat(
	[{"op": "remove", "path": sprintf("/%s", [path])} |
		some path in ["attestation/boot", "attestation/warnings", "host", "endorsement", "certificate/key_since", "certificate/not_before"]
	],
	[{"op": "replace", "path": sprintf("/attestation/%s", [path]), "value": value} |
		some path, value in {
			"secure_boot": {"known": true, "enabled": true},
			"ima": {"given": true, "replayed": true, "entries": 3, "violations": 0},
		}
	],
))

test_old_documents_decide_as_before if verdict(old) == "compliant"

# Asked for what they do not know, they are undecided: neither pass nor failure.
test_old_documents_do_not_pass_what_they_do_not_know if {
	answer := posture.decision with input as old with data.config as strict
	answer.verdict == "error"
	having(answer, "error") == (advised - {"firmware-latest"}) | {
		"agent-current",
		"boot-authorities",
		"boot-command-line",
		"boot-dbx",
		"boot-keys",
		"boot-mok",
		"boot-option-roms",
		"boot-sbat",
		"certificate-short-lived",
		"client-key-rotated",
		"device-certified",
		"ima-boot-aggregate",
		"ima-known-files",
		"listeners-listed",
		"restarted-in-time",
	}
}

test_a_failure_is_noncompliant if verdict(set_to({"/attestation/secure_boot/enabled": false})) == "noncompliant"

test_a_failure_outweighs_an_error if {
	verdict(json.patch(good, [
		{"op": "replace", "path": "/attestation/secure_boot/enabled", "value": false},
		{"op": "remove", "path": "/update"},
	])) == "noncompliant"
}

test_an_error_is_an_error if verdict(without("/update")) == "error"

test_no_input_is_no_pass if {
	answer := posture.decision with input as {"now": "2026-03-01T12:00:00Z"} with data.config as strict
	answer.verdict == "error"
	having(answer, "error") == ours - {"boot-shim-verifies"} # which event-log speaks for
	every control in answer.controls {
		control.outcome != "pass"
	}
}

test_no_input_at_all_is_no_pass if {
	not posture.decision.verdict == "compliant" with input as {}
}

test_no_controls_is_an_error if {
	posture.verdict == "error" with posture.controls as set() with input as good
}

test_nothing_that_applies_is_an_error if {
	posture.verdict == "error" with posture.controls as {{"id": "x", "outcome": "not_applicable"}} with input as good
}

test_an_unknown_outcome_is_an_error if {
	posture.verdict == "error" with posture.controls as {{"id": "x", "outcome": "fine"}} with input as good
}

# Nothing that evidence says counts before the evidence has verified.
test_unverified_evidence_proves_nothing if {
	answer := decide(set_to({"/attestation/verified": false}))
	answer.verdict == "noncompliant"
	having(answer, "pass") == {"certificate-current", "tpm-endorsed", "update-healthy"}
}

test_failure_begins_now if {
	control := result("secure-boot", set_to({"/attestation/secure_boot/enabled": false}))
	control.since == "2026-03-01T12:00:00Z"
	control.enforced_at == "2026-03-01T12:00:00Z"
}

test_failure_keeps_its_beginning if {
	control := result("secure-boot", set_to({
		"/attestation/secure_boot/enabled": false,
		"/failing_since": {"secure-boot": "2026-02-01T00:00:00Z"},
	}))
	control.since == "2026-02-01T00:00:00Z"
	control.enforced_at == "2026-02-01T00:00:00Z"
}

test_failure_in_the_future_begins_now if {
	control := result("firmware-current", set_to({
		"/firmware/latest_security_counter": 4,
		"/failing_since": {"firmware-current": "2030-01-01T00:00:00Z"},
	}))
	control.since == "2026-03-01T12:00:00Z"
}

test_failure_within_grace_is_compliant if {
	facts := set_to({"/firmware/latest_security_counter": 4})
	control := result("firmware-current", facts)
	control.outcome == "fail"
	control.enforced_at == "2026-03-15T12:00:00Z"
	verdict(facts) == "compliant"
}

test_grace_ends_at_its_instant if {
	verdict(set_to({
		"/firmware/latest_security_counter": 4,
		"/failing_since": {"firmware-current": "2026-02-15T12:00:00.000000001Z"},
	})) == "compliant"
	verdict(set_to({
		"/firmware/latest_security_counter": 4,
		"/failing_since": {"firmware-current": "2026-02-15T12:00:00Z"},
	})) == "noncompliant"
}

test_an_error_has_no_grace if {
	control := result("firmware-current", set_to({"/firmware/known": false}))
	control.outcome == "error"
	control.enforced_at == control.since
}

test_an_advisory_finding_counts_for_nothing if {
	facts := host_with({"kernel/kptr_restrict": 0})
	control := result("kernel-addresses-hidden", facts)
	control.outcome == "fail"
	control.advisory == true
	control.since == "2026-03-01T12:00:00Z"
	not control.enforced_at
	verdict(facts) == "compliant"
}

test_an_advisory_error_counts_for_nothing if {
	facts := without("/host")
	result("kernel-addresses-hidden", facts).advisory == true
	verdict(facts) == "compliant"
}

# Only the word itself makes a control advisory.
test_a_control_is_enforced_unless_data_says_otherwise if {
	facts := host_with({"kernel/kptr_restrict": 0})
	every mode in [{}, {"kernel-addresses-hidden": "enforced"}, {"kernel-addresses-hidden": "Advisory"}] {
		control := under({"controls": {"mode": mode}}, "kernel-addresses-hidden", facts)
		control.enforced_at == "2026-03-01T12:00:00Z"
	}
}
