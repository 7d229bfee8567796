package troth.posture_test

test_ssh_root_login_off_pass if outcome("ssh-root-login-off", good) == "pass"

test_ssh_root_login_off_fail if outcome("ssh-root-login-off", host_with({"ssh/permit_root_login": "prohibit-password"})) == "fail"

test_ssh_root_login_off_missing if outcome("ssh-root-login-off", host_with({"ssh/known": false})) == "error"

test_ssh_root_login_off_pass_without_server if outcome("ssh-root-login-off", host_with({"ssh": {"known": true, "installed": false}})) == "pass"

test_ssh_password_login_off_pass if outcome("ssh-password-login-off", good) == "pass"

test_ssh_password_login_off_pass_without_server if outcome("ssh-password-login-off", host_with({"ssh": {"known": true, "installed": false}})) == "pass"

test_ssh_password_login_off_fail if outcome("ssh-password-login-off", host_with({"ssh/password_authentication": "yes"})) == "fail"

test_ssh_password_login_off_fail_by_keyboard if outcome("ssh-password-login-off", host_with({"ssh/kbd_interactive_authentication": "yes"})) == "fail"

test_ssh_password_login_off_missing if outcome("ssh-password-login-off", host_with({"ssh/known": false})) == "error"

test_ssh_password_login_off_missing_value if outcome("ssh-password-login-off", host_without("ssh/password_authentication")) == "error"

test_no_empty_passwords_pass if outcome("no-empty-passwords", good) == "pass"

test_no_empty_passwords_fail if outcome("no-empty-passwords", host_with({"accounts/passwordless": ["guest"]})) == "fail"

test_no_empty_passwords_missing if outcome("no-empty-passwords", host_with({"accounts/known": false})) == "error"

test_no_empty_passwords_missing_shadow if outcome("no-empty-passwords", host_with({"accounts/shadow": false})) == "error"

test_single_superuser_pass if outcome("single-superuser", good) == "pass"

test_single_superuser_fail if outcome("single-superuser", host_with({"accounts/superusers": ["root", "toor"]})) == "fail"

test_single_superuser_missing if outcome("single-superuser", host_with({"accounts/known": false})) == "error"
