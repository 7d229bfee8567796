package troth.posture_test

test_attestation_verified_pass if outcome("attestation-verified", good) == "pass"

test_attestation_verified_pass_with_remarks if {
	facts := set_to({"/attestation/problems": ["ak_without_attributes"]})
	outcome("attestation-verified", facts) == "pass"
	contains(reason("attestation-verified", facts), "ak_without_attributes")
}

test_attestation_verified_fail if {
	facts := set_to({"/attestation/verified": false, "/attestation/problems": ["quote_signature", "pcr_digest"]})
	outcome("attestation-verified", facts) == "fail"
	reason("attestation-verified", facts) == "The evidence does not verify: pcr_digest and quote_signature."
}

test_attestation_verified_fail_without_problems if {
	outcome("attestation-verified", set_to({"/attestation/verified": false})) == "fail"
}

test_attestation_verified_missing if outcome("attestation-verified", without("/attestation")) == "error"

test_attestation_verified_missing_bool if outcome("attestation-verified", set_to({"/attestation/verified": "true"})) == "error"

test_certificate_current_pass if outcome("certificate-current", good) == "pass"

test_certificate_current_fail if {
	facts := set_to({"/certificate/not_after": "2026-03-01T12:30:00Z"})
	outcome("certificate-current", facts) == "fail"
	contains(reason("certificate-current", facts), "in 30 minutes")
}

test_certificate_current_fail_when_expired if {
	facts := set_to({"/certificate/not_after": "2026-03-01T12:00:00Z"})
	outcome("certificate-current", facts) == "fail"
	contains(reason("certificate-current", facts), "ended at")
}

test_certificate_current_missing if outcome("certificate-current", without("/certificate/not_after")) == "error"

test_certificate_current_by_config if {
	outcome("certificate-current", good) == "fail" with data.config.posture.certificate_min_remaining_seconds as 86400
}

# A setting of a wrong type is no setting, and without it nothing passes.
test_certificate_current_missing_setting if {
	outcome("certificate-current", good) == "error" with data.config.posture.certificate_min_remaining_seconds as "0"
}
