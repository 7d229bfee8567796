package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// manifest is what is known of a captured machine. Nothing in it was read from
// the event log or the IMA list.
type manifest struct {
	Name        string     `json:"name"`
	Title       string     `json:"title"`
	CapturedAt  time.Time  `json:"captured_at"`
	Nonce       string     `json:"nonce"` // qualifying data of all quotes, hex
	Kernel      string     `json:"kernel"`
	CommandLine string     `json:"command_line"` // as the running kernel has it
	SecureBoot  secureBoot `json:"secure_boot"`
	Images      []image    `json:"images,omitempty"` // in the order in which they were started
	Packages    []string   `json:"packages"`
	Roots       string     `json:"-"` // PEM
}

// secureBoot is what the EFI variables of the running machine hold. The lists are
// SHA-256 fingerprints of certificates, or hashes where the variable has them.
type secureBoot struct {
	Enabled bool     `json:"enabled"`
	PK      []string `json:"pk"`
	KEK     []string `json:"kek"`
	DB      []string `json:"db"`
	DBX     []string `json:"dbx"`
}

// observe takes over what the machine exported besides its evidence, and removes
// it from blocks.
func (m *manifest) observe(blocks map[string][]byte) error {
	take := func(name string) []byte {
		data := blocks[name]
		delete(blocks, name)
		return data
	}
	m.Kernel = strings.TrimSpace(string(take("version")))
	m.CommandLine = strings.TrimSpace(string(take("cmdline")))
	state := take("efivar-SecureBoot")
	m.SecureBoot.Enabled = len(state) == 5 && state[4] == 1
	for name, list := range map[string]*[]string{
		"PK": &m.SecureBoot.PK, "KEK": &m.SecureBoot.KEK, "db": &m.SecureBoot.DB, "dbx": &m.SecureBoot.DBX,
	} {
		entries, err := signatures(take("efivar-" + name))
		if err != nil {
			return fmt.Errorf("read variable %s: %w", name, err)
		}
		*list = entries
	}
	return nil
}

// signatures reads a variable in the form of efivarfs: four bytes of attributes,
// then signature lists (UEFI 2.10, section 32.4.1).
func signatures(variable []byte) ([]string, error) {
	entries := []string{}
	if len(variable) < 4 {
		return entries, nil // there is no such variable
	}
	for rest := variable[4:]; len(rest) > 0; {
		if len(rest) < 28 {
			return nil, errors.New("short signature list")
		}
		size, header, entry := binary.LittleEndian.Uint32(rest[16:]), binary.LittleEndian.Uint32(rest[20:]), binary.LittleEndian.Uint32(rest[24:])
		if size < 28+header || int(size) > len(rest) || entry <= 16 {
			return nil, errors.New("malformed signature list")
		}
		hashes := hex.EncodeToString(rest[:16]) == "2616c4c14c509240aca941f936934328" // EFI_CERT_SHA256_GUID
		for list := rest[28+header : size]; len(list) >= int(entry); list = list[entry:] {
			data := list[16:entry]
			if !hashes {
				sum := sha256.Sum256(data)
				data = sum[:]
			}
			entries = append(entries, hex.EncodeToString(data))
		}
		rest = rest[size:]
	}
	return entries, nil
}

// store writes a scenario's directory anew, whole or not at all.
func store(dir string, m manifest, blocks map[string][]byte) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), ".new")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	blocks["manifest.json"] = append(text, '\n')
	blocks["ek.roots.pem"] = []byte(m.Roots + "\n")
	for name, data := range blocks {
		if err := os.WriteFile(filepath.Join(made, name), data, 0o644); err != nil { //nolint:gosec // public test data
			return err
		}
	}
	if err := os.Chmod(made, 0o755); err != nil { //nolint:gosec // as above
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(made, dir)
}
