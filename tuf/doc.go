// Package tuf makes and keeps a repository of signed firmware releases, as
// The Update Framework specification 1.0.31 describes it
// (https://theupdateframework.github.io/specification/latest/).
//
// A repository is a directory that any web server can serve as it is:
//
//	metadata/   1.root.json, N.targets.json, N.snapshot.json, timestamp.json
//	targets/    <sha256>.<name>, the content (consistent snapshots)
//
// The root and targets keys belong offline, the snapshot and timestamp keys
// beside the service that calls Refresh. Keys are files in a directory of
// their own; which of them are needed is decided by the signed root, so any
// operation works whenever its keys are there, and says which are not.
//
// Every write is a new file or an atomic rename, timestamp.json last: a client
// sees the repository before or after an operation, and never in between, also
// when the machine stops halfway.
package tuf
