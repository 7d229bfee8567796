package troth.lib_test

import data.troth.lib

test_listed if {
	lib.listed([]) == ""
	lib.listed(["a"]) == "a"
	lib.listed(["a", "b"]) == "a and b"
	lib.listed(["a", "b", "c"]) == "a, b and c"
}

test_pcrs if {
	lib.pcr(7) == "PCR 7 (Secure Boot policy)"
	lib.pcr(20) == "PCR 20"
	lib.pcrs([8, 0]) == "PCR 0 (firmware) and PCR 8 (command line)"
}

test_counted if {
	lib.counted(0, "entry", "entries") == "0 entries"
	lib.counted(1, "entry", "entries") == "1 entry"
}

test_quoted_cuts_and_escapes if {
	lib.quoted("a\n") == `"a\n"`
	count(lib.quoted(concat("", [c | some _ in numbers.range(1, 200); c := "x"]))) == 66
}

test_setting_number if {
	lib.setting_number("s", "k", 5) == 5 with data.config as {}
	lib.setting_number("s", "k", 5) == 7 with data.config as {"s": {"k": 7}}
}

test_setting_of_wrong_type_has_no_value if {
	not lib.setting_number("s", "k", 5) with data.config as {"s": {"k": "7"}}
	not lib.setting_number("s", "k", 5) with data.config as {"s": {"k": -1}}
	not lib.setting_number("s", "k", 5) with data.config as {"s": {"k": false}}
	not lib.setting_boolean("s", "k", true) with data.config as {"s": {"k": "true"}}
}

test_setting_boolean if {
	lib.setting_boolean("s", "k", true) == true with data.config as {}
	lib.setting_boolean("s", "k", true) == false with data.config as {"s": {"k": false}}
}

test_setting_words if {
	lib.setting_words("s", "k") == ["a"] with data.config as {"s": {"k": ["a"]}}
	lib.setting_words("s", "k") == [] with data.config as {"s": {"k": []}}
	not lib.setting_words("s", "k") with data.config as {"s": {"k": ["a", 1]}}
	not lib.setting_words("s", "k") with data.config as {"s": {"k": "a"}}
	not lib.setting_words("s", "k") with data.config as {}
}

test_configured if {
	lib.configured("s", "k") with data.config as {"s": {"k": false}}
	not lib.configured("s", "k") with data.config as {"s": {}}
}

test_kernel_parameters if {
	lib.parameters("/vmlinuz root=/dev/sda  ro\tquiet") == ["/vmlinuz", "root=/dev/sda", "ro", "quiet"]
	lib.parameters("") == []

	# The kernel takes a dash in a name for an underscore, and keeps one in a value.
	lib.parameters("ima-policy=a-b ro") == ["ima_policy=a-b", "ro"]
}

# What stands in quotation marks is part of a value, and what follows -- is for
# init: neither tells the kernel anything.
test_parameters_that_count if {
	lib.effective_parameters(`a "b c" d="e f" g`) == ["a", "g"]
	lib.effective_parameters(`a b="c lockdown=integrity d`) == ["a"]
	lib.effective_parameters("a -- lockdown=integrity") == ["a"]
	lib.effective_parameters("") == []
}

# What may tell it something is read as widely as possible.
test_parameters_that_may_count if {
	lib.possible_parameters(`a "init=/bin/sh" in"it=b" c="d`) == {"a", "init=/bin/sh", "init=b", "c=d"}
	lib.possible_parameters("a\u00a0init=/bin/sh\ufffdb -- c") == {"a", "init=/bin/sh", "b", "__", "c"}
}

test_parameter_matches if {
	lib.parameter_matches("init=", "init=/bin/sh")
	lib.parameter_matches("ima-appraise=off", "ima_appraise=off")
	lib.parameter_matches("single", "single")
	not lib.parameter_matches("init=", "rdinit=/bin/sh")
	not lib.parameter_matches("single", "singleton")
	not lib.parameter_matches("single", "single=1")
}

test_control_of_an_unknown_finding_has_no_answer if {
	not lib.control({"custom": {"id": "x"}}, {"outcome": "fine", "reason": "r"}) with input as {"now": "2026-03-01T12:00:00Z"}
}

test_grace_of_the_finding_comes_first if {
	lib.grace({"custom": {"grace": "1h"}}, {"outcome": "fail", "grace": 5}) == 5
	lib.grace({"custom": {"grace": "1h"}}, {"outcome": "error", "grace": 5}) == 0
	lib.grace({"custom": {"grace": "1h"}}, {"outcome": "fail"}) == 3600000000000
}
