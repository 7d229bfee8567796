// Package troth_test holds the shape of the whole program: who may import whom
// (docs: ARCHITECTURE.md), and a few habits that no linter checks. A failing test
// here is a question, not a wall: when the new edge is right, change the table in
// the same commit, and say why in its message.
package troth_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// capabilities are libraries that a stranger could use: they import nothing of
// internal/, and of each other only what the table allows.
const capabilities = "attest attest/ear attest/ek attest/ek/template attest/idevid attest/eventlog attest/ima attest/reference attest/tpm attest/attesttest osv policy policy/archive policies tuf tuf/client tuf/delta tuf/kms tuf/provenance tuf/provenance/provenancetest tuf/sbom ca ca/local ca/vault ca/catest"

// testSupport are capabilities that only tests and the simulator link: they start
// processes and watch the clock.
const testSupport = "attest/attesttest ca/catest tuf/provenance/provenancetest"

// services hold one use case each. None knows another, the store, or HTTP.
const services = "internal/access internal/alert internal/audit internal/authority internal/bundle internal/decision internal/device internal/enroll internal/firmware internal/operator internal/posture internal/preview internal/report internal/result internal/rollout internal/vuln"

// ground is what services stand on besides the capabilities.
const ground = "internal/fleet internal/evidence internal/nonce internal/atomicfile internal/publication"

// all stands for any of our packages but commands.
const all = "*"

// allowed is the import table: a package, and which of ours its non-test code may
// import directly. Tests may import what they like. A package below one of
// internal/ that has no row of its own has its parent's, and inside such a tree
// imports are free.
var allowed = map[string]string{
	"attest":             "attest/ek attest/eventlog attest/ima",
	"attest/ear":         "",
	"attest/ek":          "attest/ek/template",
	"attest/ek/template": "",          // what both a device and its verifier make the EK from
	"attest/idevid":      "attest/ek", // both verify chains up to the same manufacturers
	"attest/eventlog":    "",
	"attest/ima":         "",
	"attest/reference":   "attest attest/eventlog attest/ima",
	"attest/tpm":         "attest/ek/template",
	"attest/attesttest":  "attest attest/ek/template attest/tpm",
	"osv":                "",
	"policy":             "",
	"policy/archive":     "policy", // what it unpacks is what policy takes, within its limits
	"policies":           "",
	"tuf":                "tuf/delta", // what devices need of a new image, made as it is published
	"tuf/delta":          "",
	"tuf/client":         "tuf tuf/delta", // one Target, read in one way by those who publish and those who install
	"tuf/provenance":     "",              // sigstore, and all that it links, apart from what the agent links
	"tuf/sbom":           "",
	"tuf/kms":            "tuf", // key services, and so Vault, apart from what the agent links
	"ca":                 "",
	"ca/local":           "ca",
	"ca/vault":           "ca",
	"ca/catest":          "ca",

	"tuf/provenance/provenancetest": "", // signs for tests

	"internal/fleet": "",
	"internal/nonce": "internal/fleet",

	"internal/publication": "osv policy tuf tuf/provenance tuf/sbom", // one question to policy, asked by who publishes and who takes in

	"internal/evidence":  "attest attest/eventlog attest/ima policy internal/fleet", // the log's facts have the log's types
	"internal/access":    ground + " " + capabilities,
	"internal/alert":     ground + " " + capabilities,
	"internal/audit":     ground + " " + capabilities,
	"internal/authority": ground + " " + capabilities,
	"internal/decision":  ground + " " + capabilities,
	"internal/device":    ground + " " + capabilities,
	"internal/bundle":    ground + " " + capabilities,
	"internal/crl":       "attest/ek internal/atomicfile",
	"internal/enroll":    ground + " " + capabilities,
	"internal/firmware":  ground + " " + capabilities,
	"internal/operator":  ground + " " + capabilities,
	"internal/posture":   ground + " " + capabilities,
	"internal/preview":   ground + " " + capabilities,
	"internal/report":    ground + " " + capabilities,
	"internal/result":    ground + " " + capabilities,
	"internal/rollout":   ground + " " + capabilities,
	"internal/vuln":      ground + " " + capabilities,
	"internal/store":     "internal/fleet",
	"internal/api":       "internal/fleet",
	"internal/httpapi":   "internal/api internal/fleet internal/evidence internal/version " + services,
	"internal/web":       "internal/fleet " + services,
	"internal/agent":     "attest attest/ima attest/tpm tuf/client internal/api internal/atomicfile internal/fleet internal/version",
	"internal/sim":       "attest attest/attesttest tuf internal/agent internal/api internal/atomicfile internal/fleet attest/tpm internal/agent/hostfacts internal/agent/slot internal/version",
	"internal/cli":       "internal/atomicfile internal/publication tuf/sbom ca ca/vault internal/evidence attest attest/ear attest/ek attest/eventlog attest/ima attest/reference attest/tpm osv policy policy/archive policies tuf tuf/client tuf/kms internal/api internal/fleet internal/version",
	"internal/server":    all,

	"cmd/trothd":      "internal/server internal/version",
	"cmd/troth-agent": "internal/agent internal/agent/hostfacts internal/agent/install internal/agent/slot tuf/client internal/version",
	"cmd/troth":       "internal/cli internal/version",
	"cmd/troth-sim":   "internal/sim internal/version",

	"internal/version":    "",
	"internal/atomicfile": "",
	"internal/pgtest":     "",
	"tools/testrun":       "",

	"tools/capture/exporter": "attest/tpm",
	"tools/capture/keeper":   "",
}

