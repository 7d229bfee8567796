package troth.posture_test

test_kernel_lockdown_pass if outcome("kernel-lockdown", good) == "pass"

test_kernel_lockdown_fail if outcome("kernel-lockdown", host_with({"kernel/lockdown": "none"})) == "fail"

test_kernel_lockdown_missing if outcome("kernel-lockdown", host_without("kernel/lockdown")) == "error"

test_kernel_lockdown_pass_2 if outcome("kernel-lockdown", host_with({"kernel/lockdown": "confidentiality"})) == "pass"

test_kernel_modules_signed_pass if outcome("kernel-modules-signed", good) == "pass"

test_kernel_modules_signed_pass_by_lockdown if outcome("kernel-modules-signed", host_with({"kernel/module_sig_enforce": false})) == "pass"

test_kernel_modules_signed_pass_when_none_are_loaded if outcome("kernel-modules-signed", host_with({"kernel/module_sig_enforce": false, "kernel/modules_disabled": 1, "kernel/lockdown": "none"})) == "pass"

test_kernel_modules_signed_fail if outcome("kernel-modules-signed", host_with({"kernel/module_sig_enforce": false, "kernel/lockdown": "none"})) == "fail"

test_kernel_modules_signed_missing if outcome("kernel-modules-signed", host_without("kernel")) == "error"

test_kernel_untainted_pass if outcome("kernel-untainted", good) == "pass"

test_kernel_untainted_fail if outcome("kernel-untainted", host_with({"kernel/tainted": 8192})) == "fail"

test_kernel_untainted_missing if outcome("kernel-untainted", host_without("kernel/tainted")) == "error"

test_kernel_untainted_pass_2 if outcome("kernel-untainted", host_with({"kernel/tainted": 512})) == "pass"

test_kernel_untainted_fail_2 if outcome("kernel-untainted", host_with({"kernel/tainted": 2})) == "fail"

test_kernel_untainted_fail_3 if outcome("kernel-untainted", host_with({"kernel/tainted": 8})) == "fail"

test_kexec_disabled_pass if outcome("kexec-disabled", good) == "pass"

test_kexec_disabled_fail if outcome("kexec-disabled", host_with({"kernel/kexec_load_disabled": 0})) == "fail"

test_kexec_disabled_missing if outcome("kexec-disabled", host_without("kernel/kexec_load_disabled")) == "error"

test_mandatory_access_control_pass if outcome("mandatory-access-control", good) == "pass"

test_mandatory_access_control_fail if outcome("mandatory-access-control", host_with({"kernel/lsms": ["capability", "yama"]})) == "fail"

test_mandatory_access_control_missing if outcome("mandatory-access-control", host_without("kernel/lsms")) == "error"
