package troth.publish_test

import data.troth.publish

key := "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"

good := {
	"now": "2026-03-01T12:00:00Z", "where": "publish",
	"release": {"sha256": "ab", "model": "gw-100", "version": "2.0"},
	"sbom": {"given": true, "readable": true, "problem": "", "components": 12},
	"provenance": {
		"given": true, "verified": true, "problem": "",
		"predicate_type": "https://slsa.dev/provenance/v1", "builder": "https://ci.example/builder", "source": "git+https://git.example/fw",
		"key": "", "identity": "builder@ci.example", "issuer": "https://id.example",
	},
	"signature": {"given": true, "verified": true, "problem": "", "key": key, "identity": "", "issuer": ""},
	"vulnerabilities": {"known": true, "problem": "", "found": [{"id": "CVE-1", "severity": "low", "component": "zlib"}]},
	"approvals": {"role": "targets", "keys": ["k1", "k2"]},
}

# What a strict team sets.
strict := {
	"min_approvals": 2, "require_sbom": true,
	"provenance_builders": [{"builder": "https://ci.example/builder", "identity": "builder@ci.example", "issuer": "https://id.example"}],
	"signature_signers": [{"identity": "ada@example.org", "issuer": "https://id.example"}, {"key": key}],
	"refuse_vulnerabilities": ["critical", "unrated"],
}

with_facts(changes) := json.patch(good, [{"op": "replace", "path": path, "value": value} | some path, value in changes])

decision(facts) := d if {
	d := publish.decision with input as facts with data.config.publish as strict
}

set_to(changes) := json.patch(strict, [{"op": "add", "path": path, "value": value} | some path, value in changes])

denied(facts, code) if {
	d := decision(facts)
	d.allow == false
	d.code == code
	d.reason != ""
}

unmet(facts, id, code) if {
	denied(facts, code)
	some requirement in decision(facts).requirements
	requirement.id == id
	requirement.met == false
}

test_all_that_a_strict_team_asks_is_met if {
	d := decision(good)
	d.allow == true
	d.code == ""
	{r.id | some r in d.requirements; r.met} == {"approvals", "sbom", "provenance", "signature", "vulnerabilities"}
}

test_by_default_one_approval_is_asked if {
	bare := {"where": "publish", "release": good.release, "approvals": {"keys": ["k1"]}}
	d := publish.decision with input as bare
	d.allow == true
	{r.id | some r in d.requirements} == {"approvals"}
	n := publish.decision with input as bare with data.config.publish as {}
	n.allow == true
	none := publish.decision with input as object.union(bare, {"approvals": {"keys": []}})
	none.code == "approvals_missing"
}

test_approvals_fail if {
	unmet(with_facts({"/approvals/keys": ["k1"]}), "approvals", "approvals_missing")

	# A key that signed twice is one.
	unmet(with_facts({"/approvals/keys": ["k1", "k1"]}), "approvals", "approvals_missing")
	unmet(with_facts({"/approvals/keys": ["k1", ""]}), "approvals", "approvals_missing")
}

test_approvals_missing if {
	unmet(json.remove(good, ["approvals"]), "approvals", "approvals_missing")
	unmet(with_facts({"/approvals/keys": "k1 k2"}), "approvals", "approvals_missing")
}

test_sbom_fail if {
	unmet(with_facts({"/sbom/given": false}), "sbom", "sbom_missing")
	unmet(with_facts({"/sbom/readable": false, "/sbom/problem": "it is XML"}), "sbom", "sbom_missing")
	unmet(with_facts({"/sbom/components": 0}), "sbom", "sbom_missing")
}

test_sbom_missing if unmet(json.remove(good, ["sbom"]), "sbom", "sbom_missing")

test_provenance_fail if {
	unmet(with_facts({"/provenance/given": false}), "provenance", "provenance_unproven")
	unmet(with_facts({"/provenance/verified": false, "/provenance/problem": "expired"}), "provenance", "provenance_unproven")
	unmet(with_facts({"/provenance/verified": "true"}), "provenance", "provenance_unproven")
	unmet(with_facts({"/provenance/predicate_type": "https://example.org/vibes"}), "provenance", "provenance_unproven")
	unmet(with_facts({"/provenance/builder": "https://ci.example/builder2"}), "provenance", "provenance_unproven")

	# Anybody can claim to be the builder; only its identity counts.
	unmet(with_facts({"/provenance/identity": "mallory@ci.example"}), "provenance", "provenance_unproven")
	unmet(with_facts({"/provenance/issuer": "https://id.evil"}), "provenance", "provenance_unproven")
	unmet(with_facts({"/provenance/identity": "", "/provenance/issuer": "", "/provenance/key": key}), "provenance", "provenance_unproven")
}

test_provenance_missing if {
	unmet(with_facts({"/provenance/builder": ""}), "provenance", "provenance_unproven")
	unmet(json.remove(good, ["provenance"]), "provenance", "provenance_unproven")
	unmet(json.remove(good, ["provenance/identity"]), "provenance", "provenance_unproven")
}

