package tuf

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Bounds of what a release says of files.
const (
	MaxAllowListBytes   = 1 << 30 // the file of an allow-list
	MaxAllowListEntries = 4 << 20 // its lines
	maxAllowListLine    = 8 << 10 // bytes of a line
	maxIMACertificates  = 16
	maxCertificate      = 2 << 10 // bytes, DER
)

// IMA says which files may run on a device with the release, beyond what its
// PCRs show: files whose digest is in the allow-list, and files with an IMA
// signature that verifies under one of the certificates.
type IMA struct {
	AllowList    *AllowList `json:"allow_list,omitempty"`
	Certificates [][]byte   `json:"certificates,omitempty"` // X.509 DER, at most 16 of 2 KiB; only their keys count
}

// AllowList names a target of its own beside the image, because a million
// digests do not fit into metadata that every device reads. The release's signed
// metadata pins it; ParseAllowList says what is in it.
type AllowList struct {
	Target    string `json:"target"`
	Length    int64  `json:"length"`
	SHA256    string `json:"sha256"`    // of the file, 64 lower-case hex digits
	Algorithm string `json:"algorithm"` // of the digests in it: sha256, sha384, sha512
}

// DigestSize is the size in bytes of a digest that an allow-list may have; zero
// for another algorithm, SHA-1 among them.
func DigestSize(algorithm string) int {
	switch algorithm {
	case "sha256":
		return 32
	case "sha384":
		return 48
	case "sha512":
		return 64
	}
	return 0
}

// ParseAllowList reads an allow-list to its end: lines as sha256sum (sha384sum,
// sha512sum) of GNU coreutils print them, the digest in lower-case hexadecimal, a
// space, a space or an asterisk, and the file's name, which counts for nothing. It
// calls add with each digest, which is only lent. It holds one line at a time.
// Errors wrap ErrInvalid and name the line, or are those of r and add.
func ParseAllowList(r io.Reader, algorithm string, add func(digest []byte) error) error {
	size := DigestSize(algorithm)
	if size == 0 {
		return fmt.Errorf("parse allow-list: %w: digests of %.16q are not accepted", ErrInvalid, algorithm)
	}
	digest := make([]byte, size)
	lines := bufio.NewReaderSize(r, maxAllowListLine)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("parse allow-list: %w: line %d is longer than %d bytes", ErrInvalid, n, maxAllowListLine)
		case err != nil && err != io.EOF:
			return fmt.Errorf("parse allow-list: %w", err)
		case len(line) == 0 && n == 1:
			return fmt.Errorf("parse allow-list: %w: it is empty", ErrInvalid)
		case len(line) == 0:
			return nil
		case n > MaxAllowListEntries:
			return fmt.Errorf("parse allow-list: %w: more than %d lines", ErrInvalid, MaxAllowListEntries)
		}
		if !parseLine(line, digest) {
			return fmt.Errorf("parse allow-list: %w: line %d is not a %s digest and a name", ErrInvalid, n, algorithm)
		}
		if err := add(digest); err != nil {
			return fmt.Errorf("parse allow-list: %w", err)
		}
	}
}

// parseLine decodes the digest of a line. A backslash before it says that the
// name has escapes.
func parseLine(line, digest []byte) bool {
	line = bytes.TrimPrefix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\\'})
	digits := 2 * len(digest)
	if len(line) < digits+3 || line[digits] != ' ' || line[digits+1] != ' ' && line[digits+1] != '*' {
		return false
	}
	for _, c := range line[:digits] {
		if c >= 'A' && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(digest, line[:digits])
	return err == nil
}

func (i IMA) validate() error {
	if i.AllowList == nil && len(i.Certificates) == 0 {
		return fmt.Errorf("%w: it speaks of IMA, and has neither an allow-list nor certificates", ErrInvalid)
	}
	if len(i.Certificates) > maxIMACertificates {
		return fmt.Errorf("%w: more than %d IMA certificates", ErrInvalid, maxIMACertificates)
	}
	for n, der := range i.Certificates {
		if len(der) > maxCertificate {
			return fmt.Errorf("%w: IMA certificate %d has more than %d bytes", ErrInvalid, n, maxCertificate)
		}
		if _, err := x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("%w: IMA certificate %d: %w", ErrInvalid, n, err)
		}
	}
	if i.AllowList == nil {
		return nil
	}
	return i.AllowList.validate()
}

func (l AllowList) validate() error {
	if err := ValidName(l.Target); err != nil {
		return err
	}
	if DigestSize(l.Algorithm) == 0 {
		return fmt.Errorf("%w: allow-list of %.16q digests; sha256, sha384 and sha512 are accepted", ErrInvalid, l.Algorithm)
	}
	if l.Length < 1 || l.Length > MaxAllowListBytes {
		return fmt.Errorf("%w: an allow-list has 1 to %d bytes", ErrInvalid, MaxAllowListBytes)
	}
	if !isSHA256(l.SHA256) {
		return fmt.Errorf("%w: allow-list digest is not 64 lower-case hex digits", ErrInvalid)
	}
	return nil
}
