# What is known to be wrong with the release that the device proves: its bill of
# materials, compared with imported records.
package troth.posture

import data.troth.lib

# METADATA
# title: No known critical vulnerability
# description: >-
#   No component in the bill of materials of the proven release has a known
#   vulnerability that is rated critical, or may have one. A fleet without records,
#   or a release without a bill of materials, is not judged unless
#   config.vulnerabilities.required is true. There are
#   config.vulnerabilities.critical_grace_seconds to install a release without,
#   7 days unless set.
# scope: rule
# custom:
#   id: no-known-critical-vulnerability
#   severity: critical
#   remediation: patch
#   theme: firmware currency and vulnerabilities
#   evidence: proven
#   frameworks:
#     ETSI EN 303 645: ["5.2-3", "5.3-8"]
#     NISTIR 8259A: ["Software Update", "Cybersecurity State Awareness"]
#     IEC 62443-4-2: ["EDR 3.10"]
#     EU CRA: ["Annex I Part I (2)(a)", "Annex I Part II (2)"]
controls contains lib.control(rego.metadata.rule(), no_known_vulnerability("critical", "no_critical", 604800))

# METADATA
# title: No known high vulnerability
# description: >-
#   Likewise for vulnerabilities that are rated high, with
#   config.vulnerabilities.high_grace_seconds, 30 days unless set.
# scope: rule
# custom:
#   id: no-known-high-vulnerability
#   severity: high
#   remediation: patch
#   theme: firmware currency and vulnerabilities
#   evidence: proven
#   frameworks:
#     ETSI EN 303 645: ["5.2-3", "5.3-8"]
#     NISTIR 8259A: ["Software Update", "Cybersecurity State Awareness"]
#     IEC 62443-4-2: ["EDR 3.10"]
#     EU CRA: ["Annex I Part I (2)(a)", "Annex I Part II (2)"]
controls contains lib.control(rego.metadata.rule(), no_known_vulnerability("high", "no_high", 2592000))

# METADATA
# description: What a control finds of one severity; later names the fact with the release that mends it.
no_known_vulnerability(severity, later, days) := lib.undecided("A setting of config.vulnerabilities cannot be used.") if {
	not vulnerability_settings(severity, days)
} else := lib.not_applicable("No records of vulnerabilities were imported (troth vuln import).") if {
	known_wrong.problem == "no_feed"
	not vulnerabilities_required
} else := lib.not_applicable("The release has no bill of materials, so its vulnerabilities are not known.") if {
	known_wrong.problem == "no_sbom"
	not vulnerabilities_required
} else := unproven if {
	not proven
} else := unreleased if {
	not released
} else := lib.fail("Vulnerabilities are not known: no records of them were imported.") if {
	known_wrong.problem == "no_feed"
} else := lib.fail("Vulnerabilities are not known: the release has no bill of materials.") if {
	known_wrong.problem == "no_sbom"
} else := lib.undecided("Vulnerabilities are not known: the bill of materials of the release cannot be read.") if {
	known_wrong.problem == "sbom_unavailable"
} else := lib.undecided("Vulnerabilities are not known yet: the release was published a moment ago.") if {
	known_wrong.problem == "not_compared"
} else := late(
	lib.fail(sprintf("The release has %s: %s. %s", [
		counted_vulnerabilities(known_wrong.affecting[severity], severity),
		named_vulnerabilities(severity),
		mended_by(known_wrong[later]),
	])),
	severity, days,
) if {
	known_wrong.known == true
	known_wrong.affecting[severity] > 0
} else := lib.undecided(sprintf("The release may have %s: the versions of its components cannot be ordered.", [counted_vulnerabilities(known_wrong.undecided[severity], severity)])) if {
	known_wrong.known == true
	known_wrong.undecided[severity] > 0
	not undecided_tolerated
} else := lib.undecided("The records of vulnerabilities are older than config.vulnerabilities.max_feed_age_seconds.") if {
	known_wrong.known == true
	feed_age > lib.setting_number("vulnerabilities", "max_feed_age_seconds", 3153600000)
} else := lib.pass(sprintf("No known vulnerability of the release is rated %s.", [severity])) if {
	known_wrong.known == true
	known_wrong.affecting[severity] == 0
	is_number(known_wrong.undecided[severity])
} else := missing

known_wrong := input.firmware.vulnerabilities

vulnerabilities_required if lib.setting_boolean("vulnerabilities", "required", false) == true

undecided_tolerated if lib.setting_boolean("vulnerabilities", "tolerate_undecided", false) == true

# METADATA
# description: All settings have their types.
vulnerability_settings(severity, days) if {
	is_boolean(lib.setting_boolean("vulnerabilities", "required", false))
	is_boolean(lib.setting_boolean("vulnerabilities", "tolerate_undecided", false))
	is_number(lib.setting_number("vulnerabilities", "max_feed_age_seconds", 0))
	is_number(lib.setting_number("vulnerabilities", sprintf("%s_grace_seconds", [severity]), days))
}

# METADATA
# description: In seconds; undefined, and then no age, for a feed whose time is not known.
feed_age := (lib.now - time.parse_rfc3339_ns(known_wrong.feed_at)) / 1000000000

# METADATA
# description: A failure with the grace that is set for its severity.
late(finding, severity, otherwise) := object.union(finding, {"grace": lib.setting_number("vulnerabilities", sprintf("%s_grace_seconds", [severity]), otherwise) * 1000000000})

counted_vulnerabilities(n, severity) := lib.counted(n, sprintf("known %s vulnerability", [severity]), sprintf("known %s vulnerabilities", [severity]))

named_vulnerabilities(severity) := lib.listed(array.concat(first, more)) if {
	ids := sort({v.id | some v in known_wrong.list; v.severity == severity; v.undecided == false})
	first := array.slice(ids, 0, 5)
	more := [word | count(ids) > 5; word := "others"]
}

mended_by(later) := sprintf("Release %s is the first without.", [later.version]) if {
	later.version != ""
} else := "No later release without is published."