test_provenance_of_a_source if {
	entry := object.union(strict.provenance_builders[0], {"source": "git+https://git.example/fw"})
	fine := publish.decision with input as good with data.config.publish as set_to({"/provenance_builders": [entry]})
	fine.allow == true
	other := publish.decision with input as with_facts({"/provenance/source": "git+https://git.example/fork"})
		with data.config.publish as set_to({"/provenance_builders": [entry]})
	other.code == "provenance_unproven"
}

test_signature_pass if {
	decision(with_facts({"/signature/key": "", "/signature/identity": "ada@example.org", "/signature/issuer": "https://id.example"})).allow == true
}

signed_by(identity, entry) := d if {
	facts := with_facts({"/signature/key": "", "/signature/identity": identity, "/signature/issuer": "https://id.example"})
	settings := set_to({"/signature_signers": [{"identity": entry, "issuer": "https://id.example"}]})
	d := publish.decision with input as facts with data.config.publish as settings
}

test_signature_of_a_workflow if {
	signed_by("https://git.example/fw/.ci/sign@refs/tags/v2", "https://git.example/fw/.ci/sign@refs/tags/*").allow == true
	signed_by("https://git.example/fw/.ci/sign@refs/heads/x", "https://git.example/fw/.ci/sign@refs/tags/*").allow == false
	signed_by("https://git.example/fw", "*").allow == false
	signed_by("https://git.example/fw", "https://git.example").allow == false
}

test_signature_fail if {
	unmet(with_facts({"/signature/given": false}), "signature", "signature_unproven")
	unmet(with_facts({"/signature/verified": false}), "signature", "signature_unproven")
	unmet(with_facts({"/signature/key": "00"}), "signature", "signature_unproven")
	unmet(with_facts({"/signature/key": ""}), "signature", "signature_unproven")
	unmet(with_facts({"/signature/key": "", "/signature/identity": "ada@example.org"}), "signature", "signature_unproven")
}

test_signature_missing if unmet(json.remove(good, ["signature"]), "signature", "signature_unproven")

test_vulnerabilities_fail if {
	every severity in ["critical", "unrated", "dreadful", ""] {
		unmet(with_facts({"/vulnerabilities/found/0/severity": severity}), "vulnerabilities", "vulnerabilities_known")
	}
	decision(with_facts({"/vulnerabilities/found/0/severity": "high"})).allow == true
}

test_vulnerabilities_are_named if {
	many := [{"id": sprintf("CVE-%d", [i]), "severity": "critical", "component": "zlib"} | some i in numbers.range(1, 9)]
	contains(decision(with_facts({"/vulnerabilities/found": many})).reason, "and 4 more")
	contains(decision(with_facts({"/vulnerabilities/found/0/severity": "critical"})).reason, `CVE-1 (critical) in "zlib"`)
}

# A feed that nobody has says nothing, and nothing is no pass.
test_vulnerabilities_missing if {
	unmet(with_facts({"/vulnerabilities/known": false, "/vulnerabilities/found": []}), "vulnerabilities", "vulnerabilities_known")
	unmet(json.remove(good, ["vulnerabilities"]), "vulnerabilities", "vulnerabilities_known")
	unmet(json.remove(good, ["vulnerabilities/found"]), "vulnerabilities", "vulnerabilities_known")
}

test_vulnerabilities_at_intake_can_be_left_to_the_publisher if {
	later := with_facts({"/where": "intake", "/vulnerabilities/known": false})
	unmet(later, "vulnerabilities", "vulnerabilities_known")
	left := publish.decision with input as later with data.config.publish as set_to({"/vulnerabilities_at_intake": false})
	left.allow == true
	odd := publish.decision with input as with_facts({"/where": "", "/vulnerabilities/known": false})
		with data.config.publish as set_to({"/vulnerabilities_at_intake": false})
	odd.code == "vulnerabilities_known"
}

test_a_release_that_is_not_named_is_not_decided if {
	denied(json.remove(good, ["release"]), "undecided")
	denied(with_facts({"/release/sha256": ""}), "undecided")
	d := publish.decision with input as {}
	d.allow == false
}

misconfigured(setting, value) if {
	changed := set_to({concat("", ["/", setting]): value})
	d := publish.decision with input as good with data.config.publish as changed
	d.code == "publish_misconfigured"
	contains(d.reason, setting)
}

test_settings_that_are_no_object_are_misconfigured if {
	d := publish.decision with input as good with data.config.publish as "none"
	d.code == "publish_misconfigured"
}

test_misconfigured if {
	every setting, values in {
		"min_approvals": [0, -1, "2", null], "require_sbom": ["yes", 1], "vulnerabilities_at_intake": ["no", null],
		"refuse_vulnerabilities": ["critical", ["severe"], [1]],
		"signature_signers": [{}, [{}], [{"identity": "a"}], [{"issuer": "b"}], [{"key": ""}], ["a"], [{"key": "k", "identity": "a"}], [{"builder": "b", "key": "k"}]],
		"provenance_builders": [{}, [{"builder": "b"}], [{"key": "k"}], [{"builder": "b", "identity": "a"}], [{"builder": 1, "key": "k"}], [{"builder": "b", "key": "k", "sauce": "s"}]],
	} {
		every value in values {
			misconfigured(setting, value)
		}
	}
}
