package troth.posture_test

test_root_tamper_proof_pass if outcome("root-tamper-proof", good) == "pass"

test_root_tamper_proof_fail if outcome("root-tamper-proof", host_with({"volumes/root/backing": "plain"})) == "fail"

test_root_tamper_proof_missing if outcome("root-tamper-proof", host_without("volumes/root/backing")) == "error"

test_data_encrypted_pass if outcome("data-encrypted", good) == "pass"

test_data_encrypted_fail if outcome("data-encrypted", host_with({"volumes/data/backing": "plain"})) == "fail"

test_data_encrypted_missing if outcome("data-encrypted", host_without("volumes/data/backing")) == "error"

test_swap_encrypted_pass if outcome("swap-encrypted", good) == "pass"

test_swap_encrypted_pass_when_encrypted if outcome("swap-encrypted", host_with({"swap": {"known": true, "active": true, "encrypted": true}})) == "pass"

test_swap_encrypted_fail if outcome("swap-encrypted", host_with({"swap": {"known": true, "active": true, "encrypted": false}})) == "fail"

test_swap_encrypted_missing if outcome("swap-encrypted", host_with({"swap/known": false})) == "error"

test_data_mount_hardened_pass if outcome("data-mount-hardened", good) == "pass"

test_data_mount_hardened_fail if outcome("data-mount-hardened", host_with({"volumes/data/nosuid": false})) == "fail"

test_data_mount_hardened_missing if outcome("data-mount-hardened", host_without("volumes/data/nosuid")) == "error"
