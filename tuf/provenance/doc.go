// Package provenance verifies who signed a firmware image, and who built it from
// what: sigstore bundles (https://docs.sigstore.dev/about/bundle, versions 0.1 to
// 0.3) with a signature over the image, as cosign makes them, or with an in-toto
// statement about it (https://github.com/in-toto/attestation, Statement v0.1 and
// v1) that carries SLSA provenance (https://slsa.dev/spec, v0.2 and v1).
//
// Everything is verified from what is at hand: the image's digest, the bundle, and
// a Trust made of a trusted_root.json and of plain public keys. Nothing asks a
// network, and the clock is that of the timestamps in the bundle. Who of those that
// verify is good enough is for a policy to say.
package provenance
