package attesttest

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2/transport"
)

// MeasureFile does what IMA does when the running system opens a file for the
// first time: it extends PCR 10 in all banks and returns the list with one
// more line.
func MeasureFile(t transport.TPM, list []byte, f File) ([]byte, error) {
	return measure(t, list, f.Path, sum256(f.Content))
}

// measure adds an entry of the template ima-ng. Each bank is extended with its
// own hash of the template data; the ASCII list shows the one of SHA-1.
func measure(t transport.TPM, list []byte, path string, digest []byte) ([]byte, error) {
	// The kernel writes and measures a space in a name as an underscore.
	name := strings.ReplaceAll(path, " ", "_")
	template := templateNG(name, digest)
	if err := extend(t, 10, template); err != nil {
		return nil, fmt.Errorf("measure %s: %w", path, err)
	}
	return fmt.Appendf(list, "10 %x ima-ng sha256:%x %s\n", sha1.Sum(template), digest, name), nil
}

// templateNG is the template data of ima-ng: the fields d-ng and n-ng, each
// behind its length.
func templateNG(path string, digest []byte) []byte {
	dng := append([]byte("sha256:\x00"), digest...)
	nng := append([]byte(path), 0)
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(dng)))
	out = append(out, dng...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(nng)))
	return append(out, nng...)
}
