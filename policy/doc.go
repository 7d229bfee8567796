// Package policy decides. It turns facts about a device into decisions by Rego
// (Rego v1, https://www.openpolicyagent.org/docs/policy-language) behind typed
// Go: an Engine compiles a bundle once, keeps one prepared query for each Kind
// of decision, and every answer that is not exactly what its type promises is
// refused.
//
// # A bundle
//
// A bundle is a file tree (fs.FS) of Rego modules (*.rego), their tests
// (*_test.rego, which the Engine does not load) and data.json files, whose
// content stands at their directory's path (config/data.json is data.config).
// Its digest names it; see Engine.Digest. The library in package policies is
// one, and any directory of the same shape can take its place.
//
// A bundle answers these documents:
//
//	data.troth.enroll.decision     {allow, code, reason, certificate_lifetime_seconds}
//	data.troth.renew.decision      {allow, code, reason, certificate_lifetime_seconds, rotate_key}
//	data.troth.posture.decision    {verdict, controls: {{id, outcome, reason, since, enforced_at}}}
//	data.troth.access.decision     {allow, code, reason}
//	data.troth.remediate.decision  {actions: {{kind, control, reason, release}}}
//	data.troth.operator.decision   {allow, code, reason}
//	data.troth.rollout.decision    {allow, code, reason}
//	data.troth.publish.decision    see PublishDecision
//
// A lifetime may be left out. Each of them is one rule, with at most one default beside it: a second rule
// elsewhere in a bundle that seems to deny, and does not, cannot be written.
// Every rule named controls in data.troth.posture carries a METADATA annotation
// that says what the control is; see ControlMeta.
//
// # Failing closed
//
// An undefined document, an evaluation error, a built-in function's error, a
// wrong type, an unknown or a missing field, an unknown word, a timeout and an
// answer that contradicts itself all give the decision that grants nothing
// (verdict "error", Allow false, no actions) together with an error that says
// why. A compliant verdict is believed only if every control of the bundle
// answered, and none fails past its grace or could not be decided.
//
// # What a policy cannot do
//
// Policies see their input and their data and nothing else. The compiler knows
// only an allow-list of pure, deterministic built-in functions: nothing that
// reaches a network, a clock, a random source, the process's environment or the
// compiler itself. Time is input.now. So a decision can be reached again from
// the bundle and the input alone; see Engine.Replay.
//
// What it may read is known: the schemas of the inputs (Schema) are those of the Go
// types, and a bundle that reads a path which is none of theirs is refused.
//
// # What a policy cannot take
//
// An evaluation ends at its deadline, and when the live heap grows too far while it
// is slow. Both act between the steps of an evaluation, so that no single step may be
// too large: each built-in function that can make much of little is asked beforehand
// how much. What remains is time: a comparison of values that hold one another many
// times over is one step, and nothing ends it.
//
// The package never reads a clock for a decision, logs or exits. The timers
// in it are those of an evaluation.
package policy
