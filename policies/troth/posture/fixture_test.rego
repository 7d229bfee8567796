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
			"sbat_level": {"known": true, "text": "sbat,1,2025021800\nshim,4\n", "verified": true},
		},
		"secure_boot": {
			"known": true,
			"enabled": true,
			"setup_mode": false,
			"debug_mode": false,
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
	},
	"reported": {},
	"update": {"state": "success", "version": "1.2.0", "error": ""},
	"previous": {"clock": {"reset_count": 7, "restart_count": 2, "clock": 4000, "safe": true}, "verdict": "compliant"},
	"failing_since": {},
	"certificate": {"not_after": "2026-03-02T00:00:00Z"},
}

# Settings under which every control applies.
strict := {
	"boot": {
		"dbx_required": ["D1", "d2"],
		"authorities": ["DA", "5a"],
		"option_roms": ["0A"],
		"mok": ["0D"],
		"sbat_level": 2025021800,
		"command_line_required": ["ima-policy=tcb", "ro"],
		"command_line_forbidden": ["init=", "single"],
	},
	"ima": {"require_allow_list": true, "require_boot_aggregate": true},
}

set_to(changes) := json.patch(good, [{"op": "replace", "path": path, "value": value} | some path, value in changes])

without(path) := json.patch(good, [{"op": "remove", "path": path}])

# What a control says under settings of config.boot and config.ima.
under(settings, id, facts) := control if {
	some control in posture.decision.controls with input as facts with data.config as settings
	control.id == id
}

with_setting(section, key, value) := object.union(strict, {section: {key: value}})

strictly(id, facts) := under(strict, id, facts).outcome

strict_reason(id, facts) := under(strict, id, facts).reason

# What is said where nothing of boot and files is asked for. The tests hold
# whatever a bundle's own settings ask.
decide(facts) := answer if {
	answer := posture.decision with input as facts with data.config.boot as {} with data.config.ima as {}
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
	"attestation-verified",
	"boot-authorities",
	"boot-command-line",
	"boot-dbx",
	"boot-mok",
	"boot-option-roms",
	"boot-sbat",
	"certificate-current",
	"clock-monotonic",
	"clock-safe",
	"event-log",
	"firmware-current",
	"firmware-known",
	"firmware-reported",
	"ima-boot-aggregate",
	"ima-known-files",
	"ima-list",
	"ima-no-violations",
	"no-unexplained-pcrs",
	"secure-boot",
	"update-healthy",
}

# Which of these have the outcome in an answer.
having(answer, outcome_) := {control.id | some control in answer.controls; control.outcome == outcome_; control.id in ours}
