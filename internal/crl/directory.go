package crl

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"troth/attest/ek"
)

// maxFiles bounds a directory of lists.
const maxFiles = 1024

// Directory gives a set of CRLs those that an operator put into a directory: one
// list a file, PEM or DER, of names that end in .crl or .pem.
type Directory struct {
	path string
	to   *ek.CRLs

	mu   sync.Mutex
	last [sha256.Size]byte // of all that was read
}

// NewDirectory reads nothing yet: call Refresh.
func NewDirectory(path string, to *ek.CRLs) *Directory { return &Directory{path: path, to: to} }

// Refresh reads the directory again. Where one of its files is no list, or cannot
// be read, the error names it and the lists of before count on.
func (d *Directory) Refresh() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("read CRLs: %w", err)
	}
	var lists [][]byte
	sums := sha256.New()
	for _, e := range entries {
		ending := strings.ToLower(filepath.Ext(e.Name()))
		if strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".crl", ".pem"}, ending) {
			continue
		}
		if len(lists) == maxFiles {
			return fmt.Errorf("read CRLs: more than %d files in %s", maxFiles, d.path)
		}
		data, _, err := readFile(filepath.Join(d.path, e.Name()))
		if err != nil {
			return fmt.Errorf("read CRLs: %w", err)
		}
		if _, err := ek.ParseCRL(data); err != nil {
			return fmt.Errorf("read CRLs: %s: %w", e.Name(), err)
		}
		sum := sha256.Sum256(data)
		sums.Write(sum[:])
		lists = append(lists, data)
	}
	sum := sums.Sum(nil)
	if bytes.Equal(sum, d.last[:]) {
		return nil
	}
	if err := d.to.Replace(lists...); err != nil {
		return fmt.Errorf("read CRLs: %w", err)
	}
	copy(d.last[:], sum)
	return nil
}
