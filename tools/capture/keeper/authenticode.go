package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"debug/pe"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
)

// image is an EFI image that was started.
type image struct {
	Package      string            `json:"package"`
	File         string            `json:"file"`
	Authenticode map[string]string `json:"authenticode"` // bank to hex digest
}

func readImage(from, path string) (image, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return image{}, err
	}
	img := image{Package: from, File: filepath.Base(path), Authenticode: map[string]string{}}
	for bank, h := range map[string]hash.Hash{"sha1": sha1.New(), "sha256": sha256.New(), "sha384": sha512.New384()} {
		if err := authenticode(h, data); err != nil {
			return image{}, fmt.Errorf("read image %s: %w", path, err)
		}
		img.Authenticode[bank] = hex.EncodeToString(h.Sum(nil))
	}
	return img, nil
}

// authenticode hashes a PE image as firmware measures it: without the checksum,
// the certificate table and its directory entry (Windows Authenticode Portable
// Executable Signature Format, "Calculating the PE Image Hash").
func authenticode(h hash.Hash, data []byte) error {
	f, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		return err
	}
	header, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || header.NumberOfRvaAndSizes <= pe.IMAGE_DIRECTORY_ENTRY_SECURITY {
		return errors.New("no PE32+ image with a certificate table entry")
	}
	optional := int(leUint32(data[0x3c:])) + 4 + 20
	checksum, certificates := optional+64, optional+112+8*pe.IMAGE_DIRECTORY_ENTRY_SECURITY
	h.Write(data[:checksum])
	h.Write(data[checksum+4 : certificates])
	h.Write(data[certificates+8 : header.SizeOfHeaders])
	sections := slices.Clone(f.Sections)
	slices.SortFunc(sections, func(a, b *pe.Section) int { return int(a.Offset) - int(b.Offset) })
	hashed := int(header.SizeOfHeaders)
	for _, s := range sections {
		h.Write(data[s.Offset : s.Offset+s.Size])
		hashed += int(s.Size)
	}
	// What follows the sections counts, up to the certificate table.
	table := int(header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY].Size)
	if rest := len(data) - table; rest > hashed {
		h.Write(data[hashed:rest])
	}
	return nil
}

func leUint32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
