// Package client is the updater of a device: it follows a TUF repository and
// downloads from it, as The Update Framework specification 1.0.31, section 5,
// describes (https://theupdateframework.github.io/specification/latest/).
//
// Verification is go-tuf's trustedmetadata. What surrounds it is written for
// devices that lose power and network at any moment and talk to servers that
// may be hostile: every byte count is bounded before it is read, a stalled or
// trickling answer is given up, only accepted metadata is kept, downloads go to
// disk and resume, and what was written is hashed again before it gets its
// name.
//
// What an attacker on the network or in control of the server can do: withhold
// updates until the last signed timestamp expires, after which every call fails
// with CodeExpired. They cannot offer other content, older content, or a
// mixture of releases.
package client
