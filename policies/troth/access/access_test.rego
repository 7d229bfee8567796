package troth.access_test

import data.troth.access

good := {
	"now": "2026-03-01T12:00:00Z",
	"device": {"id": "aa", "lifecycle": "active"},
	"presence": "online",
	"verdict": "compliant",
	"verdict_age": 60,
	"action": "GET",
	"resource": "/",
	"certificate_revoked": false,
}

decision(changes) := value if value := access.decision with input as object.union(good, changes)

code(changes) := decision(changes).code if decision(changes).allow == false

allowed(changes) if {
	decision(changes).allow == true
	decision(changes).code == ""
}

test_active_compliant_device_is_allowed if allowed({})

test_verdict_at_its_age_is_allowed if allowed({"verdict_age": 900})

test_stale_verdict_is_denied if code({"verdict_age": 900.5}) == "verdict_stale"

test_age_by_config if {
	allowed({"verdict_age": 901}) with data.config.access.max_age_seconds as 1000
	code({"verdict_age": 61}) == "verdict_stale" with data.config.access.max_age_seconds as 60
}

# Any number is less than any string; a setting of a wrong type must not let
# everything pass.
test_age_of_wrong_type_denies if code({}) == "undecided" with data.config.access.max_age_seconds as "900"

test_missing_or_odd_age_denies if {
	code({"verdict_age": -1}) == "undecided"
	code({"verdict_age": null}) == "undecided"
	code({"verdict_age": "60"}) == "undecided"
}

test_noncompliant_is_denied if code({"verdict": "noncompliant"}) == "device_noncompliant"

test_undecided_and_unknown_are_denied if {
	code({"verdict": "error"}) == "verdict_unknown"
	code({"verdict": "unknown"}) == "verdict_unknown"
	code({"verdict": ""}) == "verdict_unknown"
}

test_quarantined_is_denied if code({"device": {"lifecycle": "quarantined"}}) == "device_quarantined"

test_pending_and_retired_are_denied if {
	code({"device": {"lifecycle": "pending"}}) == "device_not_active"
	code({"device": {"lifecycle": "retired"}}) == "device_not_active"
}

test_revoked_is_denied if code({"certificate_revoked": true}) == "certificate_revoked"

test_offline_is_denied_unless_configured if {
	code({"presence": "offline"}) == "device_offline"
	allowed({"presence": "offline"}) with data.config.access.require_online as false
	code({"presence": "offline"}) == "device_offline" with data.config.access.require_online as "no"
}

test_missing_facts_are_denied if {
	d := access.decision with input as {}
	d.allow == false
}
