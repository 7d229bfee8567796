package cli

import (
	"encoding/pem"
	"io"
	"os"

	"github.com/spf13/cobra"

	"troth/tuf"
)

// maxCertificateFile bounds a file of IMA certificates, in bytes.
const maxCertificateFile = 64 << 10

// runnable is what a release says of the files that may run with it.
type runnable struct {
	allowList, algorithm string
	certificates         []string // files
}

func (r *runnable) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.allowList, "ima-allow-list", "", "`FILE` with the digests of the files that may run, as sha256sum prints them")
	f.StringVar(&r.algorithm, "ima-algorithm", "sha256", "of these digests: sha256, sha384, sha512")
	f.StringArrayVar(&r.certificates, "ima-certificate", nil, "`FILE` of a certificate whose key signs files that may run (PEM or DER); may be repeated")
}

// open reads the certificates into the release, and opens the allow-list. The
// caller closes what it returns.
func (r *runnable) open(a *app, rel *tuf.Release) (tuf.Files, io.Closer, error) {
	for _, file := range r.certificates {
		text, err := a.readFile(file, maxCertificateFile)
		if err != nil {
			return tuf.Files{}, nil, err
		}
		if rel.IMA == nil {
			rel.IMA = &tuf.IMA{}
		}
		rel.IMA.Certificates = append(rel.IMA.Certificates, certificatesIn(text)...)
	}
	if r.allowList == "" {
		return tuf.Files{}, io.NopCloser(nil), nil
	}
	list, err := os.Open(r.allowList)
	if err != nil {
		return tuf.Files{}, nil, failf(exitUsage, codeFile, "%s", err)
	}
	return tuf.Files{Algorithm: r.algorithm, AllowList: list}, list, nil
}

// certificatesIn are those of a PEM file, or the file itself.
func certificatesIn(text []byte) [][]byte {
	var found [][]byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		found = append(found, block.Bytes)
	}
	if found == nil {
		return [][]byte{text}
	}
	return found
}