// pure packages turn bytes into answers: no file, network, process or database.
const pure = "attest attest/ear attest/ek attest/idevid attest/eventlog attest/ima attest/reference osv policy policy/archive policies ca internal/fleet"

// reaching are the packages through which a pure package would reach outside.
const reaching = "os os/exec net net/http database/sql syscall"

// pkg is what go list says of one package.
type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	Standard   bool
	GoFiles    []string
	Imports    []string
}

// path is the import path without the module's name.
func (p pkg) path() string { return strings.TrimPrefix(p.ImportPath, "troth/") }

// list runs go list without cgo, as we build.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Dir,Name,Standard,GoFiles,Imports"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// ours lists our packages that have non-test code.
func ours(t *testing.T) []pkg {
	t.Helper()
	return slices.DeleteFunc(list(t, "./..."), func(p pkg) bool { return len(p.GoFiles) == 0 })
}

func in(list, word string) bool { return slices.Contains(strings.Fields(list), word) }

// rowOf finds a package's row, and the root of the tree in which its imports are
// free.
func rowOf(path string) (row, tree string, known bool) {
	tree = path
	if parts := strings.Split(path, "/"); len(parts) > 2 && parts[0] == "internal" {
		tree = parts[0] + "/" + parts[1]
	}
	if row, known = allowed[path]; !known {
		row, known = allowed[tree]
	}
	return row, tree, known
}

func TestImportTable(t *testing.T) {
	for _, p := range ours(t) {
		row, tree, known := rowOf(p.path())
		if !known {
			t.Errorf("%s has no row in the import table: add one to allowed in deps_test.go, and one to ARCHITECTURE.md", p.path())
			continue
		}
		for _, imported := range p.Imports {
			path, mine := strings.CutPrefix(imported, "troth/")
			if !mine || in(row, path) || strings.HasPrefix(path+"/", tree+"/") || row == all && !strings.HasPrefix(path, "cmd/") {
				continue
			}
			t.Errorf("%s imports %s, which its row in the import table does not allow (allowed: %q)", p.path(), path, row)
		}
	}
}

// TestTableKeepsItsPromises checks the table itself, so that a new edge cannot
// quietly break the rules that the rows were written by.
func TestTableKeepsItsPromises(t *testing.T) {
	for path, row := range allowed {
		for _, to := range strings.Fields(row) {
			if in(capabilities, path) && !in(capabilities, to) {
				t.Errorf("capability %s may not import %s", path, to)
			}
			if in(services, path) && in(services+" internal/store internal/httpapi internal/web internal/server internal/api", to) {
				t.Errorf("service %s may not import %s", path, to)
			}
		}
	}
}

func TestReach(t *testing.T) {
	for _, p := range ours(t) {
		for _, imported := range p.Imports {
			if in(pure, p.path()) && in(reaching, imported) {
				t.Errorf("%s is pure and imports %s", p.path(), imported)
			}
			if in(services, p.path()) && imported == "net/http" {
				t.Errorf("service %s imports net/http", p.path())
			}
			if p.path() == "internal/fleet" && strings.Contains(strings.Split(imported, "/")[0], ".") {
				t.Errorf("internal/fleet imports %s; the domain uses the standard library only", imported)
			}
		}
	}
}

// TestAgentLinksNoServer looks at everything the agent links: it has to stay a
// small static program without policy engine, SQL, Vault or C.
func TestAgentLinksNoServer(t *testing.T) {
	forbidden := []string{
		"github.com/open-policy-agent/", "database/sql", "modernc.org/", "github.com/jackc/",
		"github.com/hashicorp/vault", "runtime/cgo", "troth/policy", "troth/policies",
		"github.com/sigstore/sigstore-go", "github.com/CycloneDX", "troth/tuf/provenance", "troth/tuf/sbom",
		"troth/ca", "troth/internal/store", "troth/internal/server", "troth/attest/attesttest",
	}
	if !exists("cmd/troth-agent") {
		return
	}
	for _, p := range list(t, "-deps", "./cmd/troth-agent") {
		for _, f := range forbidden {
			if p.ImportPath == f || strings.HasPrefix(p.ImportPath, strings.TrimSuffix(f, "/")+"/") {
				t.Errorf("troth-agent links %s", p.ImportPath)
			}
		}
	}
}

// TestSecondOpinionsAreNotLinked: other people's verifiers are what ours is
// compared with, in a module of its own (test/differential). No package of this
// module may depend on them, so no program can link them.
func TestSecondOpinionsAreNotLinked(t *testing.T) {
	for _, p := range list(t, "-deps", "-test", "./...") {
		for _, other := range []string{"github.com/google/go-attestation", "github.com/google/go-tpm-tools", "github.com/google/go-eventlog"} {
			if p.ImportPath == other || strings.HasPrefix(p.ImportPath, other+"/") {
				t.Errorf("%s is linked", p.ImportPath)
			}
		}
	}
}

// TestAgentIsSmall builds the agent as it is released.
func TestAgentIsSmall(t *testing.T) {
	const limit = 20 << 20 // bytes
	if !exists("cmd/troth-agent") {
		return
	}
	binary := filepath.Join(t.TempDir(), "troth-agent")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./cmd/troth-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build troth-agent: %v\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= limit {
		t.Errorf("troth-agent is %d bytes, the limit is %d", info.Size(), limit)
	}
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
	return !errors.Is(err, fs.ErrNotExist)
}
