package troth.posture_test

critical := "no-known-critical-vulnerability"

high := "no-known-high-vulnerability"

# Facts of the release's vulnerabilities, by their paths.
wrong(changes) := set_to({sprintf("/firmware/vulnerabilities/%s", [path]): value | some path, value in changes})

three_critical := wrong({
	"affecting/critical": 3,
	"list": [
		{"id": "CVE-2", "severity": "critical", "undecided": false},
		{"id": "CVE-1", "severity": "critical", "undecided": false},
		{"id": "CVE-3", "severity": "critical", "undecided": false},
		{"id": "CVE-4", "severity": "critical", "undecided": true},
		{"id": "CVE-5", "severity": "high", "undecided": false},
	],
	"no_critical": {"version": "1.3.0", "counter": 4},
})

set_with(values, id, facts) := under({"vulnerabilities": values}, id, facts)

test_no_known_critical_vulnerability_pass if outcome(critical, good) == "pass"

test_no_known_high_vulnerability_pass if outcome(high, three_critical) == "pass"

test_no_known_critical_vulnerability_fail if {
	outcome(critical, three_critical) == "fail"
	reason(critical, three_critical) == "The release has 3 known critical vulnerabilities: CVE-1, CVE-2 and CVE-3. Release 1.3.0 is the first without."
}

test_no_known_high_vulnerability_fail if {
	facts := wrong({"affecting/high": 1, "list": [{"id": "CVE-5", "severity": "high", "undecided": false}]})
	outcome(high, facts) == "fail"
	reason(high, facts) == "The release has 1 known high vulnerability: CVE-5. No later release without is published."
}

test_no_known_critical_vulnerability_fail_names_few if {
	list := [{"id": sprintf("CVE-%d", [n]), "severity": "critical", "undecided": false} | some n in numbers.range(1, 7)]
	facts := wrong({"affecting/critical": 7, "list": list})
	reason(critical, facts) == "The release has 7 known critical vulnerabilities: CVE-1, CVE-2, CVE-3, CVE-4, CVE-5 and others. No later release without is published."
}

test_no_known_critical_vulnerability_fail_after_its_grace if {
	verdict(three_critical) == "compliant"
	result(critical, three_critical).enforced_at == "2026-03-08T12:00:00Z"
	since := object.union(three_critical, {"failing_since": {critical: "2026-02-20T12:00:00Z"}})
	verdict(since) == "noncompliant"
}

test_no_known_high_vulnerability_fail_has_another_grace if {
	facts := wrong({"affecting/high": 1})
	result(high, facts).enforced_at == "2026-03-31T12:00:00Z"
	set_with({"high_grace_seconds": 0}, high, facts).enforced_at == "2026-03-01T12:00:00Z"
}

test_no_known_critical_vulnerability_missing if {
	outcome(critical, without("/firmware/vulnerabilities")) == "error"
	outcome(critical, without("/firmware/vulnerabilities/affecting")) == "error"
	outcome(critical, without("/firmware/vulnerabilities/undecided")) == "error"
	outcome(critical, wrong({"known": false})) == "error"
	outcome(critical, set_to({"/attestation/verified": false})) == "error"
	outcome(critical, set_to({"/firmware/known": false})) == "error"
}

test_no_known_high_vulnerability_missing if outcome(high, without("/firmware/vulnerabilities")) == "error"

# What cannot be ordered is not known to be good.
test_no_known_critical_vulnerability_missing_order if {
	facts := wrong({"undecided/critical": 1})
	outcome(critical, facts) == "error"
	set_with({"tolerate_undecided": true}, critical, facts).outcome == "pass"
}

test_no_known_critical_vulnerability_missing_materials if {
	every problem in ["sbom_unavailable", "not_compared"] {
		outcome(critical, wrong({"known": false, "problem": problem})) == "error"
	}
}

test_no_known_critical_vulnerability_not_judged if {
	every problem in ["no_feed", "no_sbom"] {
		facts := wrong({"known": false, "problem": problem})
		outcome(critical, facts) == "not_applicable"
		set_with({"required": true}, critical, facts).outcome == "fail"
	}
}

test_no_known_critical_vulnerability_missing_news if {
	set_with({"max_feed_age_seconds": 3599}, critical, good).outcome == "error"
	set_with({"max_feed_age_seconds": 3600}, critical, good).outcome == "pass"
}

# Old records still show what is wrong.
test_no_known_critical_vulnerability_fail_by_old_records if {
	set_with({"max_feed_age_seconds": 1}, critical, three_critical).outcome == "fail"
}

test_no_known_critical_vulnerability_missing_settings if {
	every key in ["required", "tolerate_undecided", "max_feed_age_seconds", "critical_grace_seconds"] {
		set_with({key: "much"}, critical, three_critical).outcome == "error"
	}
}
