package troth.enroll_test

import data.troth.enroll

good := {
	"now": "2026-03-01T12:00:00Z",
	"device": {"id": "aa", "model": "gw-100", "lifecycle": ""},
	"ek": {"certificate": true, "verified": true, "manufacturer": "ACME", "problem": ""},
	"registered": false,
	"require_registration": false,
	"attestation": {"verified": true, "problems": []},
}

with_facts(changes) := json.patch(good, [{"op": "replace", "path": path, "value": value} | some path, value in changes])

decision(facts) := value if value := enroll.decision with input as facts

denied(facts, code) if {
	d := decision(facts)
	d.allow == false
	d.code == code
	d.reason != ""
}

allowed(facts) if {
	d := decision(facts)
	d.allow == true
	d.code == ""
}

no_certificate := {"certificate": false, "verified": false, "manufacturer": "", "problem": ""}

unverified(problem) := {"certificate": true, "verified": false, "manufacturer": "", "problem": problem}

test_trusted_manufacturer_is_allowed if allowed(good)

test_registered_and_trusted_is_allowed if allowed(with_facts({"/registered": true, "/require_registration": true}))

test_registered_without_certificate_is_allowed if allowed(with_facts({"/ek": no_certificate, "/registered": true}))

test_pending_is_allowed if allowed(with_facts({"/device/lifecycle": "pending", "/registered": true}))

test_active_is_allowed if allowed(with_facts({"/device/lifecycle": "active"}))

test_unregistered_is_denied_where_required if denied(with_facts({"/require_registration": true}), "not_registered")

test_unregistered_without_certificate_is_denied if denied(with_facts({"/ek": no_certificate}), "not_registered")

test_unknown_manufacturer_is_denied if {
	denied(with_facts({"/ek": unverified("ek_unknown_manufacturer")}), "unknown_manufacturer")
	denied(with_facts({"/ek": unverified("")}), "unknown_manufacturer")
}

test_broken_certificate_is_denied if denied(with_facts({"/ek": unverified("ek_expired")}), "ek_certificate_invalid")

# Registration does not heal a certificate that does not verify, unless the
# configuration says so.
test_registered_with_unknown_manufacturer if {
	facts := with_facts({"/ek": unverified("ek_unknown_manufacturer"), "/registered": true})
	denied(facts, "unknown_manufacturer")
	allowed(facts) with data.config.enroll.allow_unverified_certificate as true
	denied(facts, "unknown_manufacturer") with data.config.enroll.allow_unverified_certificate as "true"
}

test_unverified_certificate_needs_registration_whatever_the_config if {
	denied(with_facts({"/ek": unverified("")}), "unknown_manufacturer") with data.config.enroll.allow_unverified_certificate as true
}

# Revocation is no mere lack of proof: it has a setting of its own.
test_revoked_ek_is_denied if {
	facts := with_facts({"/ek": unverified("ek_revoked"), "/registered": true})
	denied(facts, "certificate_revoked")
	denied(facts, "certificate_revoked") with data.config.enroll.allow_unverified_certificate as true
	denied(facts, "certificate_revoked") with data.config.enroll.allow_revoked_certificate as "true"
	allowed(facts) with data.config.enroll.allow_revoked_certificate as true
}

test_revoked_ek_needs_registration_whatever_the_config if {
	denied(with_facts({"/ek": unverified("ek_revoked")}), "certificate_revoked") with data.config.enroll.allow_revoked_certificate as true
}

identified := {"given": true, "verified": true, "kind": "idevid", "manufacturer": "ACME", "serial": "1", "model": "gw-100", "problem": ""}

unidentified(problem) := object.union(identified, {"verified": false, "manufacturer": "", "serial": "", "model": "", "problem": problem})

with_idevid(idevid, changes) := object.union(with_facts(changes), {"idevid": idevid})

test_idevid_vouches if {
	allowed(with_idevid(identified, {"/ek": no_certificate}))
	allowed(with_idevid(identified, {"/ek": unverified("ek_unknown_manufacturer")}))
	allowed(with_idevid(identified, {"/ek": unverified("ek_expired")}))
	contains(decision(with_idevid(identified, {"/ek": no_certificate})).reason, "ACME")
}

test_idevid_that_does_not_hold_vouches_for_nothing if {
	some problem in ["idevid_expired", "idevid_key_mismatch", ""]
	denied(with_idevid(unidentified(problem), {"/ek": no_certificate}), "not_registered")
	denied(with_idevid(unidentified(problem), {"/ek": unverified("ek_unknown_manufacturer")}), "unknown_manufacturer")
	allowed(with_idevid(unidentified(problem), {}))
}

test_idevid_does_not_outweigh_a_revocation if {
	denied(with_idevid(identified, {"/ek": unverified("ek_revoked")}), "certificate_revoked")
	denied(with_idevid(unidentified("idevid_revoked"), {}), "certificate_revoked")
}

test_idevid_is_no_registration if {
	denied(with_idevid(identified, {"/ek": no_certificate, "/require_registration": true}), "not_registered")
}

test_idevid_required if {
	denied(good, "idevid_required") with data.config.enroll.require_idevid as true
	denied(with_facts({"/registered": true}), "idevid_required") with data.config.enroll.require_idevid as true
	allowed(with_idevid(identified, {})) with data.config.enroll.require_idevid as true
}

test_idevid_required_in_other_words if denied(good, "idevid_required") with data.config.enroll.require_idevid as "yes"

test_idevid_without_ek_is_undecided if denied(json.remove(with_idevid(identified, {}), ["ek"]), "undecided")

test_failed_attestation_is_denied if {
	facts := with_facts({"/attestation": {"verified": false, "problems": ["nonce"]}})
	denied(facts, "attestation_failed")
	contains(decision(facts).reason, "nonce")
}

test_missing_attestation_is_denied if denied(json.remove(good, ["attestation"]), "attestation_failed")

# It attests again, and stays in quarantine.
test_quarantined_is_allowed if allowed(with_facts({"/device/lifecycle": "quarantined"}))

test_quarantined_is_denied_what_others_are if {
	denied(with_facts({"/device/lifecycle": "quarantined", "/attestation": {"verified": false, "problems": ["nonce"]}}), "attestation_failed")
}

test_lifetime_is_the_services_own_choice if not decision(good).certificate_lifetime_seconds

test_lifetime_by_model if {
	d := decision(good) with data.config.certificates.lifetime_seconds as {"models": {"gw-100": 3600}}
	d.certificate_lifetime_seconds == 3600
}

test_misconfigured_lifetime_is_denied if {
	denied(good, "lifetime_misconfigured") with data.config.certificates.lifetime_seconds as {"default": "1h"}
}

test_retired_is_denied if denied(with_facts({"/device/lifecycle": "retired"}), "device_retired")

test_unknown_lifecycle_is_denied if denied(with_facts({"/device/lifecycle": "reborn"}), "lifecycle_unknown")

test_missing_ek_is_denied if {
	denied(json.remove(good, ["ek"]), "undecided")
	denied(json.remove(with_facts({"/registered": true}), ["ek"]), "undecided")
}

test_missing_requirement_is_denied if denied(json.remove(good, ["require_registration"]), "not_registered")
