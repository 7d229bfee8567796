package troth.posture_test

import data.troth.posture

# A device of which all is well. Spoil it with json.patch.
good := {
	"now": "2026-03-01T12:00:00Z",
	"device": {"id": "aa", "name": "gate-1", "model": "gw-100", "labels": {}, "lifecycle": "active"},
	"attestation": {
		"verified": true,
		"secure_boot": {"known": true, "enabled": true},
	},
	"failing_since": {},
}

# What a control finds of a device.
found(id, device) := control if {
	some control in posture.decision.controls with input as device
	control.id == id
}

put(path, value) := json.patch(good, [{"op": "add", "path": path, "value": value}])

test_secure_boot_on_pass if found("secure-boot-on", good).outcome == "pass"

test_secure_boot_on_fail if found("secure-boot-on", put("/attestation/secure_boot/enabled", false)).outcome == "fail"

test_secure_boot_on_missing if found("secure-boot-on", put("/attestation/secure_boot", {})).outcome == "error"

test_secure_boot_on_unproven if found("secure-boot-on", put("/attestation/verified", false)).outcome == "error"

test_compliant if posture.decision.verdict == "compliant" with input as good

test_noncompliant if {
	posture.decision.verdict == "noncompliant" with input as put("/attestation/secure_boot/enabled", false)
}

test_nothing_known_is_no_pass if posture.decision.verdict == "error" with input as {"now": "2026-03-01T12:00:00Z"}
