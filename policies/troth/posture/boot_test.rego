package troth.posture_test

test_secure_boot_pass if outcome("secure-boot", good) == "pass"

test_secure_boot_fail if outcome("secure-boot", set_to({"/attestation/secure_boot/enabled": false})) == "fail"

test_secure_boot_fail_when_not_known if {
	outcome("secure-boot", set_to({"/attestation/secure_boot": {"known": false, "enabled": true}})) == "fail"
}

test_secure_boot_missing if outcome("secure-boot", without("/attestation/secure_boot")) == "error"

# Secure Boot as a log tells it is worth nothing if the log does not replay.
test_secure_boot_missing_replay if {
	outcome("secure-boot", set_to({"/attestation/event_log/replayed": false})) == "error"
}

test_secure_boot_fail_in_debug_mode if {
	facts := set_to({"/attestation/secure_boot/debug_mode": true})
	reason("secure-boot", facts) == "The firmware is in UEFI debug mode."
}

test_secure_boot_fail_in_setup_mode if {
	facts := set_to({"/attestation/secure_boot/setup_mode": true})
	contains(reason("secure-boot", facts), "setup mode")
}

test_event_log_pass if outcome("event-log", good) == "pass"

test_event_log_fail if {
	facts := set_to({"/attestation/event_log": {"given": false, "replayed": false, "unexplained_pcrs": []}})
	outcome("event-log", facts) == "fail"
	reason("event-log", facts) == "The device sent no event log."
}

test_event_log_fail_when_not_replayed if {
	outcome("event-log", set_to({"/attestation/event_log/replayed": false})) == "fail"
}

test_event_log_missing if outcome("event-log", without("/attestation/event_log")) == "error"

test_no_unexplained_pcrs_pass if outcome("no-unexplained-pcrs", good) == "pass"

test_no_unexplained_pcrs_fail if {
	facts := set_to({"/attestation/event_log/unexplained_pcrs": [9, 4, 23]})
	outcome("no-unexplained-pcrs", facts) == "fail"
	reason("no-unexplained-pcrs", facts) == "No event explains the value of PCR 4 (boot loader), PCR 9 (kernel) and PCR 23."
}

test_no_unexplained_pcrs_fail_without_log if {
	facts := set_to({"/attestation/event_log": {"given": false, "replayed": false, "unexplained_pcrs": []}})
	outcome("no-unexplained-pcrs", facts) == "fail"
}

test_no_unexplained_pcrs_missing if {
	outcome("no-unexplained-pcrs", without("/attestation/event_log/unexplained_pcrs")) == "error"
}
