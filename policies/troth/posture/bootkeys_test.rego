package troth.posture_test

test_boot_keys_not_applicable if outcome("boot-keys", good) == "not_applicable"

test_boot_keys_pass if strictly("boot-keys", good) == "pass"

test_boot_keys_fail if {
	facts := set_to({"/attestation/secure_boot/kek": ["6e"]})
	strictly("boot-keys", facts) == "fail"
	strict_reason("boot-keys", facts) == `The firmware trusts 1 key that is not listed, for one "6e".`
}

test_boot_keys_fail_without_log if strictly("boot-keys", set_to({"/attestation/secure_boot/known": false})) == "fail"

test_boot_keys_missing_dbs if strictly("boot-keys", without("/attestation/secure_boot/db")) == "error"

test_boot_keys_missing if strictly("boot-keys", without("/attestation/secure_boot/pk")) == "error"

test_boot_keys_missing_some if strictly("boot-keys", set_to({"/attestation/secure_boot/cut": ["db"]})) == "error"

test_boot_keys_missing_setting if {
	every value in ["da", []] {
		under(with_setting("boot", "keys", value), "boot-keys", good).outcome == "error"
	}
}

test_boot_keys_missing_proof if strictly("boot-keys", set_to({"/attestation/verified": false})) == "error"

test_boot_shim_verifies_pass if outcome("boot-shim-verifies", good) == "pass"

test_boot_shim_verifies_not_applicable if outcome("boot-shim-verifies", set_to({"/attestation/boot/known": false})) == "not_applicable"

test_boot_shim_verifies_fail if outcome("boot-shim-verifies", set_to({"/attestation/boot/shim": [{"pcr": 14, "name": "MokSBState", "digest": "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"}]})) == "fail"

test_boot_shim_verifies_missing if outcome("boot-shim-verifies", without("/attestation/boot/shim")) == "error"

test_boot_shim_verifies_missing_proof if outcome("boot-shim-verifies", set_to({"/attestation/verified": false})) == "error"

test_boot_handover_pass if outcome("boot-handover", good) == "pass"

test_boot_handover_fail if outcome("boot-handover", set_to({"/attestation/boot/exit_boot_services/succeeded": false})) == "fail"

test_boot_handover_missing if outcome("boot-handover", without("/attestation/boot/exit_boot_services")) == "error"

test_boot_handover_missing_proof if outcome("boot-handover", set_to({"/attestation/verified": false})) == "error"
