package troth.posture_test

test_boot_dbx_pass if strictly("boot-dbx", good) == "pass"

test_boot_dbx_fail if {
	facts := set_to({"/attestation/secure_boot/dbx": ["d2"]})
	strictly("boot-dbx", facts) == "fail"
	strict_reason("boot-dbx", facts) == "dbx lacks 1 of 2 required entries, for one d1."
}

test_boot_dbx_fail_unknown if strictly("boot-dbx", set_to({"/attestation/secure_boot/known": false})) == "fail"

test_boot_dbx_missing if strictly("boot-dbx", without("/attestation/secure_boot/dbx")) == "error"

test_boot_dbx_missing_rest if {
	strictly("boot-dbx", set_to({"/attestation/secure_boot/dbx": ["d2"], "/attestation/secure_boot/cut": ["dbx"]})) == "error"
}

test_boot_dbx_missing_proof if strictly("boot-dbx", set_to({"/attestation/verified": false})) == "error"

# The placeholder of an empty dbx is there, and revokes nothing.
test_boot_dbx_missing_sense if {
	settings := with_setting("boot", "dbx_required", ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"])
	under(settings, "boot-dbx", good).outcome == "error"
}

test_boot_dbx_missing_setting if {
	every value in [[], "d1", ["d1", 1]] {
		under(with_setting("boot", "dbx_required", value), "boot-dbx", good).outcome == "error"
	}
}

test_boot_authorities_pass if {
	strict_reason("boot-authorities", good) == "Everything was verified by listed authorities, the boot loader by da."
}

test_boot_authorities_fail if {
	result := under(with_setting("boot", "authorities", ["da"]), "boot-authorities", good)
	result.outcome == "fail"
	result.reason == `An image was verified by "5a" of "MokListRT", which is not listed.`
}

test_boot_authorities_fail_without_secure_boot if {
	strictly("boot-authorities", set_to({"/attestation/secure_boot/enabled": false})) == "fail"
	strictly("boot-authorities", set_to({"/attestation/secure_boot/known": false})) == "fail"
}

# A listed fingerprint that db does not have vouches for nothing.
test_boot_authorities_fail_unverified if {
	contains(
		strict_reason("boot-authorities", set_to({"/attestation/boot/authorities/0/verified": false})),
		"does not tell of an entry of db",
	)
	strictly("boot-authorities", set_to({"/attestation/boot/authorities": []})) == "fail"
}

test_boot_authorities_missing if strictly("boot-authorities", without("/attestation/boot")) == "error"

test_boot_authorities_missing_rest if strictly("boot-authorities", set_to({"/attestation/boot/cut": ["authorities"]})) == "error"

test_boot_authorities_missing_proof if strictly("boot-authorities", set_to({"/attestation/verified": false})) == "error"

test_boot_authorities_missing_setting if under(with_setting("boot", "authorities", []), "boot-authorities", good).outcome == "error"

test_boot_option_roms_pass if strict_reason("boot-option-roms", good) == "PCR 2 holds 1 option ROM, all of them listed."

test_boot_option_roms_pass_without_any if {
	result := under(with_setting("boot", "option_roms", []), "boot-option-roms", set_to({"/attestation/boot/option_roms": []}))
	result.outcome == "pass"
}

test_boot_option_roms_fail if {
	result := under(with_setting("boot", "option_roms", []), "boot-option-roms", good)
	result.outcome == "fail"
	result.reason == "An option ROM is not listed: 0a."
}

test_boot_option_roms_fail_incomplete if {
	facts := set_to({"/attestation/boot/option_roms": [], "/attestation/boot/complete": ["shim"]})
	strictly("boot-option-roms", facts) == "fail"
}

test_boot_option_roms_fail_without_log if strictly("boot-option-roms", set_to({"/attestation/boot/known": false})) == "fail"

test_boot_option_roms_missing if strictly("boot-option-roms", without("/attestation/boot/complete")) == "error"

test_boot_option_roms_missing_proof if strictly("boot-option-roms", set_to({"/attestation/verified": false})) == "error"

test_boot_option_roms_missing_setting if under(with_setting("boot", "option_roms", "none"), "boot-option-roms", good).outcome == "error"

test_boot_mok_pass if strict_reason("boot-mok", good) == "shim's owner database has 1 variable, all of them listed."

test_boot_mok_pass_without_shim if {
	under(with_setting("boot", "mok", []), "boot-mok", set_to({"/attestation/boot/shim": []})).outcome == "pass"
}

test_boot_mok_fail if {
	result := under(with_setting("boot", "mok", []), "boot-mok", good)
	result.outcome == "fail"
	result.reason == `shim's owner database is not as listed: "MokList" is 0d.`
}

test_boot_mok_fail_incomplete if {
	strictly("boot-mok", set_to({"/attestation/boot/shim": [], "/attestation/boot/complete": []})) == "fail"
}

test_boot_mok_fail_without_log if strictly("boot-mok", set_to({"/attestation/boot/known": false})) == "fail"

test_boot_mok_missing if strictly("boot-mok", without("/attestation/boot")) == "error"

test_boot_mok_missing_proof if strictly("boot-mok", set_to({"/attestation/verified": false})) == "error"

test_boot_mok_missing_setting if under(with_setting("boot", "mok", [1]), "boot-mok", good).outcome == "error"

test_boot_sbat_pass if strict_reason("boot-sbat", good) == "The SBAT level is of 2025021800."

test_boot_sbat_fail if {
	facts := set_to({"/attestation/boot/sbat_level/text": "sbat,1,2021030218\n"})
	strict_reason("boot-sbat", facts) == "The SBAT level is of 2021030218, older than 2025021800."
}

test_boot_sbat_fail_otherwise if {
	strictly("boot-sbat", set_to({"/attestation/boot/known": false})) == "fail"
	strictly("boot-sbat", set_to({"/attestation/boot/sbat_level/known": false})) == "fail"
	strictly("boot-sbat", set_to({"/attestation/boot/sbat_level/verified": false})) == "fail"
	strictly("boot-sbat", set_to({"/attestation/boot/sbat_level/text": "shim,4\n"})) == "fail"
	strictly("boot-sbat", set_to({"/attestation/boot/sbat_level/text": "x\nsbat,1,2025021800\n"})) == "fail"
}

test_boot_sbat_missing if strictly("boot-sbat", without("/attestation/boot/sbat_level")) == "error"

test_boot_sbat_missing_proof if strictly("boot-sbat", set_to({"/attestation/verified": false})) == "error"

test_boot_sbat_missing_setting if under(with_setting("boot", "sbat_level", "2025021800"), "boot-sbat", good).outcome == "error"
