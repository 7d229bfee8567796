# Whether the device can be kept running, and by which agent. In the device's own
# words.
package troth.posture

import data.troth.lib

# METADATA
# title: Clock synchronised
# description: >-
#   The kernel's clock is disciplined by a time source (adjtimex(2)). Certificates
#   and logs rest on it.
# scope: rule
# custom:
#   id: clock-synchronised
#   theme: lifecycle and presence
#   severity: low
#   grace: 24h
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(l)"]
#     IEC 62443-4-2: ["CR 2.11"]
#     NISTIR 8259A: ["Cybersecurity State Awareness"]
#     NIST SP 800-213A: ["Cybersecurity State Awareness"]
controls contains lib.control(rego.metadata.rule(), clock_synchronised)

clock_synchronised := {"outcome": "pass", "reason": "The device reports that its clock is synchronised."} if {
	proven
	input.host.upkeep.time_synchronised == true
} else := {"outcome": "fail", "reason": "The device reports that its clock is not synchronised."} if {
	input.host.upkeep.time_synchronised == false
} else := unreported

# METADATA
# title: Space for updates and logs
# description: >-
#   At least config.upkeep.min_free_percent per cent (10 unless set) of the
#   agent's file system is free.
# scope: rule
# custom:
#   id: space-left
#   theme: lifecycle and presence
#   severity: low
#   grace: 24h
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(c)", "Annex I Part I (2)(l)"]
#     IEC 62443-4-2: ["CR 2.9"]
#     NISTIR 8259A: ["Software Update"]
#     NIST SP 800-213A: ["Software Update"]
controls contains lib.control(rego.metadata.rule(), space_left)

space_left := {"outcome": "pass", "reason": "The device reports enough free space."} if {
	proven
	input.host.upkeep.free_percent >= lib.setting_number("upkeep", "min_free_percent", 10)
} else := {"outcome": "fail", "reason": "The device reports less free space than it should have."} if {
	input.host.upkeep.free_percent < lib.setting_number("upkeep", "min_free_percent", 10)
} else := unreported

# METADATA
# title: Restarted in time
# description: >-
#   The device did not run for longer than config.upkeep.max_uptime_days without a
#   restart, which measures it anew. Without that setting it may.
# scope: rule
# custom:
#   id: restarted-in-time
#   theme: lifecycle and presence
#   severity: low
#   grace: 168h
#   remediation: none
#   evidence: reported
#   frameworks:
#     NIST SP 800-193: ["4.3"]
#     NIST SP 800-213A: ["Cybersecurity State Awareness"]
controls contains lib.control(rego.metadata.rule(), restarted_in_time)

restarted_in_time := {"outcome": "not_applicable", "reason": "Restarts are not asked for (config.upkeep.max_uptime_days)."} if {
	not lib.configured("upkeep", "max_uptime_days")
} else := lib.undecided("The setting config.upkeep.max_uptime_days cannot be used.") if {
	not lib.setting_number("upkeep", "max_uptime_days", 0)
} else := {"outcome": "pass", "reason": "The device reports that it was restarted in time."} if {
	proven
	input.host.upkeep.uptime_days <= lib.setting_number("upkeep", "max_uptime_days", 0)
} else := {"outcome": "fail", "reason": "The device reports that it runs without a restart for longer than it may."} if {
	input.host.upkeep.uptime_days > lib.setting_number("upkeep", "max_uptime_days", 0)
} else := unreported

# METADATA
# title: Agent current
# description: >-
#   The agent is of config.agent.minimum_version or later (semantic versions).
#   Without that setting any will do.
# scope: rule
# custom:
#   id: agent-current
#   theme: lifecycle and presence
#   severity: medium
#   grace: 336h
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(c)"]
#     ETSI EN 303 645: ["5.3-8"]
#     NISTIR 8259A: ["Software Update"]
#     NIST SP 800-213A: ["Software Update"]
controls contains lib.control(rego.metadata.rule(), agent_current)

agent_current := {"outcome": "not_applicable", "reason": "No version of the agent is asked for (config.agent.minimum_version)."} if {
	not lib.configured("agent", "minimum_version")
} else := lib.undecided("The setting config.agent.minimum_version cannot be used.") if {
	not agent_minimum
} else := {"outcome": "pass", "reason": "The device reports an agent that is current."} if {
	proven
	semver.compare(agent_version, agent_minimum) >= 0
} else := lib.fail(sprintf("The device reports an agent that is older than %s.", [agent_minimum])) if {
	semver.compare(agent_version, agent_minimum) < 0
} else := unreported

agent_minimum := data.config.agent.minimum_version if semver.is_valid(data.config.agent.minimum_version)

# METADATA
# description: A version that is none, as a build of somebody's own has, is not known.
agent_version := version if {
	version := trim_prefix(input.host.agent.version, "v")
	semver.is_valid(version)
}

# METADATA
# title: Agent unprivileged
# description: >-
#   The agent does not run as root: it needs the TPM and its own directory, and
#   nothing more.
# scope: rule
# custom:
#   id: agent-unprivileged
#   theme: lifecycle and presence
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(k)"]
#     IEC 62443-4-2: ["CR 2.1"]
#     ETSI EN 303 645: ["5.6-7"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), agent_unprivileged)

agent_unprivileged := {"outcome": "pass", "reason": "The device reports that its agent does not run as root."} if {
	proven
	input.host.agent.root == false
} else := {"outcome": "fail", "reason": "The device reports that its agent runs as root."} if {
	input.host.agent.root == true
} else := unreported
