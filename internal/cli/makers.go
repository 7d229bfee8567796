package cli

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"troth/attest/ek"
)

// makers are the TPM makers of a directory. A chain is only ever built from the
// certificates of one maker, because names in certificates identify nothing;
// files that nobody sorted are first taken for makers of their own and then for
// one together.
type makers struct {
	sorted, together *ek.Roots
}

func readMakers(dir string) (makers, error) {
	m := makers{sorted: ek.NewRoots(), together: ek.NewRoots()}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return m, failf(exitUsage, codeFile, "%s", err)
	}
	defer func() { _ = root.Close() }()
	count, err := m.addAll(root.FS())
	if err != nil {
		return m, err
	}
	if count == 0 {
		return m, failf(exitUsage, codeFile, "%s holds no certificates", dir)
	}
	return m, nil
}

// addAll adds what lies in the directory and one level below.
func (m makers) addAll(dir fs.FS) (count int, err error) {
	err = fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return failf(exitUsage, codeFile, "%s", err)
		}
		if d.IsDir() {
			if strings.Count(name, "/") > 0 {
				return fs.SkipDir
			}
			return nil
		}
		found, err := readCertificates(dir, name)
		if err != nil || found == nil {
			return err
		}
		count++
		maker := strings.TrimSuffix(name, path.Ext(name))
		if below, _, sorted := strings.Cut(name, "/"); sorted {
			maker = below
		} else if err := m.together.Add("(all files)", found); err != nil {
			return failf(exitUsage, codeFile, "%s: %s", name, err)
		}
		if err := m.sorted.Add(maker, found); err != nil {
			return failf(exitUsage, codeFile, "%s: %s", name, err)
		}
		return nil
	})
	return count, err
}

// readCertificates reads a file's certificates as PEM; nil: it has none, as a
// README or a key beside them.
func readCertificates(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, failf(exitUsage, codeFile, "%s", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, failf(exitUsage, codeFile, "%s cannot be read: %s", name, err)
	}
	if len(raw) > maxPEM {
		return nil, nil
	}
	all := certificates(raw)
	if _, err := x509.ParseCertificate(raw); err == nil {
		all = [][]byte{raw}
	}
	var text bytes.Buffer
	for _, der := range all {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return text.Bytes(), nil
}

func (m makers) verify(cert *x509.Certificate, now time.Time) (ek.Chain, error) {
	chain, err := m.sorted.Verify(cert, now)
	var e *ek.Error
	if errors.As(err, &e) && e.Code == ek.CodeUnknownManufacturer {
		if together, togetherErr := m.together.Verify(cert, now); togetherErr == nil {
			return together, nil
		}
	}
	return chain, err
}
