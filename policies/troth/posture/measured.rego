# What the firmware and the boot loader measured, held against what config.boot
# asks for. A control whose setting is not there does not apply; one whose setting
# is of a wrong type, or whose facts are missing, cannot be decided.
package troth.posture

import data.troth.lib

# METADATA
# title: Revocations present
# description: >-
#   The measured dbx has every entry of config.boot.dbx_required (SHA-256 in
#   hexadecimal, of a certificate or an image). The digest of the empty file, with
#   which some firmware fills an empty dbx, counts for nothing.
# scope: rule
# custom:
#   id: boot-dbx
#   theme: boot integrity
#   severity: high
#   grace: 336h
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     NIST SP 800-193: ["4.2"]
#     IEC 62443-4-2: ["EDR 3.14"]
#     EU CRA: ["Annex I Part I (2)(c)"]
controls contains lib.control(rego.metadata.rule(), boot_dbx)

boot_dbx := {"outcome": "not_applicable", "reason": "No entries of dbx are required (config.boot.dbx_required)."} if {
	not lib.configured("boot", "dbx_required")
} else := unproven if {
	not proven
} else := unusable("dbx_required") if {
	not count(dbx_required) > 0
} else := lib.undecided("config.boot.dbx_required names the digest of the empty file, which revokes nothing.") if {
	empty_file in dbx_required
} else := {"outcome": "fail", "reason": "Nothing that the device sent shows what is revoked."} if {
	input.attestation.secure_boot.known == false
} else := lib.pass(sprintf("All %d required entries are in dbx.", [count(dbx_required)])) if {
	input.attestation.secure_boot.known == true
	count(dbx_lacks) == 0
} else := lib.undecided("dbx has more entries than policies are shown.") if {
	"dbx" in input.attestation.secure_boot.cut
} else := lib.fail(sprintf("dbx lacks %d of %d required entries, for one %s.", [
	count(dbx_lacks),
	count(dbx_required),
	min(dbx_lacks),
])) if {
	input.attestation.secure_boot.known == true
	count(dbx_lacks) > 0
} else := missing

dbx_required contains lower(entry) if some entry in lib.setting_words("boot", "dbx_required")

# A document without dbx is not one with an empty dbx: then this is undefined.
dbx_lacks := dbx_required - {entry | some entry in entries} if entries := input.attestation.secure_boot.dbx

empty_file := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

# METADATA
# title: Booted by listed authorities
# description: >-
#   Secure Boot is on, and every key that the firmware or shim verified an image
#   with is one of config.boot.authorities (SHA-256 in hexadecimal of the
#   certificate, or of an image that db lists itself). At least one of them is an
#   entry of the measured db.
# scope: rule
# custom:
#   id: boot-authorities
#   theme: boot integrity
#   severity: critical
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     NIST SP 800-193: ["4.2", "4.3"]
#     IEC 62443-4-2: ["EDR 3.12", "EDR 3.14"]
#     ETSI EN 303 645: ["5.7-1"]
#     EU CRA: ["Annex I Part I (2)(f)"]
controls contains lib.control(rego.metadata.rule(), boot_authorities)

boot_authorities := {"outcome": "not_applicable", "reason": "No authorities are listed (config.boot.authorities)."} if {
	not lib.configured("boot", "authorities")
} else := unproven if {
	not proven
} else := unusable("authorities") if {
	not count(authorities) > 0
} else := {"outcome": "fail", "reason": "Secure Boot is not shown to be on, so that nothing verified the boot loader."} if {
	some state in ["known", "enabled"]
	input.attestation.secure_boot[state] == false
} else := lib.undecided("The log names more authorities than policies are shown.") if {
	"authorities" in input.attestation.boot.cut
} else := lib.fail(sprintf("An image was verified by %s, which is not listed.", [lib.listed(sort(foreign_authorities))])) if {
	count(foreign_authorities) > 0
} else := {"outcome": "fail", "reason": "The log does not tell of an entry of db that verified the boot loader."} if {
	booted_known
	not verified_authority
} else := lib.pass(sprintf("Everything was verified by listed authorities, the boot loader by %s.", [lib.listed(sort(db_authorities))])) if {
	booted_known
	input.attestation.secure_boot.enabled == true
	count(foreign_authorities) == 0
	count(db_authorities) > 0
} else := missing

authorities contains lower(entry) if some entry in lib.setting_words("boot", "authorities")

booted_known if input.attestation.boot.known == true

foreign_authorities := {sprintf("%s of %s", [lib.quoted(a.fingerprint), lib.quoted(a.variable)]) |
	some a in input.attestation.boot.authorities
	not a.fingerprint in authorities
}

db_authorities := {a.fingerprint | some a in input.attestation.boot.authorities; a.verified == true}

verified_authority if count(db_authorities) > 0

# METADATA
# title: No unlisted option ROMs
# description: >-
#   What was measured into PCR 2 is only option ROMs whose digest is one of
#   config.boot.option_roms (SHA-256, Authenticode; an empty list allows none).
#   The measurements that the log calls option ROMs must account for all of PCR 2:
#   what it calls otherwise is not authenticated.
# scope: rule
# custom:
#   id: boot-option-roms
#   theme: boot integrity
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     NIST SP 800-193: ["4.3"]
#     IEC 62443-4-2: ["CR 3.4", "EDR 3.14"]
controls contains lib.control(rego.metadata.rule(), boot_option_roms)

