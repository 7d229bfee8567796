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
		"event_log": {"given": true, "replayed": true, "unexplained_pcrs": []},
		"secure_boot": {"known": true, "enabled": true},
		"ima": {"given": true, "replayed": true, "entries": 3, "violations": 0},
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

set_to(changes) := json.patch(good, [{"op": "replace", "path": path, "value": value} | some path, value in changes])

without(path) := json.patch(good, [{"op": "remove", "path": path}])

result(id, facts) := control if {
	some control in posture.decision.controls with input as facts
	control.id == id
}

outcome(id, facts) := result(id, facts).outcome

reason(id, facts) := result(id, facts).reason

verdict(facts) := value if value := posture.decision.verdict with input as facts
