package troth.posture_test

test_ima_list_pass if {
	outcome("ima-list", good) == "pass"
	reason("ima-list", good) == "The IMA list replays to the quoted PCR 10."
}

test_ima_list_fail if outcome("ima-list", set_to({"/attestation/ima/given": false})) == "fail"

test_ima_list_fail_when_not_replayed if outcome("ima-list", set_to({"/attestation/ima/replayed": false})) == "fail"

test_ima_list_fail_when_empty if outcome("ima-list", set_to({"/attestation/ima/entries": 0})) == "fail"

test_ima_list_missing if outcome("ima-list", without("/attestation/ima")) == "error"

test_ima_no_violations_pass if outcome("ima-no-violations", good) == "pass"

test_ima_no_violations_fail if {
	facts := set_to({"/attestation/ima/violations": 1})
	outcome("ima-no-violations", facts) == "fail"
	reason("ima-no-violations", facts) == "The IMA list has 1 violation."
}

test_ima_no_violations_fail_without_list if {
	outcome("ima-no-violations", set_to({"/attestation/ima/given": false})) == "fail"
}

test_ima_no_violations_missing if outcome("ima-no-violations", without("/attestation/ima/violations")) == "error"

test_clock_safe_pass if outcome("clock-safe", good) == "pass"

test_clock_safe_fail if {
	facts := set_to({"/attestation/clock/safe": false})
	outcome("clock-safe", facts) == "fail"
	result("clock-safe", facts).enforced_at == "2026-03-02T12:00:00Z"
	verdict(facts) == "compliant"
}

test_clock_safe_missing if outcome("clock-safe", without("/attestation/clock")) == "error"

test_clock_monotonic_pass if outcome("clock-monotonic", good) == "pass"

test_clock_monotonic_pass_after_reset if {
	outcome("clock-monotonic", set_to({"/attestation/clock": {
		"reset_count": 8,
		"restart_count": 0,
		"clock": 1,
		"safe": true,
	}})) == "pass"
}

test_clock_monotonic_pass_at_first if {
	outcome("clock-monotonic", set_to({"/previous/clock": {
		"reset_count": 0,
		"restart_count": 0,
		"clock": 0,
		"safe": false,
	}})) == "pass"
}

test_clock_monotonic_fail if {
	facts := set_to({"/attestation/clock/reset_count": 6})
	outcome("clock-monotonic", facts) == "fail"
	contains(reason("clock-monotonic", facts), "reset count went back from 7 to 6")
}

test_clock_monotonic_fail_restart if {
	contains(reason("clock-monotonic", set_to({"/attestation/clock/restart_count": 1})), "restart count went back from 2 to 1")
}

test_clock_monotonic_fail_clock if {
	contains(reason("clock-monotonic", set_to({"/attestation/clock/clock": 3999})), "clock went back from 4000 to 3999 ms")
}

test_clock_monotonic_fail_as_the_verifier_says if {
	facts := set_to({"/attestation/problems": ["reset_count_went_back", "event_unverified"]})
	reason("clock-monotonic", facts) == "The TPM's account of time went back: reset_count_went_back."
}

# A loss of power explains it; also a document without warnings has it as an error.
test_clock_monotonic_pass_with_a_warning if {
	facts := set_to({"/attestation/problems": ["clock_went_back"], "/attestation/warnings": ["clock_went_back"]})
	outcome("clock-monotonic", facts) == "pass"
}

test_clock_monotonic_missing if outcome("clock-monotonic", without("/previous")) == "error"

test_clock_monotonic_missing_count if outcome("clock-monotonic", without("/attestation/clock/restart_count")) == "error"
