package troth.posture_test

test_client_key_rotated_not_applicable if outcome("client-key-rotated", good) == "not_applicable"

test_client_key_rotated_pass if strictly("client-key-rotated", good) == "pass"

test_client_key_rotated_fail if {
	strictly("client-key-rotated", set_to({"/certificate/key_since": "2025-01-01T00:00:00Z"})) == "fail"
}

test_client_key_rotated_missing if strictly("client-key-rotated", without("/certificate/key_since")) == "error"

test_client_key_rotated_missing_setting if {
	under(with_setting("certificates", "key_max_age_seconds", "1"), "client-key-rotated", good).outcome == "error"
}

test_certificate_short_lived_not_applicable if outcome("certificate-short-lived", good) == "not_applicable"

test_certificate_short_lived_pass if strictly("certificate-short-lived", good) == "pass"

test_certificate_short_lived_fail if {
	strictly("certificate-short-lived", set_to({"/certificate/not_before": "2026-01-01T00:00:00Z"})) == "fail"
}

test_certificate_short_lived_missing if strictly("certificate-short-lived", without("/certificate/not_before")) == "error"

test_certificate_short_lived_missing_setting if {
	under(with_setting("certificates", "max_lifetime_seconds", "1"), "certificate-short-lived", good).outcome == "error"
}
