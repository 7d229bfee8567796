# A device of which all is well, and ways to spoil it.
package troth.posture_test

import data.troth.posture

good := {
	"now": "2026-03-01T12:00:00Z",
	"evidence": "e3b0c442",
	"device": {"id": "aa", "name": "gate-1", "model": "gw-100", "labels": {}, "lifecycle": "active", "firmware": "1.2.0"},
	"attestation": {
		"verified": true,
		"problems": [],
		"warnings": [],
		"event_log": {"given": true, "replayed": true, "unexplained_pcrs": []},
		"boot": {
			"known": true,
			"complete": ["option_roms", "command_lines", "shim"],
			"cut": [],
			"option_roms": [{"digest": "0a"}],
			"command_lines": [
				{"pcr": 8, "text": "/vmlinuz root=/dev/sda ro ima_policy=tcb lockdown=integrity", "digest": "0b", "verified": true},
				{"pcr": 9, "text": "", "digest": "0c", "verified": false},
			],
			"authorities": [
				{"variable": "db", "fingerprint": "da", "verified": true},
				{"variable": "MokListRT", "fingerprint": "5a", "verified": false},
			],
			"shim": [{"pcr": 14, "name": "MokList", "digest": "0d", "verified": false}],
			"exit_boot_services": {"known": true, "invoked": true, "succeeded": true, "failed": false},
			"sbat_level": {"known": true, "text": "sbat,1,2025021800\nshim,4\n", "verified": true},
		},
		"secure_boot": {
			"known": true,
			"enabled": true,
			"setup_mode": false,
			"debug_mode": false,
			"pk": ["9b"],
			"kek": ["4e"],
			"db": ["da"],
			"dbx": ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "d1", "d2"],
			"cut": [],
		},
		"ima": {
			"given": true,
			"replayed": true,
			"entries": 3,
			"violations": 0,
			"ahead": 0,
			"boot_aggregate": "verified",
			"judged_by": "11",
			"unknown": 0,
			"unknown_files": [],
		},
		"clock": {"reset_count": 7, "restart_count": 2, "clock": 5000, "safe": true},
		"pcrs": {},
	},
	"firmware": {
		"known": true,
		"version": "1.2.0",
		"counter": 3,
		"reported": "1.2.0",
		"mismatches": [],
		"latest_version": "1.2.0",
		"latest_counter": 3,
		"latest_security_counter": 3,
		"vulnerabilities": {
			"known": true,
			"problem": "",
			"feed_at": "2026-03-01T11:00:00Z",
			"affecting": {"critical": 0, "high": 0, "medium": 1, "low": 0, "unrated": 0},
			"undecided": {"critical": 0, "high": 0, "medium": 0, "low": 0, "unrated": 0},
			"list": [{"id": "CVE-2026-9", "severity": "medium", "undecided": false}],
			"no_critical": {"version": "", "counter": 0},
			"no_high": {"version": "", "counter": 0},
		},
	},
	"reported": {},
	"host": {
		"reported": true,
		"agent": {"version": "v1.4.0", "root": false},
		"kernel": {
			"lockdown": "integrity",
			"lsms": ["lockdown", "capability", "yama", "apparmor"],
			"tainted": 0,
			"kptr_restrict": 2,
			"dmesg_restrict": 1,
			"unprivileged_bpf_disabled": 2,
			"ptrace_scope": 2,
			"kexec_load_disabled": 1,
			"modules_disabled": 0,
			"module_sig_enforce": true,
			"randomize_va_space": 2,
			"suid_dumpable": 0,
			"sysrq": 0,
		},
		"network": {
			"forwards": false,
			"reverse_path": 1,
			"accepts_redirects": false,
			"accepts_source_routes": false,
			"syn_cookies": 1,
		},
		"sockets": {"known": true, "cut": false, "listening": [{"protocol": "tcp", "port": 22, "scope": "any"}]},
		"volumes": {
			"root": {"mount": "/", "read_only": true, "backing": "verity"},
			"tmp": {"mount": "/tmp", "nosuid": true, "nodev": true, "backing": "memory"},
			"data": {"mount": "/var", "nosuid": true, "nodev": true, "backing": "crypt"},
		},
		"swap": {"known": true, "active": false, "encrypted": false},
		"accounts": {"known": true, "superusers": ["root"], "passwordless": [], "shadow": true},
		"ssh": {
			"known": true,
			"installed": true,
			"permit_root_login": "no",
			"password_authentication": "no",
			"kbd_interactive_authentication": "no",
		},
		"consoles": {"known": true, "serial": []},
		"usb": {"known": true, "present": true, "accepts": false},
		"upkeep": {"time_synchronised": true, "uptime_days": 3, "free_percent": 61},
	},
	"update": {"state": "success", "version": "1.2.0", "error": ""},
	"previous": {"clock": {"reset_count": 7, "restart_count": 2, "clock": 4000, "safe": true}, "verdict": "compliant"},
	"failing_since": {},
	"certificate": {
		"not_before": "2026-03-01T00:00:00Z",
		"not_after": "2026-03-02T00:00:00Z",
		"key_since": "2026-02-01T00:00:00Z",
	},
	"endorsement": {"known": true, "manufacturer": "ACME", "devid": "idevid"},
}