boot_option_roms := {"outcome": "not_applicable", "reason": "No option ROMs are listed (config.boot.option_roms)."} if {
	not lib.configured("boot", "option_roms")
} else := unproven if {
	not proven
} else := unusable("option_roms") if {
	not lib.setting_words("boot", "option_roms")
} else := unlogged if {
	input.attestation.boot.known == false
} else := lib.fail(sprintf("An option ROM is not listed: %s.", [lib.listed(sort(foreign_roms))])) if {
	count(foreign_roms) > 0
} else := {"outcome": "fail", "reason": "The log does not account for PCR 2 (option ROMs) by option ROMs alone."} if {
	booted_known
	not "option_roms" in input.attestation.boot.complete
	is_array(input.attestation.boot.complete)
} else := lib.pass(sprintf("PCR 2 holds %s, all of them listed.", [lib.counted(count(input.attestation.boot.option_roms), "option ROM", "option ROMs")])) if {
	booted_known
	"option_roms" in input.attestation.boot.complete
	count(foreign_roms) == 0
} else := missing

option_roms contains lower(entry) if some entry in lib.setting_words("boot", "option_roms")

foreign_roms := {rom.digest | some rom in input.attestation.boot.option_roms; not rom.digest in option_roms}

# METADATA
# title: No unlisted owner keys of shim
# description: >-
#   Every variable of shim's owner database that was measured (MokList, MokListX,
#   MokListTrusted, MokSBState) has a digest that is one of config.boot.mok
#   (SHA-256; an empty list allows none). They must account for all of PCR 14. A
#   boot without shim measures nothing there, and passes.
# scope: rule
# custom:
#   id: boot-mok
#   theme: boot integrity
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     NIST SP 800-193: ["4.2"]
#     IEC 62443-4-2: ["EDR 3.14"]
controls contains lib.control(rego.metadata.rule(), boot_mok)

boot_mok := {"outcome": "not_applicable", "reason": "Nothing is listed for shim's owner database (config.boot.mok)."} if {
	not lib.configured("boot", "mok")
} else := unproven if {
	not proven
} else := unusable("mok") if {
	not lib.setting_words("boot", "mok")
} else := unlogged if {
	input.attestation.boot.known == false
} else := lib.fail(sprintf("shim's owner database is not as listed: %s.", [lib.listed(sort(foreign_mok))])) if {
	count(foreign_mok) > 0
} else := {"outcome": "fail", "reason": "The log does not account for PCR 14 (shim's keys) by shim's variables alone."} if {
	booted_known
	not "shim" in input.attestation.boot.complete
	is_array(input.attestation.boot.complete)
} else := lib.pass(sprintf("shim's owner database has %s, all of them listed.", [lib.counted(count(input.attestation.boot.shim), "variable", "variables")])) if {
	booted_known
	"shim" in input.attestation.boot.complete
	count(foreign_mok) == 0
} else := missing

mok contains lower(entry) if some entry in lib.setting_words("boot", "mok")

foreign_mok := {sprintf("%s is %s", [lib.quoted(v.name), v.digest]) | some v in input.attestation.boot.shim; not v.digest in mok}

# METADATA
# title: SBAT level current
# description: >-
#   The SBAT level that shim enforced is of config.boot.sbat_level or later (its
#   date as a number, 2025021800). Below it shim starts boot loaders that are
#   known to be broken.
# scope: rule
# custom:
#   id: boot-sbat
#   theme: boot integrity
#   severity: high
#   grace: 336h
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     NIST SP 800-193: ["4.2"]
#     IEC 62443-4-2: ["EDR 3.14"]
#     EU CRA: ["Annex I Part I (2)(c)"]
controls contains lib.control(rego.metadata.rule(), boot_sbat)

boot_sbat := {"outcome": "not_applicable", "reason": "No SBAT level is required (config.boot.sbat_level)."} if {
	not lib.configured("boot", "sbat_level")
} else := unproven if {
	not proven
} else := unusable("sbat_level") if {
	not lib.setting_number("boot", "sbat_level", 0)
} else := unlogged if {
	input.attestation.boot.known == false
} else := {"outcome": "fail", "reason": "shim measured no SBAT level."} if {
	input.attestation.boot.sbat_level.known == false
} else := {"outcome": "fail", "reason": "The SBAT level in the log is only claimed."} if {
	input.attestation.boot.sbat_level.verified == false
} else := {"outcome": "fail", "reason": "The SBAT level has no date."} if {
	is_string(input.attestation.boot.sbat_level.text)
	not sbat_level
} else := lib.fail(sprintf("The SBAT level is of %d, older than %d.", [sbat_level, lib.setting_number("boot", "sbat_level", 0)])) if {
	sbat_level < lib.setting_number("boot", "sbat_level", 0)
} else := lib.pass(sprintf("The SBAT level is of %d.", [sbat_level])) if {
	input.attestation.boot.sbat_level.verified == true
	sbat_level >= lib.setting_number("boot", "sbat_level", 0)
} else := missing

# METADATA
# description: The first line is sbat,1,DATE (shim, SBAT.md).
sbat_level := to_number(parts[1]) if {
	parts := regex.find_all_string_submatch_n(`^sbat,[0-9]+,([0-9]{10})(\n|,|$)`, input.attestation.boot.sbat_level.text, 1)[0]
}

unlogged := {"outcome": "fail", "reason": "Without an event log nothing shows what was measured."}

# METADATA
# description: A setting that does not say what it should decides nothing.
unusable(key) := lib.undecided(sprintf("The setting config.boot.%s cannot be used.", [key]))
