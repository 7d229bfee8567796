package ima

import (
	"bytes"
	"errors"
	"fmt"
)

// eventNameSize is what the legacy template pads a name to before hashing
// (IMA_EVENT_NAME_LEN_MAX + 1).
const eventNameSize = 256

// legacyData is what the hash of template "ima" covers: the digest and the name
// padded with zeros, without lengths.
func legacyData(digest, name []byte) []byte {
	out := make([]byte, len(digest)+eventNameSize)
	copy(out, digest)
	copy(out[len(digest):], name)
	return out
}

// setDigest reads a d-ng or d-ngv2 field: "[type:]algorithm:", NUL, digest.
func (e *Entry) setDigest(field []byte) error {
	label, digest, ok := bytes.Cut(field, []byte(":\x00"))
	if !ok {
		return errors.New("file digest has no algorithm")
	}
	if i := bytes.LastIndexByte(label, ':'); i >= 0 {
		label = label[i+1:]
	}
	if len(label) == 0 || len(label) > 32 {
		return errors.New("file digest has no algorithm")
	}
	e.Algorithm, e.Digest = interned(label), digest
	if size := digestSize(e.Algorithm); !e.Violation && size != 0 && size != len(digest) {
		return fmt.Errorf("a %s file digest of %d bytes", e.Algorithm, len(digest))
	}
	return nil
}

// digestSize of the kernel's hash names; 0 for one not known here.
func digestSize(algorithm string) int {
	switch algorithm {
	case "md5":
		return 16
	case "sha1", "rmd160":
		return 20
	case "sha224":
		return 28
	case "sha256", "sm3", "sm3-256", "streebog256":
		return 32
	case "sha384":
		return 48
	case "sha512", "streebog512", "wp512":
		return 64
	}
	return 0
}

// interned is a template's or an algorithm's name, without an allocation where it
// is one of those that most entries of a list share.
func interned(name []byte) string {
	switch string(name) {
	case "ima-ng":
		return "ima-ng"
	case "ima-sig":
		return "ima-sig"
	case "ima":
		return "ima"
	case "sha256":
		return "sha256"
	case "sha1":
		return "sha1"
	case "sha512":
		return "sha512"
	}
	return string(name)
}
