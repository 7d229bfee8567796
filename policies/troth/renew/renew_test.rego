package troth.renew_test

import data.troth.renew

good := {
	"now": "2026-03-01T12:00:00Z",
	"device": {"id": "aa", "model": "gw-100", "labels": {"site": "north", "tier": "kiosk"}, "lifecycle": "active"},
	"verdict": "compliant",
	"verdict_age": 30,
	"failing": [],
	"certificate": {"restricted": false, "key_age": 86400, "rotate_key": false},
	"new_key": false,
}

with_facts(changes) := json.patch(good, [{"op": "replace", "path": path, "value": value} | some path, value in changes])

decision(facts) := value if value := renew.decision with input as facts

denied(facts, code) if {
	d := decision(facts)
	d.allow == false
	d.code == code
	d.reason != ""
	d.rotate_key == false
}

allowed(facts) if {
	d := decision(facts)
	d.allow == true
	d.code == ""
}

test_active_and_compliant_is_allowed if {
	allowed(good)
	decision(good).rotate_key == false
}

test_other_lifecycles_are_denied if {
	every lifecycle in ["", "pending", "quarantined", "retired", "reborn"] {
		denied(with_facts({"/device/lifecycle": lifecycle}), "renewal_refused")
	}
}

test_other_verdicts_are_denied if {
	every verdict in ["", "noncompliant", "error", "unknown", "Compliant"] {
		denied(with_facts({"/verdict": verdict}), "renewal_refused")
	}
}

test_what_fails_is_named if {
	contains(decision(with_facts({"/verdict": "noncompliant", "/failing": ["secure-boot"]})).reason, "secure-boot")
}

test_missing_facts_are_denied if {
	denied({}, "renewal_refused")
	denied(json.remove(good, ["verdict"]), "renewal_refused")
	denied(json.remove(good, ["device"]), "renewal_refused")
}

test_old_verdict_is_denied_where_configured if {
	allowed(good) with data.config.certificates.renew_max_verdict_age_seconds as 30
	denied(good, "renewal_refused") with data.config.certificates.renew_max_verdict_age_seconds as 29
	denied(good, "renewal_refused") with data.config.certificates.renew_max_verdict_age_seconds as "30"
	denied(json.remove(good, ["verdict_age"]), "renewal_refused") with data.config.certificates.renew_max_verdict_age_seconds as 30
}

test_key_is_rotated_by_age if {
	not_yet := decision(good) with data.config.certificates.key_max_age_seconds as 86400
	not_yet.rotate_key == false
	now := decision(good) with data.config.certificates.key_max_age_seconds as 86399
	now.rotate_key == true
	now.allow == true
}

test_misconfigured_key_age_is_denied if {
	denied(good, "key_age_misconfigured") with data.config.certificates.key_max_age_seconds as "1y"
	denied(good, "key_age_misconfigured") with data.config.certificates.key_max_age_seconds as -1
}

lifetime(settings) := value if {
	d := decision(good) with data.config.certificates.lifetime_seconds as settings
	value := d.certificate_lifetime_seconds
}

test_lifetime_is_that_of_the_group if {
	not decision(good).certificate_lifetime_seconds
	lifetime({"default": 7200}) == 7200
	lifetime({"default": 600, "models": {"gw-100": 3600}}) == 3600
	lifetime({"models": {"other": 60}, "labels": {"tier=kiosk": 900, "tier=core": 60}}) == 900
	lifetime({"models": {"gw-100": 3600}, "labels": {"tier=kiosk": 900, "site=north": 1800}}) == 900
}

test_misconfigured_lifetimes_are_denied if {
	every settings in [
		{"default": "1h"}, {"default": 59}, {"default": 90.5}, {"models": {"gw-100": null}},
		{"labels": ["tier=kiosk"]}, {"groups": {}}, "1h", 3600,
	] {
		d := decision(good) with data.config.certificates.lifetime_seconds as settings
		d.code == "lifetime_misconfigured"
	}
}
