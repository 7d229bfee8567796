package cli

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"strings"

	"troth/attest/ima"
)

// readAllowList reads digests as sha256sum and its kin print them, "HEX  PATH"; a
// digest alone, empty lines and those that begin with # are fine too. All digests
// are of one algorithm, which their length tells. nil: no file was named.
func (a *app) readAllowList(file string) (*ima.AllowList, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nothing is judged
	}
	raw, err := a.readFile(file, maxIMAList)
	if err != nil {
		return nil, err
	}
	algorithm, packed := "", make([]byte, 0, len(raw)/4)
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(lines.Text()), `\`), " ")
		if text == "" || text[0] == '#' {
			continue
		}
		digest, err := hex.DecodeString(text)
		found := algorithmOf(len(digest))
		if err != nil || found == "" {
			return nil, failf(exitUsage, codeFile, "%s, line %d: no digest as sha256sum prints it%s", file, n, kindHint(raw))
		}
		if algorithm != "" && found != algorithm {
			return nil, failf(exitUsage, codeFile, "%s, line %d: a %s digest among those of %s; a list is of one algorithm", file, n, found, algorithm)
		}
		algorithm = found
		packed = append(packed, digest...)
	}
	if err := lines.Err(); err != nil {
		return nil, failf(exitUsage, codeFile, "%s cannot be read: %s", file, err)
	}
	if algorithm == "" {
		return nil, failf(exitUsage, codeFile, "%s holds no digests", file)
	}
	allowed, err := ima.NewAllowList(algorithm, packed)
	if err != nil {
		return nil, failf(exitUsage, codeFile, "%s: %s", file, err)
	}
	return allowed, nil
}

func algorithmOf(size int) string {
	for name, bytes := range sizes() {
		if bytes == size {
			return name
		}
	}
	return ""
}

// readIMAKeys reads certificates, as PEM or one as DER. nil: no file was named.
func (a *app) readIMAKeys(file string) (*ima.Keyring, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nothing is judged
	}
	raw, err := a.readFile(file, maxPEM)
	if err != nil {
		return nil, err
	}
	all := certificates(raw)
	if _, err := x509.ParseCertificate(raw); err == nil {
		all = [][]byte{raw}
	}
	if len(all) == 0 {
		return nil, failf(exitUsage, codeFile, "%s holds no certificates%s", file, kindHint(raw))
	}
	keys := ima.NewKeyring()
	for _, der := range all {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, failf(exitUsage, codeFile, "%s: %s", file, err)
		}
		if err := keys.Add(cert); err != nil {
			return nil, failf(exitUsage, codeFile, "%s: %s", file, err)
		}
	}
	return keys, nil
}
