package troth.posture_test

test_firmware_latest_pass if outcome("firmware-latest", good) == "pass"

test_firmware_latest_fail if outcome("firmware-latest", set_to({"/firmware/latest_counter": 4})) == "fail"

test_firmware_latest_missing if outcome("firmware-latest", set_to({"/firmware/known": false})) == "error"

test_firmware_latest_missing_proof if outcome("firmware-latest", set_to({"/attestation/verified": false})) == "error"

test_firmware_latest_missing_counter if outcome("firmware-latest", without("/firmware/latest_counter")) == "error"

test_firmware_floor_not_applicable if outcome("firmware-floor", good) == "not_applicable"

test_firmware_floor_pass if strictly("firmware-floor", good) == "pass"

test_firmware_floor_fail if strictly("firmware-floor", set_to({"/firmware/counter": 1})) == "fail"

test_firmware_floor_missing if strictly("firmware-floor", set_to({"/firmware/known": false})) == "error"

test_firmware_floor_missing_counter if strictly("firmware-floor", without("/firmware/counter")) == "error"

test_firmware_floor_missing_proof if strictly("firmware-floor", set_to({"/attestation/verified": false})) == "error"

test_firmware_floor_not_applicable_to_others if strictly("firmware-floor", set_to({"/device/model": "other"})) == "not_applicable"

test_firmware_floor_missing_setting if {
	under({"firmware": {"minimum_counter": {"gw-100": "2"}}}, "firmware-floor", good).outcome == "error"
}

test_model_supported_not_applicable if outcome("model-supported", good) == "not_applicable"

test_model_supported_pass if strictly("model-supported", good) == "pass"

test_model_supported_fail if strictly("model-supported", set_to({"/now": "2031-01-01T00:00:00Z"})) == "fail"

test_model_supported_missing if strictly("model-supported", without("/device/model")) == "error"

test_model_supported_not_applicable_to_others if strictly("model-supported", set_to({"/device/model": "other"})) == "not_applicable"

test_model_supported_missing_setting if {
	every value in [{"gw-100": 2030}, "2030", {"gw-100": "soon"}] {
		under({"firmware": {"support_ends": value}}, "model-supported", good).outcome == "error"
	}
}
