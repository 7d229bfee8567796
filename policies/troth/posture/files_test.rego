package troth.posture_test

test_ima_known_files_pass if {
	outcome("ima-known-files", good) == "pass"
	strictly("ima-known-files", good) == "pass"
}

test_ima_known_files_fail if {
	facts := set_to({
		"/attestation/ima/unknown": 2,
		"/attestation/ima/unknown_files": [{"name": "/tmp/x", "digest": "sha256:0f", "reason": "not_allowed"}],
	})
	outcome("ima-known-files", facts) == "fail"
	reason("ima-known-files", facts) == `2 files ran that nothing vouches for, for one "/tmp/x".`
}

test_ima_known_files_fail_without_names if {
	reason("ima-known-files", set_to({"/attestation/ima/unknown": 1})) == "1 file ran that nothing vouches for."
}

# Nothing unknown among files that nobody judged is not good news.
test_ima_known_files_fail_not_judged if {
	facts := set_to({"/attestation/ima/judged_by": ""})
	strictly("ima-known-files", facts) == "fail"
	outcome("ima-known-files", facts) == "not_applicable"
}

test_ima_known_files_missing if {
	strictly("ima-known-files", without("/attestation/ima")) == "error"
	outcome("ima-known-files", without("/attestation/ima/unknown")) == "error"
}

test_ima_known_files_missing_proof if outcome("ima-known-files", set_to({"/attestation/verified": false})) == "error"

test_ima_known_files_missing_setting if {
	under(with_setting("ima", "require_allow_list", "yes"), "ima-known-files", good).outcome == "error"
}

test_ima_boot_aggregate_pass if strictly("ima-boot-aggregate", good) == "pass"

test_ima_boot_aggregate_fail if {
	every value in ["mismatch", "absent", "unknown"] {
		strictly("ima-boot-aggregate", set_to({"/attestation/ima/boot_aggregate": value})) == "fail"
	}
}

test_ima_boot_aggregate_fail_without_list if strictly("ima-boot-aggregate", set_to({"/attestation/ima/given": false})) == "fail"

test_ima_boot_aggregate_missing if {
	strictly("ima-boot-aggregate", set_to({"/attestation/ima/boot_aggregate": ""})) == "error"
	strictly("ima-boot-aggregate", without("/attestation/ima")) == "error"
}

test_ima_boot_aggregate_missing_proof if strictly("ima-boot-aggregate", set_to({"/attestation/verified": false})) == "error"

test_ima_boot_aggregate_missing_setting if {
	under(with_setting("ima", "require_boot_aggregate", 1), "ima-boot-aggregate", good).outcome == "error"
}
