// Package api is the contract between trothd and those who talk to it: paths,
// wire types, the problem document, and the Go client that the agent and the
// command line share. Byte strings travel as standard base64, times as RFC 3339
// in UTC, digests as lower-case hexadecimal.
package api
