package troth.posture_test

test_kernel_addresses_hidden_pass if outcome("kernel-addresses-hidden", good) == "pass"

test_kernel_addresses_hidden_fail if outcome("kernel-addresses-hidden", host_with({"kernel/kptr_restrict": 0})) == "fail"

test_kernel_addresses_hidden_missing if outcome("kernel-addresses-hidden", host_without("kernel/kptr_restrict")) == "error"

test_kernel_addresses_hidden_pass_2 if outcome("kernel-addresses-hidden", host_with({"kernel/kptr_restrict": 1})) == "pass"

test_kernel_log_restricted_pass if outcome("kernel-log-restricted", good) == "pass"

test_kernel_log_restricted_fail if outcome("kernel-log-restricted", host_with({"kernel/dmesg_restrict": 0})) == "fail"

test_kernel_log_restricted_missing if outcome("kernel-log-restricted", host_without("kernel/dmesg_restrict")) == "error"

test_bpf_restricted_pass if outcome("bpf-restricted", good) == "pass"

test_bpf_restricted_fail if outcome("bpf-restricted", host_with({"kernel/unprivileged_bpf_disabled": 0})) == "fail"

test_bpf_restricted_missing if outcome("bpf-restricted", host_without("kernel/unprivileged_bpf_disabled")) == "error"

test_bpf_restricted_pass_2 if outcome("bpf-restricted", host_with({"kernel/unprivileged_bpf_disabled": 1})) == "pass"

test_ptrace_restricted_pass if outcome("ptrace-restricted", good) == "pass"

test_ptrace_restricted_fail if outcome("ptrace-restricted", host_with({"kernel/ptrace_scope": 0})) == "fail"

test_ptrace_restricted_missing if outcome("ptrace-restricted", host_without("kernel/ptrace_scope")) == "error"

test_ptrace_restricted_pass_2 if outcome("ptrace-restricted", host_with({"kernel/ptrace_scope": 1})) == "pass"

test_ptrace_restricted_pass_3 if outcome("ptrace-restricted", host_with({"kernel/ptrace_scope": 3})) == "pass"

test_address_space_randomised_pass if outcome("address-space-randomised", good) == "pass"

test_address_space_randomised_fail if outcome("address-space-randomised", host_with({"kernel/randomize_va_space": 0})) == "fail"

test_address_space_randomised_missing if outcome("address-space-randomised", host_without("kernel/randomize_va_space")) == "error"

test_address_space_randomised_fail_2 if outcome("address-space-randomised", host_with({"kernel/randomize_va_space": 1})) == "fail"

test_privileged_dumps_off_pass if outcome("privileged-dumps-off", good) == "pass"

test_privileged_dumps_off_fail if outcome("privileged-dumps-off", host_with({"kernel/suid_dumpable": 1})) == "fail"

test_privileged_dumps_off_missing if outcome("privileged-dumps-off", host_without("kernel/suid_dumpable")) == "error"

test_privileged_dumps_off_pass_2 if outcome("privileged-dumps-off", host_with({"kernel/suid_dumpable": 2})) == "pass"

test_sysrq_restricted_pass if outcome("sysrq-restricted", good) == "pass"

test_sysrq_restricted_fail if outcome("sysrq-restricted", host_with({"kernel/sysrq": 1})) == "fail"

test_sysrq_restricted_missing if outcome("sysrq-restricted", host_without("kernel/sysrq")) == "error"

test_sysrq_restricted_pass_2 if outcome("sysrq-restricted", host_with({"kernel/sysrq": 176})) == "pass"

test_sysrq_restricted_fail_2 if outcome("sysrq-restricted", host_with({"kernel/sysrq": 438})) == "fail"

test_tmp_hardened_pass if outcome("tmp-hardened", good) == "pass"

test_tmp_hardened_fail if outcome("tmp-hardened", host_with({"volumes/tmp/nosuid": false})) == "fail"

test_tmp_hardened_missing if outcome("tmp-hardened", host_without("volumes/tmp")) == "error"

test_tmp_hardened_fail_on_the_root if outcome("tmp-hardened", host_with({"volumes/tmp/mount": "/"})) == "fail"

test_usb_guarded_pass if outcome("usb-guarded", good) == "pass"

test_usb_guarded_fail if outcome("usb-guarded", host_with({"usb/accepts": true})) == "fail"

test_usb_guarded_missing if outcome("usb-guarded", host_with({"usb/known": false})) == "error"

test_serial_login_off_pass if outcome("serial-login-off", good) == "pass"

test_serial_login_off_fail if outcome("serial-login-off", host_with({"consoles/serial": ["ttyS0"]})) == "fail"

test_serial_login_off_missing if outcome("serial-login-off", host_with({"consoles/known": false})) == "error"
