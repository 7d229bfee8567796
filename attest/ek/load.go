package ek

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Bounds of a manufacturer root store.
const (
	maxStoreFile  = 1 << 20
	maxStoreFiles = 4096
	maxStoreDepth = 4
)

// LoadRoots reads a manufacturer root store: one subdirectory a manufacturer, of
// the manufacturer's name, with its certificates in files .pem, .crt, .cer or
// .der (PEM or DER whatever the ending) at any depth up to three below it, as in
// "Intel/intermediate/odca.cer". Self-signed certificates are roots, the others
// intermediates. Other files, and names that begin with a dot, are ignored.
//
// A certificate file beside the subdirectories, a subdirectory without any
// certificate, and a file that is no CA certificate are errors that name it: what
// an operator put there and what is trusted must not differ in silence.
func LoadRoots(store fs.FS) (*Roots, error) {
	r := NewRoots()
	found := make(map[string]int) // certificate files by manufacturer
	count := 0
	err := walkStore(store, func(name, manufacturer string) error {
		if manufacturer == "" {
			return errors.New("certificate is in no manufacturer's subdirectory")
		}
		if count++; count > maxStoreFiles {
			return fmt.Errorf("more than %d certificate files", maxStoreFiles)
		}
		data, err := readStoreFile(store, name)
		if err != nil {
			return err
		}
		if block, _ := pem.Decode(data); block == nil {
			data = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: data})
		}
		found[manufacturer]++
		return r.Add(manufacturer, data)
	}, func(manufacturer string) { found[manufacturer] += 0 })
	if err != nil {
		return nil, fmt.Errorf("load manufacturer roots: %w", err)
	}
	for manufacturer, files := range found {
		if files == 0 {
			return nil, fmt.Errorf("load manufacturer roots: subdirectory %q has no certificates", manufacturer)
		}
	}
	return r, nil
}

// Manufacturers lists the names that were added, in order.
func (r *Roots) Manufacturers() []string {
	var names []string
	for _, m := range r.manufacturers {
		names = append(names, m.name)
	}
	slices.Sort(names)
	return names
}

// walkStore calls file for each certificate file with the manufacturer, which is
// empty beside the subdirectories, and directory for each manufacturer.
func walkStore(store fs.FS, file func(name, manufacturer string) error, directory func(manufacturer string)) error {
	return fs.WalkDir(store, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case strings.HasPrefix(d.Name(), ".") && d.IsDir():
			return fs.SkipDir
		case strings.HasPrefix(d.Name(), "."):
			return nil
		}
		manufacturer, _, below := strings.Cut(name, "/")
		if d.IsDir() {
			if !below {
				directory(manufacturer)
			}
			if strings.Count(name, "/") >= maxStoreDepth {
				return fmt.Errorf("%s: directories are nested too deeply", name)
			}
			return nil
		}
		if !slices.Contains([]string{".pem", ".crt", ".cer", ".der"}, strings.ToLower(path.Ext(name))) {
			return nil
		}
		if !below {
			manufacturer = ""
		}
		if err := file(name, manufacturer); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

func readStoreFile(store fs.FS, name string) ([]byte, error) {
	f, err := store.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxStoreFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxStoreFile {
		return nil, fmt.Errorf("file is longer than %d bytes", maxStoreFile)
	}
	return data, nil
}
