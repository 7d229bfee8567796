# Who can log in on the device, and how. In the device's own words.
package troth.posture

import data.troth.lib

# METADATA
# title: No root login over SSH
# description: >-
#   The SSH server lets nobody in as root, or there is none. Match blocks count by
#   their weakest value.
# scope: rule
# custom:
#   id: ssh-root-login-off
#   theme: credentials and rotation
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(d)"]
#     IEC 62443-4-2: ["CR 1.1", "CR 2.1"]
#     ETSI EN 303 645: ["5.6-7"]
#     NISTIR 8259A: ["Logical Access to Interfaces"]
#     NIST SP 800-213A: ["Logical Access to Interfaces"]
controls contains lib.control(rego.metadata.rule(), ssh_root_login_off)

ssh_root_login_off := {"outcome": "pass", "reason": "The device reports that nobody logs in as root over SSH."} if {
	proven
	ssh_root_login == "no"
} else := {"outcome": "fail", "reason": "The device reports that root can log in over SSH."} if {
	input.host.ssh.known == true
} else := unreported

ssh_root_login := "no" if {
	input.host.ssh.known == true
	input.host.ssh.installed == false
} else := input.host.ssh.permit_root_login if {
	input.host.ssh.known == true
}

# METADATA
# title: No passwords over SSH
# description: >-
#   The SSH server takes keys only: neither passwords nor keyboard-interactive
#   answers, which are passwords too. Or there is no server.
# scope: rule
# custom:
#   id: ssh-password-login-off
#   theme: credentials and rotation
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(d)"]
#     IEC 62443-4-2: ["CR 1.11"]
#     ETSI EN 303 645: ["5.1-5"]
#     NISTIR 8259A: ["Logical Access to Interfaces"]
#     NIST SP 800-213A: ["Logical Access to Interfaces"]
controls contains lib.control(rego.metadata.rule(), ssh_password_login_off)

ssh_password_login_off := {"outcome": "pass", "reason": "The device reports that its SSH server takes no passwords."} if {
	proven
	ssh_password_login == set()
} else := {"outcome": "fail", "reason": "The device reports that its SSH server takes passwords."} if {
	count(ssh_password_login) > 0
} else := unreported

ssh_password_login := set() if {
	input.host.ssh.known == true
	input.host.ssh.installed == false
} else := {value |
	some value in [input.host.ssh.password_authentication, input.host.ssh.kbd_interactive_authentication]
	value != "no"
} if {
	input.host.ssh.known == true
	is_string(input.host.ssh.password_authentication)
	is_string(input.host.ssh.kbd_interactive_authentication)
}

# METADATA
# title: No account without a password
# description: >-
#   No account needs no password at all. To know, the agent has to read
#   /etc/shadow; without that it knows only what /etc/passwd tells, which can fail
#   but not pass.
# scope: rule
# custom:
#   id: no-empty-passwords
#   theme: credentials and rotation
#   severity: high
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(b)", "Annex I Part I (2)(d)"]
#     IEC 62443-4-2: ["CR 1.1", "CR 1.5"]
#     ETSI EN 303 645: ["5.1-1"]
#     NISTIR 8259A: ["Logical Access to Interfaces"]
#     NIST SP 800-213A: ["Logical Access to Interfaces"]
controls contains lib.control(rego.metadata.rule(), no_empty_passwords)

no_empty_passwords := lib.fail(sprintf("The device reports accounts that need no password: %s.", [lib.listed([lib.quoted(name) | some name in input.host.accounts.passwordless])])) if {
	input.host.accounts.known == true
	count(input.host.accounts.passwordless) > 0
} else := {"outcome": "pass", "reason": "The device reports that every account needs a password, or is locked."} if {
	proven
	input.host.accounts.known == true
	input.host.accounts.shadow == true
	count(input.host.accounts.passwordless) == 0
} else := unreported

# METADATA
# title: One superuser
# description: >-
#   No account but root has the user id 0.
# scope: rule
# custom:
#   id: single-superuser
#   theme: credentials and rotation
#   severity: high
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(d)"]
#     IEC 62443-4-2: ["CR 1.3", "CR 1.4"]
#     NISTIR 8259A: ["Logical Access to Interfaces"]
#     NIST SP 800-213A: ["Logical Access to Interfaces"]
controls contains lib.control(rego.metadata.rule(), single_superuser)

single_superuser := {"outcome": "pass", "reason": "The device reports one account with the user id 0, root."} if {
	proven
	input.host.accounts.known == true
	input.host.accounts.superusers == ["root"]
} else := lib.fail(sprintf("The device reports accounts with the user id 0: %s.", [lib.listed([lib.quoted(name) | some name in input.host.accounts.superusers])])) if {
	input.host.accounts.known == true
	count(input.host.accounts.superusers) > 0
} else := unreported
