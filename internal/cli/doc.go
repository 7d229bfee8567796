// Package cli is the troth command line: nouns and verbs over the operator API
// (internal/api), and the offline commands over the capability packages.
//
// Every command answers as a table for people, or as JSON or YAML (-o) for
// programs. The exit status is 0 when it is done, 1 when the answer is no, 2
// when the command was used wrongly, and 3 when no answer could be had. What a
// device or another operator wrote is hostile text: no control byte of it
// reaches a terminal.
package cli
