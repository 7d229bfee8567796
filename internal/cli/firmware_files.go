package cli

import (
	"bytes"
	"encoding/pem"
	"io"
	"os"

	"github.com/spf13/cobra"

	"troth/tuf"
	"troth/tuf/sbom"
)

// maxCertificateFile bounds a file of IMA certificates, in bytes.
const maxCertificateFile = 64 << 10

// beside is what is published beside an image.
type beside struct {
	allowList, algorithm        string
	certificates                []string // files
	sbom, provenance, signature string   // files
}

func (b *beside) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&b.allowList, "ima-allow-list", "", "`FILE` with the digests of the files that may run, as sha256sum prints them")
	f.StringVar(&b.algorithm, "ima-algorithm", "sha256", "of these digests: sha256, sha384, sha512")
	f.StringArrayVar(&b.certificates, "ima-certificate", nil, "`FILE` of a certificate whose key signs files that may run (PEM or DER); may be repeated")
	f.StringVar(&b.sbom, "sbom", "", "`FILE` with the bill of materials (CycloneDX, JSON)")
	f.StringVar(&b.provenance, "provenance", "", "`FILE` that says who built it from what (sigstore bundle with in-toto SLSA provenance)")
	f.StringVar(&b.signature, "signature-bundle", "", "`FILE` with a signature over the image (sigstore bundle, as cosign sign-blob --bundle writes it)")
}

// open reads the certificates into the release, and opens the files. The caller
// closes what it returns.
func (b *beside) open(a *app, rel *tuf.Release) (files tuf.Files, opened io.Closer, err error) {
	opened = io.NopCloser(nil)
	for _, file := range b.certificates {
		text, err := a.readFile(file, maxCertificateFile)
		if err != nil {
			return files, opened, err
		}
		if rel.IMA == nil {
			rel.IMA = &tuf.IMA{}
		}
		rel.IMA.Certificates = append(rel.IMA.Certificates, certificatesIn(text)...)
	}
	if b.sbom != "" {
		document, err := a.readFile(b.sbom, sbom.MaxBytes)
		if err != nil {
			return files, opened, err
		}
		if _, err := sbom.Read(document); err != nil {
			return files, opened, failf(exitUsage, "sbom_invalid", "%s: %s", b.sbom, err)
		}
		files.SBOM = bytes.NewReader(document)
	}
	for _, bundle := range []struct {
		file string
		to   *io.Reader
	}{{b.provenance, &files.Provenance}, {b.signature, &files.Signature}} {
		if bundle.file == "" {
			continue
		}
		text, err := a.readFile(bundle.file, tuf.MaxBundleBytes)
		if err != nil {
			return files, opened, err
		}
		*bundle.to = bytes.NewReader(text)
	}
	if b.allowList == "" {
		return files, opened, nil
	}
	list, err := os.Open(b.allowList)
	if err != nil {
		return files, opened, failf(exitUsage, codeFile, "%s", err)
	}
	files.Algorithm, files.AllowList = b.algorithm, list
	return files, list, nil
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
