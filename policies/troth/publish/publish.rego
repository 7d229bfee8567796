# METADATA
# title: Publication
# description: >-
#   May this release be published, and may the service take it in? What is asked of
#   it is in config.publish, and off until somebody sets it: a number of approvals
#   (the keys that signed the role of the release), a bill of materials, provenance
#   from a named builder, a signature by a named signer, no known vulnerability of
#   some severities.
#
#   A builder and a signer are named together with who speaks for them: an identity
#   with its issuer, or the SHA-256 of a public key. Anybody may claim to be a
#   builder.
#
#   What could not be verified, and a feed that is not there, meet nothing.
package troth.publish

import data.troth.lib

# METADATA
# title: Publication decision
# entrypoint: true
decision := deny("publish_misconfigured", sprintf("A setting in config.publish is not what it has to be: %s.", [lib.listed(sort(misconfigured))])) if {
	count(misconfigured) > 0
} else := deny("approvals_missing", sprintf("Too few keys approved the release. %s", [approvals.reason])) if {
	not approvals.met
} else := deny("sbom_missing", sprintf("The release needs a bill of materials. %s", [sbom.reason])) if {
	sbom_required
	not sbom.met
} else := deny("provenance_unproven", sprintf("The release needs provenance from a named builder. %s", [provenance.reason])) if {
	provenance_required
	not provenance.met
} else := deny("signature_unproven", sprintf("The release needs a signature by a named signer. %s", [signature.reason])) if {
	signature_required
	not signature.met
} else := deny("vulnerabilities_known", sprintf("The release must be free of some known vulnerabilities. %s", [vulnerabilities.reason])) if {
	vulnerabilities_judged
	not vulnerabilities.met
} else := {
	"allow": true, "code": "", "requirements": requirements,
	"reason": sprintf("The release meets %s.", [lib.counted(count(requirements), "requirement", "requirements")]),
} if {
	every requirement in requirements {
		requirement.met == true
	}
	input.release.sha256 != ""
	input.release.model != ""
} else := deny("undecided", "The facts that publishing needs are missing.")

deny(code, reason) := {"allow": false, "code": code, "reason": reason, "requirements": requirements}

# METADATA
# description: What is asked of the release, and whether it is met.
requirements contains approvals

requirements contains sbom if sbom_required

requirements contains provenance if provenance_required

requirements contains signature if signature_required

requirements contains vulnerabilities if vulnerabilities_judged

met(id, reason) := {"id": id, "met": true, "reason": reason}

unmet(id, reason) := {"id": id, "met": false, "reason": reason}

# METADATA
# description: The keys that signed, each counted once.
approvers contains key if {
	some key in input.approvals.keys
	is_string(key)
	key != ""
}

default min_approvals := 1

min_approvals := lib.setting_number("publish", "min_approvals", 1)

approvals := met("approvals", sprintf("%s signed it, and %d had to.", [lib.counted(count(approvers), "key", "keys"), min_approvals])) if {
	count(approvers) >= min_approvals
} else := unmet("approvals", sprintf("%s signed it, and %d have to.", [lib.counted(count(approvers), "key", "keys"), min_approvals]))

sbom_required if lib.setting_boolean("publish", "require_sbom", false) == true

sbom := unmet("sbom", "There is none.") if {
	not input.sbom.given == true
} else := unmet("sbom", sprintf("It cannot be read: %s.", [lib.quoted(input.sbom.problem)])) if {
	not input.sbom.readable == true
} else := unmet("sbom", "It lists no component.") if {
	not input.sbom.components > 0
} else := met("sbom", sprintf("It lists %s.", [lib.counted(input.sbom.components, "component", "components")]))

provenance_required if count(builders) > 0

# METADATA
# description: The predicates of provenance (https://slsa.dev/spec) that are understood.
provenance_types := {"https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"}

provenance := unmet("provenance", "There is none.") if {
	not input.provenance.given == true
} else := unmet("provenance", sprintf("It does not verify: %s.", [lib.quoted(input.provenance.problem)])) if {
	not input.provenance.verified == true
} else := unmet("provenance", sprintf("Its predicate is %s, and no SLSA provenance.", [lib.quoted(input.provenance.predicate_type)])) if {
	not input.provenance.predicate_type in provenance_types
} else := met("provenance", sprintf("%s built it from %s, says %s.", [lib.quoted(input.provenance.builder), lib.quoted(input.provenance.source), who(input.provenance)])) if {
	some builder in builders
	builder.builder == input.provenance.builder
	speaks(builder, input.provenance)
	from(builder)
} else := unmet("provenance", sprintf("%s, built from %s, says %s: that is no named builder.", [lib.quoted(input.provenance.builder), lib.quoted(input.provenance.source), who(input.provenance)])) if {
	input.provenance.builder != ""
} else := unmet("provenance", "It names no builder.")

