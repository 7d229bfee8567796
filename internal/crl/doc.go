// Package crl gets the revocation lists of TPM manufacturers for package
// attest/ek, which judges them: from a directory that an operator fills, and from
// the addresses in certificates (RFC 5280, 4.2.1.13), within bounds. What was
// fetched is kept on disk.
//
// An address in a certificate is a manufacturer's word, and a service that
// fetches what others name can be made to reach into its own network. So the
// address that is dialled counts, after every redirect and whatever a name
// resolved to: private, loopback, link-local and metadata addresses are refused
// unless an operator allows them.
package crl
