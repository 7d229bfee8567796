// Package fleet is Troth's domain: devices, postures, alerts, rollouts and the
// transitions between their states.
//
// Everything here is pure. Nothing reads a clock, a file or a network: the time
// is an argument, and a transition returns the new state, or an error of one of
// the kinds in errors.go, and never half of one. A use case assembles what
// happened into a Change, which a store writes whole or not at all.
package fleet
