package troth.posture_test

line(text) := set_to({"/attestation/boot/command_lines": [
	{"pcr": 8, "text": sprintf("/vmlinuz ima_policy=tcb ro %s", [text]), "digest": "0b", "verified": true},
	{"pcr": 9, "text": "", "digest": "0c", "verified": false},
]})

line_reason(text) := strict_reason("boot-command-line", line(text))

test_boot_command_line_pass if strictly("boot-command-line", good) == "pass"

test_boot_command_line_pass_with_one_setting if {
	only := {"boot": {"command_line_forbidden": ["single"]}}
	under(only, "boot-command-line", line("")).outcome == "pass"
	under(only, "boot-command-line", line("single")).outcome == "fail"
}

test_boot_command_line_fail if line_reason("init=/bin/sh") == `The kernel command line has "init=/bin/sh".`

test_boot_command_line_fail_forbidden if {
	every text in [`init="/bin/sh"`, `"init=/bin/sh"`, "x\u00a0init=/bin/sh", "a\tsingle", `b="c single"`] {
		strictly("boot-command-line", line(text)) == "fail"
	}
}

test_boot_command_line_pass_near_misses if {
	every text in ["rdinit=/bin/sh", "singleton", "x.init", "single=1"] {
		strictly("boot-command-line", line(text)) == "pass"
	}
}

test_boot_command_line_fail_lacking if {
	every text in ["/vmlinuz ro", "/vmlinuz ro x=\"y ima_policy=tcb\"", "/vmlinuz ro -- ima_policy=tcb", "/vmlinuz ro xima_policy=tcb"] {
		facts := set_to({"/attestation/boot/command_lines/0/text": text})
		strict_reason("boot-command-line", facts) == `The kernel command line lacks "ima-policy=tcb".`
	}
}

test_boot_command_line_fail_contradicted if {
	line_reason("ima_policy=none") == `The kernel command line has "ima_policy=none" beside the value that is required.`
	line_reason("ima-policy") == `The kernel command line has "ima_policy" beside the value that is required.`
}

# Every line counts, whichever one the kernel was started with.
test_boot_command_line_fail_second_line if {
	facts := json.patch(good, [{
		"op": "add",
		"path": "/attestation/boot/command_lines/-",
		"value": {"pcr": 8, "text": "/vmlinuz ro", "digest": "0e", "verified": true},
	}])
	strictly("boot-command-line", facts) == "fail"
}

# What is only claimed does not count.
test_boot_command_line_fail_unverified if {
	facts := set_to({"/attestation/boot/command_lines/0/verified": false})
	strict_reason("boot-command-line", facts) == "No kernel command line is verified."
}

test_boot_command_line_fail_incomplete if {
	strictly("boot-command-line", set_to({"/attestation/boot/complete": ["shim"]})) == "fail"
}

test_boot_command_line_fail_without_log if strictly("boot-command-line", set_to({"/attestation/boot/known": false})) == "fail"

test_boot_command_line_missing if strictly("boot-command-line", without("/attestation/boot")) == "error"

test_boot_command_line_missing_completeness if strictly("boot-command-line", without("/attestation/boot/complete")) == "error"

test_boot_command_line_missing_proof if strictly("boot-command-line", set_to({"/attestation/verified": false})) == "error"

test_boot_command_line_missing_setting if {
	under(with_setting("boot", "command_line_required", "ro"), "boot-command-line", good).outcome == "error"
	under(with_setting("boot", "command_line_forbidden", [1]), "boot-command-line", good).outcome == "error"
	under({"boot": {"command_line_required": []}}, "boot-command-line", good).outcome == "error"
}
