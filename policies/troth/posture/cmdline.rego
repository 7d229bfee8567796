# What the kernel was told.
package troth.posture

import data.troth.lib

# METADATA
# title: Kernel command line
# description: >-
#   Every kernel command line whose measured digest is that of its text has all
#   parameters of config.boot.command_line_required, and none of
#   config.boot.command_line_forbidden. A parameter is compared whole; one that
#   ends in = stands for any value. A required one with a value may have no other
#   value beside it, unless that is required too. The lines and the other commands
#   in the log must account for PCR 8 and 12. A unified kernel image has its
#   command line in PCR 11, as a digest only: hold it with reference values.
# scope: rule
# custom:
#   id: boot-command-line
#   theme: boot integrity
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     NIST SP 800-193: ["4.3"]
#     IEC 62443-4-2: ["CR 3.4", "EDR 3.14"]
#     ETSI EN 303 645: ["5.7-1"]
#     EU CRA: ["Annex I Part I (2)(f)"]
controls contains lib.control(rego.metadata.rule(), boot_command_line)

boot_command_line := {"outcome": "not_applicable", "reason": "Nothing is asked of the kernel's command line (config.boot.command_line_required, command_line_forbidden)."} if {
	not command_line_configured
} else := unproven if {
	not proven
} else := unusable("command_line_required and command_line_forbidden") if {
	not command_line_asked
} else := unlogged if {
	input.attestation.boot.known == false
} else := {"outcome": "fail", "reason": "The log does not account for PCR 8 and 12 (command lines)."} if {
	booted_known
	not "command_lines" in input.attestation.boot.complete
	is_array(input.attestation.boot.complete)
} else := {"outcome": "fail", "reason": "No kernel command line is verified."} if {
	is_array(input.attestation.boot.command_lines)
	count(verified_lines) == 0
} else := lib.fail(sprintf("The kernel command line has %s.", [lib.listed(sort(forbidden_found))])) if {
	count(forbidden_found) > 0
} else := lib.fail(sprintf("The kernel command line lacks %s.", [lib.listed(sort(required_lacking))])) if {
	count(required_lacking) > 0
} else := lib.fail(sprintf("The kernel command line has %s beside the value that is required.", [lib.listed(sort(required_contradicted))])) if {
	count(required_contradicted) > 0
} else := {"outcome": "pass", "reason": "The kernel command line is as required."} if {
	booted_known
	"command_lines" in input.attestation.boot.complete
	count(verified_lines) > 0
	count(forbidden_found) == 0
	count(required_lacking) == 0
	count(required_contradicted) == 0
} else := missing

command_line_configured if {
	some key in ["command_line_required", "command_line_forbidden"]
	lib.configured("boot", key)
}

# METADATA
# description: Rules of both settings; undefined where one of them is of a wrong type.
command_line_rules := {rule | some rule in array.concat(words_or_none("command_line_required"), words_or_none("command_line_forbidden"))}

command_line_asked if count(command_line_rules) > 0

words_or_none(key) := lib.setting_words("boot", key)

words_or_none(key) := [] if not lib.configured("boot", key)

verified_lines := [line.text |
	some line in input.attestation.boot.command_lines
	line.verified == true
	line.text != ""
]

forbidden_found := {lib.quoted(word) |
	some line in verified_lines
	some word in lib.possible_parameters(line)
	some rule in words_or_none("command_line_forbidden")
	lib.parameter_matches(rule, word)
}

required_lacking := {lib.quoted(rule) |
	some line in verified_lines
	words := lib.effective_parameters(line)
	some rule in words_or_none("command_line_required")
	not has_parameter(words, rule)
}

has_parameter(words, rule) if {
	some word in words
	lib.parameter_matches(rule, word)
}

# METADATA
# description: >-
#   The kernel takes the last value of most parameters, so that lockdown=none may
#   follow lockdown=integrity.
required_contradicted := {lib.quoted(word) |
	some line in verified_lines
	some word in lib.possible_parameters(line)
	some rule in words_or_none("command_line_required")
	contains(rule, "=")
	split(word, "=")[0] == split(lib.parameter(rule), "=")[0]
	not required_anyway(word)
}

required_anyway(word) if {
	some rule in words_or_none("command_line_required")
	lib.parameter_matches(rule, word)
}
