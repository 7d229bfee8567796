package troth.posture_test

test_tpm_endorsed_pass if outcome("tpm-endorsed", good) == "pass"

test_tpm_endorsed_fail if outcome("tpm-endorsed", set_to({"/endorsement/manufacturer": ""})) == "fail"

test_tpm_endorsed_missing if outcome("tpm-endorsed", without("/endorsement")) == "error"

test_device_certified_not_applicable if outcome("device-certified", good) == "not_applicable"

test_device_certified_pass if strictly("device-certified", good) == "pass"

test_device_certified_fail if strictly("device-certified", set_to({"/endorsement/devid": ""})) == "fail"

test_device_certified_missing if strictly("device-certified", without("/endorsement")) == "error"

test_device_certified_missing_setting if {
	under(with_setting("enroll", "require_idevid", "yes"), "device-certified", good).outcome == "error"
}
