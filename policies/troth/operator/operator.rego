# METADATA
# title: Operators
# description: >-
#   Who may do what. An action is a noun and a verb, device.list. Roles grow from
#   one to the next: a viewer reads what the service knows of the fleet; an
#   auditor also makes reports and reads the audit log; an operator also acts on
#   the fleet, and proposes policies; a security officer, beside what an auditor
#   may, answers for policies from push to rollback, quarantines and releases
#   devices and acknowledges alerts, and touches no firmware; an admin may do
#   everything, and alone touches operators, tokens, and the approval of waivers. Whoever
#   proposed a policy does not approve it, whatever the role: the service sees to
#   that. A proxy, or another relying party, asks whether a device may have access,
#   and for its attestation result, and may do nothing else.
package troth.operator

import data.troth.lib

# METADATA
# title: Operator decision
# entrypoint: true
decision := deny("action_malformed", "An action is a noun and a verb, like device.list.") if {
	not regex.match(`^[a-z][a-z_-]*\.[a-z][a-z_-]*$`, input.action)
} else := deny("operator_unknown", "Nobody is named who would act.") if {
	not named
} else := deny("out_of_scope", sprintf("The token's scope does not allow %s here.", [input.action])) if {
	may
	scoped
	not in_scope
} else := allow(sprintf("An admin may do %s.", [input.action])) if {
	input.role == "admin"
} else := deny("role_unknown", sprintf("There is no role %s.", [lib.quoted(input.role)])) if {
	not input.role in object.keys(granted)
} else := allow(sprintf("The role %s may do %s.", [input.role, input.action])) if {
	granted[input.role]
} else := deny("role_insufficient", sprintf("The role %s may not do %s.", [input.role, input.action]))

# METADATA
# description: Whether the role, whatever the scope, may do what is asked.
may if input.role == "admin"

may if granted[input.role]

# METADATA
# description: Whether the token is good for some of the devices only. Only an empty object is no scope.
scoped if input.scope != {}

# METADATA
# description: >-
#   A token with a scope acts on devices that have all labels of the scope. What is
#   about no device is for the whole fleet and not for it, but for reading releases,
#   for the list of devices, which the service keeps to the scope, and for a proxy's
#   question, which the service asks about again once it knows the device.
in_scope if {
	object.get(input, ["device", "id"], "") == ""
	input.action in {"device.list", "firmware.list", "access.decide"}
}

in_scope if {
	input.device.id != ""
	every label, value in input.scope {
		input.device.labels[label] == value
	}
}

# METADATA
# description: Whether each role, but for admin, may do what is asked.
granted := {
	"viewer": reads,
	"auditor": _any([reads, audits]),
	"operator": _any([reads, audits, operates]),
	"security": _any([reads, audits, secures]),
	"proxy": asks,
}

default reads := false

reads if {
	verb in {"list", "get", "watch"}
	not noun in {"operator", "token", "audit"}
}

default audits := false

audits if noun == "report"

audits if {
	noun == "audit"
	verb in {"list", "get", "verify", "export"}
}

default operates := false

operates if noun in {"device", "registration", "alert", "rollout", "firmware", "vuln"}

operates if {
	noun == "policy"
	verb in {"test", "preview", "push", "rollback", "reject", "shadow"}
}

operates if {
	noun == "waiver"
	verb == "request"
}

default secures := false

secures if input.action in {"device.quarantine", "device.release", "alert.acknowledge"}

secures if {
	noun == "policy"
	verb in {"test", "preview", "push", "approve", "activate", "rollback", "reject", "shadow"}
}

default asks := false

asks if input.action in {"access.decide", "device.result"}

noun := split(input.action, ".")[0]

verb := split(input.action, ".")[1]

named if {
	is_string(input.operator)
	input.operator != ""
}

_any(answers) := true in answers

allow(reason) := {"allow": true, "code": "", "reason": reason}

deny(code, reason) := {"allow": false, "code": code, "reason": reason}