# Settings under which every control applies.
strict := {
	"boot": {
		"dbx_required": ["D1", "d2"],
		"authorities": ["DA", "5a"],
		"option_roms": ["0A"],
		"mok": ["0D"],
		"sbat_level": 2025021800,
		"keys": ["9B", "4e", "da"],
		"command_line_required": ["ima-policy=tcb", "ro"],
		"command_line_forbidden": ["init=", "single"],
	},
	"ima": {"require_allow_list": true, "require_boot_aggregate": true},
	"agent": {"minimum_version": "1.0.0"},
	"certificates": {"key_max_age_seconds": 7776000, "max_lifetime_seconds": 86400},
	"enroll": {"require_idevid": true},
	"firmware": {"minimum_counter": {"gw-100": 2}, "support_ends": {"gw-100": "2030-01-01T00:00:00Z"}},
	"network": {"listeners": ["tcp/22"]},
	"upkeep": {"max_uptime_days": 90},
}

set_to(changes) := json.patch(good, [{"op": "replace", "path": path, "value": value} | some path, value in changes])

# Facts of the host by their paths below it, changed or not there.
host_with(changes) := json.patch(good, [{"op": "add", "path": sprintf("/host/%s", [path]), "value": value} |
	some path, value in changes
])

host_without(path) := json.patch(good, [{"op": "remove", "path": sprintf("/host/%s", [path])}])

listening(protocol, port) := host_with({"sockets/listening": [{"protocol": protocol, "port": port, "scope": "any"}]})

without(path) := json.patch(good, [{"op": "remove", "path": path}])

# What a control says under settings of config.boot and config.ima.
under(settings, id, facts) := control if {
	some control in posture.decision.controls with input as facts with data.config as settings
	control.id == id
}

with_setting(section, key, value) := object.union(strict, {section: {key: value}})

strictly(id, facts) := under(strict, id, facts).outcome

strict_reason(id, facts) := under(strict, id, facts).reason

# What is said where nothing is asked for, and what rests on the device's own words
# is advisory. The tests hold whatever a bundle's own settings ask.
decide(facts) := answer if {
	answer := posture.decision with input as facts
		with data.config.agent as {}
		with data.config.boot as {}
		with data.config.certificates as {}
		with data.config.controls as {"mode": {id: "advisory" | some id in advised}}
		with data.config.enroll as {}
		with data.config.firmware as {}
		with data.config.ima as {}
		with data.config.network as {}
		with data.config.upkeep as {}
}

result(id, facts) := control if {
	some control in decide(facts).controls
	control.id == id
}

outcome(id, facts) := result(id, facts).outcome

reason(id, facts) := result(id, facts).reason

verdict(facts) := decide(facts).verdict

# The controls of this library; a bundle may add its own.
ours := {
	"no-known-critical-vulnerability",
	"no-known-high-vulnerability",
	"address-space-randomised",
	"agent-current",
	"agent-unprivileged",
	"attestation-verified",
	"boot-authorities",
	"boot-command-line",
	"boot-dbx",
	"boot-handover",
	"boot-keys",
	"boot-mok",
	"boot-option-roms",
	"boot-sbat",
	"boot-shim-verifies",
	"bpf-restricted",
	"certificate-current",
	"certificate-short-lived",
	"cleartext-services-off",
	"client-key-rotated",
	"clock-monotonic",
	"clock-safe",
	"clock-synchronised",
	"data-encrypted",
	"data-mount-hardened",
	"data-services-local",
	"debug-services-off",
	"device-certified",
	"event-log",
	"firmware-current",
	"firmware-floor",
	"firmware-known",
	"firmware-latest",
	"firmware-reported",
	"forwarding-off",
	"ima-boot-aggregate",
	"ima-known-files",
	"ima-list",
	"ima-no-violations",
	"kernel-addresses-hidden",
	"kernel-lockdown",
	"kernel-log-restricted",
	"kernel-modules-signed",
	"kernel-untainted",
	"kexec-disabled",
	"listeners-listed",
	"mandatory-access-control",
	"model-supported",
	"no-empty-passwords",
	"no-unexplained-pcrs",
	"privileged-dumps-off",
	"ptrace-restricted",
	"redirects-refused",
	"restarted-in-time",
	"reverse-path-filtered",
	"root-tamper-proof",
	"secure-boot",
	"serial-login-off",
	"single-superuser",
	"source-routes-refused",
	"space-left",
	"ssh-password-login-off",
	"ssh-root-login-off",
	"swap-encrypted",
	"syn-cookies-on",
	"sysrq-restricted",
	"tmp-hardened",
	"tpm-endorsed",
	"update-healthy",
	"usb-guarded",
}

# Those that are advisory unless somebody says otherwise (config/controls/data.json).
advised := {
	"address-space-randomised",
	"agent-unprivileged",
	"boot-handover",
	"bpf-restricted",
	"cleartext-services-off",
	"clock-synchronised",
	"data-encrypted",
	"data-mount-hardened",
	"data-services-local",
	"debug-services-off",
	"firmware-latest",
	"forwarding-off",
	"kernel-addresses-hidden",
	"kernel-lockdown",
	"kernel-log-restricted",
	"kernel-modules-signed",
	"kernel-untainted",
	"kexec-disabled",
	"mandatory-access-control",
	"no-empty-passwords",
	"privileged-dumps-off",
	"ptrace-restricted",
	"redirects-refused",
	"reverse-path-filtered",
	"root-tamper-proof",
	"serial-login-off",
	"single-superuser",
	"source-routes-refused",
	"space-left",
	"ssh-password-login-off",
	"ssh-root-login-off",
	"swap-encrypted",
	"syn-cookies-on",
	"sysrq-restricted",
	"tmp-hardened",
	"tpm-endorsed",
	"usb-guarded",
}

# Which of these have the outcome in an answer.
having(answer, outcome_) := {control.id | some control in answer.controls; control.outcome == outcome_; control.id in ours}
