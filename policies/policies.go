// Package policies is Troth's own policy bundle: Rego that decides enrolment,
// posture, access, remediation and what operators may do, with the tests of all
// of it. Package policy says how a bundle works; nothing in Go depends on this
// one, and a directory of the same shape replaces it.
//
// Rego packages mirror directories: troth/posture/*.rego is package
// troth.posture, one file a theme. The settings that the policies read are in
// config/data.json and config/controls/data.json. The clauses of the frameworks that
// controls serve are in frameworks, by a directory each; docs/controls.md is made of
// them and of the controls' metadata.
package policies

import "embed"

// FS is the bundle.
//
//go:embed config frameworks troth
var FS embed.FS
