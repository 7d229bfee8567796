package troth.posture_test

test_firmware_known_pass if outcome("firmware-known", good) == "pass"

test_firmware_known_fail if {
	facts := set_to({"/firmware/known": false, "/firmware/version": "", "/firmware/mismatches": [4]})
	outcome("firmware-known", facts) == "fail"
	reason("firmware-known", facts) == "PCR 4 (boot loader) differs from every published release."
	verdict(facts) == "noncompliant"
}

test_firmware_known_fail_names_all_pcrs if {
	facts := set_to({"/firmware/known": false, "/firmware/mismatches": [9, 0, 8, 7]})
	reason("firmware-known", facts) == concat("", [
		"PCR 0 (firmware), PCR 7 (Secure Boot policy), PCR 8 (command line) and PCR 9 (kernel)",
		" differ from every published release.",
	])
}

test_firmware_known_fail_without_releases if {
	facts := set_to({"/firmware/known": false, "/firmware/latest_version": ""})
	reason("firmware-known", facts) == `No release is published for the model "gw-100".`
}

test_firmware_known_fail_without_mismatches if {
	reason("firmware-known", set_to({"/firmware/known": false})) == "The PCRs match no published release."
}

test_firmware_known_missing if outcome("firmware-known", without("/firmware")) == "error"

test_firmware_known_missing_version if outcome("firmware-known", set_to({"/firmware/version": ""})) == "error"

# Known, and yet PCRs differ: facts that contradict each other.
test_firmware_known_missing_agreement if outcome("firmware-known", set_to({"/firmware/mismatches": [4]})) == "error"

test_firmware_current_pass if outcome("firmware-current", good) == "pass"

# An older release will do as long as no security release came after it.
test_firmware_current_pass_behind_a_feature_release if {
	outcome("firmware-current", set_to({"/firmware/latest_counter": 9, "/firmware/latest_version": "2.0.0"})) == "pass"
}

test_firmware_current_fail if {
	facts := set_to({"/firmware/latest_security_counter": 4, "/firmware/latest_version": "1.3.0"})
	outcome("firmware-current", facts) == "fail"
	contains(reason("firmware-current", facts), "Firmware 1.2.0 (release 3) is older than the latest security release (4)")
}

test_firmware_current_missing if outcome("firmware-current", without("/firmware/counter")) == "error"

test_firmware_current_missing_release if outcome("firmware-current", set_to({"/firmware/known": false})) == "error"

test_firmware_reported_pass if outcome("firmware-reported", good) == "pass"

test_firmware_reported_fail if {
	facts := set_to({"/firmware/reported": "9.9.9"})
	outcome("firmware-reported", facts) == "fail"
	reason("firmware-reported", facts) == `The device reports firmware "9.9.9" but runs 1.2.0.`
}

test_firmware_reported_fail_when_silent if outcome("firmware-reported", set_to({"/firmware/reported": ""})) == "fail"

test_firmware_reported_missing if outcome("firmware-reported", without("/firmware/reported")) == "error"

test_firmware_reported_missing_release if outcome("firmware-reported", set_to({"/firmware/known": false})) == "error"