from(builder) if not builder.source

from(builder) if builder.source == input.provenance.source

signature_required if count(signers) > 0

signature := unmet("signature", "There is none.") if {
	not input.signature.given == true
} else := unmet("signature", sprintf("It does not verify: %s.", [lib.quoted(input.signature.problem)])) if {
	not input.signature.verified == true
} else := met("signature", sprintf("It is by %s.", [who(input.signature)])) if {
	some signer in signers
	speaks(signer, input.signature)
} else := unmet("signature", sprintf("It is by %s, and by no named signer.", [who(input.signature)]))

# METADATA
# description: Whether a verified bundle was signed by whom an entry of config names.
speaks(entry, bundle) if {
	entry.key == bundle.key
	entry.key != ""
}

speaks(entry, bundle) if {
	named(entry.identity, bundle.identity)
	entry.issuer == bundle.issuer
	bundle.identity != ""
	bundle.issuer != ""
}

# METADATA
# description: >-
#   An identity is the one that an entry names, or begins as an entry does that ends
#   in an asterisk: a workflow's identity ends in the branch or tag that it ran for.
named(entry, identity) if entry == identity

named(entry, identity) if {
	count(entry) > 1
	endswith(entry, "*")
	startswith(identity, trim_suffix(entry, "*"))
}

who(bundle) := sprintf("the key %s", [substring(bundle.key, 0, 16)]) if {
	bundle.key != ""
} else := sprintf("%s of %s", [lib.quoted(bundle.identity), lib.quoted(bundle.issuer)]) if {
	bundle.identity != ""
} else := "a signer without a name"

severities := {"critical", "high", "medium", "low", "unrated"}

vulnerabilities_judged if {
	count(refused_severities) > 0
	input.where != "intake"
}

vulnerabilities_judged if {
	count(refused_severities) > 0
	input.where == "intake"
	lib.setting_boolean("publish", "vulnerabilities_at_intake", true) == true
}

vulnerabilities := unmet("vulnerabilities", sprintf("Whether it has any is not known: %s.", [lib.quoted(input.vulnerabilities.problem)])) if {
	not input.vulnerabilities.known == true
} else := met("vulnerabilities", sprintf("None is known whose severity is %s.", [lib.listed(refused_severities)])) if {
	is_array(input.vulnerabilities.found)
	count(grave) == 0
} else := unmet("vulnerabilities", sprintf("It has %s.", [lib.listed(array.slice(sort(grave), 0, 5))])) if {
	count(grave) <= 5
} else := unmet("vulnerabilities", sprintf("It has %s and %d more.", [concat(", ", array.slice(sort(grave), 0, 5)), count(grave) - 5]))

grave contains sprintf("%s (%s) in %s", [v.id, v.severity, lib.quoted(v.component)]) if {
	some v in input.vulnerabilities.found
	v.severity in refused_severities
}

grave contains sprintf("%s (severity %s is none) in %s", [v.id, lib.quoted(v.severity), lib.quoted(v.component)]) if {
	some v in input.vulnerabilities.found
	not v.severity in severities
}

default builders := []

builders := data.config.publish.provenance_builders if is_array(data.config.publish.provenance_builders)

default signers := []

signers := data.config.publish.signature_signers if is_array(data.config.publish.signature_signers)

refused_severities := [word | some word in data.config.publish.refuse_vulnerabilities; word in severities]

# METADATA
# description: The settings that say nothing, whose meaning nobody may guess.
misconfigured contains setting if {
	some setting in {
		"min_approvals", "require_sbom", "vulnerabilities_at_intake",
		"provenance_builders", "signature_signers", "refuse_vulnerabilities",
	}
	not configured(setting)
}

misconfigured contains "all of it" if {
	_ = data.config.publish
	not is_object(data.config.publish)
}

# A call in a negation has to be a rule of its own: one that has no value would
# leave the negation without one too.
configured("min_approvals") if lib.setting_number("publish", "min_approvals", 1) >= 1

configured(setting) if {
	setting in {"require_sbom", "vulnerabilities_at_intake"}
	is_boolean(lib.setting_boolean("publish", setting, false))
}

configured("provenance_builders") if entries(raw("provenance_builders"), {"builder", "source"}, {"builder"})

configured("signature_signers") if entries(raw("signature_signers"), set(), set())

configured("refuse_vulnerabilities") if words(raw("refuse_vulnerabilities"))

raw(setting) := data.config.publish[setting] if lib.configured("publish", setting)

else := []

words(list) if {
	is_array(list)
	every word in list {
		word in severities
	}
}

entries(list, optional, required) if {
	is_array(list)
	every entry in list {
		is_object(entry)
		every text in entry {
			is_string(text)
			text != ""
		}
		names := object.keys(entry)
		count(required - names) == 0
		((names - optional) - required) in {{"key"}, {"identity", "issuer"}}
	}
}
