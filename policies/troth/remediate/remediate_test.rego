package troth.remediate_test

import data.troth.remediate

control(id, severity, remediation) := {
	"id": id,
	"title": upper(id),
	"severity": severity,
	"outcome": "fail",
	"reason": "r",
	"since": "2026-03-01T12:00:00Z",
	"enforced_at": "2026-03-01T12:00:00Z",
	"remediation": remediation,
}

good := {
	"now": "2026-03-01T12:00:00Z",
	"device": {"id": "aa", "lifecycle": "active"},
	"verdict": "noncompliant",
	"controls": [],
	"firmware": {"counter": 3, "latest_counter": 4, "latest_version": "1.3.0"},
}

actions(changes) := value if value := remediate.decision.actions with input as object.union(good, changes)

tampered := control("firmware-known", "critical", "quarantine")

outdated := control("firmware-current", "high", "patch")

test_nothing_failing_is_nothing_to_do if actions({}) == set()

test_failing_control_quarantines if {
	actions({"controls": [tampered]}) == {{
		"kind": "quarantine",
		"control": "firmware-known",
		"reason": "Failing: FIRMWARE-KNOWN.",
		"release": "",
	}}
}

test_several_failing_controls_quarantine_once_for_the_gravest if {
	some action in actions({"controls": [control("a", "low", "quarantine"), tampered, control("z", "critical", "quarantine")]})
	action.control == "firmware-known"
	action.reason == "Failing: A, FIRMWARE-KNOWN and Z."
}

test_within_grace_is_no_quarantine if {
	actions({"controls": [object.union(tampered, {"enforced_at": "2026-03-01T12:00:01Z"})]}) == set()
}

# What could not be decided is no proof against a device.
test_errors_do_not_quarantine if {
	actions({"controls": [object.union(tampered, {"outcome": "error"}), object.union(outdated, {"outcome": "error"})]}) == set()
}

test_passing_control_is_nothing_to_do if actions({"controls": [object.union(tampered, {"outcome": "pass"})]}) == set()

test_other_controls_are_nothing_to_do if actions({"controls": [control("x", "critical", "none")]}) == set()

test_only_active_devices_are_quarantined if {
	every lifecycle in ["", "pending", "quarantined", "retired"] {
		actions({"controls": [tampered], "device": {"lifecycle": lifecycle}}) == set()
	}
}

test_outdated_firmware_proposes_the_latest_release if {
	actions({"controls": [outdated]}) == {{
		"kind": "propose_rollout",
		"control": "firmware-current",
		"reason": "Failing: FIRMWARE-CURRENT. The latest release is 1.3.0.",
		"release": "1.3.0",
	}}
}

test_outdated_firmware_within_grace_proposes_too if {
	count(actions({"controls": [object.union(outdated, {"enforced_at": "2027-01-01T00:00:00Z"})]})) == 1
}

test_rollout_starts_only_if_configured if {
	{a.kind | some a in actions({"controls": [outdated]})} == {"start_rollout"} with data.config.remediation.auto_start as true
	actions({"controls": [outdated]}) == actions({"controls": [outdated]}) with data.config.remediation.auto_start as "true"
	{a.kind | some a in actions({"controls": [outdated]})} == {"propose_rollout"} with data.config.remediation.auto_start as "true"
	{a.kind | some a in actions({"controls": [outdated]})} == {"propose_rollout"} with data.config as {}
}

test_no_newer_release_is_no_rollout if {
	actions({"controls": [outdated], "firmware": {"latest_counter": 3}}) == set()
	actions({"controls": [outdated], "firmware": {"latest_version": ""}}) == set()
}

test_retired_devices_are_not_patched if actions({"controls": [outdated], "device": {"lifecycle": "retired"}}) == set()

test_both if count(actions({"controls": [tampered, outdated]})) == 2

critical_vulnerability := control("no-known-critical-vulnerability", "critical", "patch")

high_vulnerability := control("no-known-high-vulnerability", "high", "patch")

wrong(no_critical, no_high) := {"firmware": {"vulnerabilities": {
	"list": [
		{"id": "CVE-2", "severity": "critical", "undecided": false},
		{"id": "CVE-1", "severity": "critical", "undecided": false},
		{"id": "CVE-3", "severity": "high", "undecided": false},
		{"id": "CVE-4", "severity": "critical", "undecided": true},
	],
	"no_critical": no_critical,
	"no_high": no_high,
}}}

none := {"version": "", "counter": 0}

test_vulnerability_proposes_the_first_release_without if {
	facts := object.union(wrong({"version": "1.2.1", "counter": 4}, none), {"controls": [critical_vulnerability]})
	actions(facts) == {{
		"kind": "propose_rollout",
		"control": "no-known-critical-vulnerability",
		"reason": "Failing: NO-KNOWN-CRITICAL-VULNERABILITY (CVE-1 and CVE-2). Release 1.2.1 is the first without.",
		"release": "1.2.1",
	}}
}

test_vulnerability_is_mended_with_all_that_fails if {
	facts := object.union(wrong({"version": "1.2.1", "counter": 4}, {"version": "1.2.2", "counter": 5}), {"controls": [high_vulnerability, critical_vulnerability, outdated]})
	releases(facts) == {"1.2.2"}
}

test_vulnerability_is_mended_in_part_rather_than_not if {
	facts := object.union(wrong({"version": "1.2.1", "counter": 4}, none), {"controls": [high_vulnerability, critical_vulnerability]})
	releases(facts) == {"1.2.1"}
}

test_vulnerability_without_a_release_proposes_none if {
	actions(object.union(wrong(none, none), {"controls": [high_vulnerability, critical_vulnerability]})) == set()
}

test_vulnerability_without_a_release_leaves_the_latest_release if {
	releases(object.union(wrong(none, none), {"controls": [critical_vulnerability, outdated]})) == {"1.3.0"}
}

test_vulnerability_never_goes_back if {
	actions(object.union(wrong({"version": "1.0.0", "counter": 2}, none), {"controls": [critical_vulnerability]})) == set()
}

test_vulnerability_starts_where_policy_says if {
	facts := object.union(wrong({"version": "1.2.1", "counter": 4}, none), {"controls": [critical_vulnerability]})
	kinds(facts, {"vulnerabilities": {"auto_start": ["critical"]}}) == {"start_rollout"}
	kinds(facts, {"vulnerabilities": {"auto_start": ["high"]}}) == {"propose_rollout"}
	kinds(facts, {"vulnerabilities": {"auto_start": "critical"}}) == {"propose_rollout"}
	kinds(facts, {"remediation": {"auto_start": true}}) == {"start_rollout"}
}

releases(facts) := {action.release | some action in actions(facts)}

kinds(facts, config) := {action.kind |
	some action in remediate.decision.actions with input as object.union(good, facts) with data.config as config
}
