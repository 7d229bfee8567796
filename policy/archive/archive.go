// Package archive carries a policy bundle as one file, in the format of OPA's
// bundles (https://www.openpolicyagent.org/docs/management-bundles): a gzipped tar
// file of modules, data.json files and a .manifest.
//
// It is stricter than OPA. The manifest has to name its roots, and nothing may be
// outside of them; a delta bundle, a compiled module, a link and whatever else has
// no effect is refused, because whoever signs an archive expects all of it to
// count. Signatures inside of the archive are refused too: a bundle is signed from
// outside, as a TUF target.
package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing/fstest"

	"troth/policy"
)

// MaxBytes bounds an archive as it is stored. What it unpacks to is bounded by
// policy.MaxBytes and policy.MaxFiles.
const MaxBytes = policy.MaxBytes

// ErrArchive is the cause of every refusal.
var ErrArchive = errors.New("policy archive refused")

const (
	manifestName   = ".manifest"
	signaturesName = ".signatures.json"
	deltaName      = "patch.json"
	dataName       = "data.json"
	moduleSuffix   = ".rego"
)

// Manifest is what an archive says of itself.
type Manifest struct {
	Revision string   // of the bundle, for people
	Roots    []string // slash-separated paths below data that all rules and data are in
}

// DefaultRoots are those of a directory that declares none, which are those of the
// library that trothd has built in.
func DefaultRoots() []string { return []string{"troth", "config", "frameworks"} }

// Bundle is an archive that was read.
type Bundle struct {
	Manifest
	FS    fs.FS // its modules, tests and data files, as policy.New takes them
	Files int
	Bytes int // of all files together
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrArchive, fmt.Errorf(format, args...))
}

// kind says what a file is for; an error, what it is not allowed for.
func kind(name string) error {
	switch base := path.Base(name); {
	case base == deltaName:
		return errors.New("a delta bundle: push the whole bundle")
	case name == signaturesName:
		return errors.New("signatures inside of the archive are not looked at: leave them out, the archive is signed as a whole")
	case base == "policy.wasm", base == "plan.json":
		return errors.New("compiled policy cannot be examined: push the modules")
	case strings.HasPrefix(base, "."):
		return errors.New("hidden files have no effect: leave it out")
	case path.Ext(name) == moduleSuffix, base == dataName:
		return nil
	case path.Ext(name) == ".json", path.Ext(name) == ".yaml", path.Ext(name) == ".yml":
		return fmt.Errorf("data belongs into a file named %s", dataName)
	default:
		return errors.New("it has no effect in a bundle: leave it out")
	}
}

// tree makes the file system of a bundle.
func tree(files map[string][]byte) fs.FS {
	m := fstest.MapFS{}
	for name, content := range files {
		m[name] = &fstest.MapFile{Data: content, Mode: 0o444}
	}
	return m
}

func sortedNames(files map[string][]byte) []string {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
