# METADATA
# title: Posture
# description: >-
#   The verdict on a device and the controls behind it. Each control is a rule
#   named controls with a METADATA annotation, in the file of its theme; what it
#   found is a rule of its own that ends in an unconditional else, so that a fact
#   which is missing is an error and never a pass.
#
#   A finding with a fixed sentence is written as the object that lib.pass and its
#   like make: with seventy controls their calls are a fifth of a decision.
package troth.posture

import data.troth.lib

# METADATA
# title: Posture decision
# entrypoint: true
decision := {"verdict": verdict, "controls": controls}

# METADATA
# description: >-
#   A device is noncompliant if a control fails whose grace has passed;
#   undecided (error) if one could not be decided; compliant if at least one
#   passed, and all others passed, do not apply, fail within their grace, or are
#   advisory.
default verdict := "error"

verdict := "noncompliant" if {
	"fail" in outcomes
	some control in controls
	control.outcome == "fail"
	lib.enforced(control)
} else := "compliant" if {
	lib.now
	"pass" in outcomes
	count(outcomes - {"pass", "not_applicable", "fail"}) == 0
}

# METADATA
# description: What the controls found that count.
outcomes := {control.outcome | some control in controls; not control.advisory}

# METADATA
# description: >-
#   Nothing that evidence says is a fact before the evidence has verified. Every
#   control over it begins with this.
default proven := false

proven if input.attestation.verified == true

unproven := lib.undecided("The evidence did not verify, so nothing that it says is proven.")

# What a control says if the facts that it needs are not there.
missing := lib.undecided("The facts that this control needs are missing.")

# METADATA
# description: >-
#   What a control over input.host says where a fact is not there. Such a control
#   passes only under a verified quote, which binds what the device reports.
unreported := lib.undecided("The device does not report this, or its agent could not read it.")
