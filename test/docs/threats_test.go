package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
)

// attacks are those that worked on published systems, or that a specification
// warns of. A test that tries one carries its id in its name.
var attacks = []struct{ id, what string }{
	{"Q1", "an attestation structure that no TPM made, or of another type than a quote"},
	{"Q2", "a quote over other PCRs or another bank than asked for; values that it does not cover; nothing quoted"},
	{"Q3", "a nonce that is fixed, used before, expired, or another device's"},
	{"Q4", "a signature that does not hold and is only logged; a check that silently stopped"},
	{"Q5", "confused algorithms, odd curves, keys that are not there, bytes that make a parser panic"},
	{"Q6", "evidence relayed over another connection, or a report edited after it was quoted"},
	{"Q7", "a TPM's clock or counters that go back"},
	{"K1", "an attestation key of another TPM than the endorsement key's; a name over half of a key"},
	{"K2", "a secret in an error message; a challenge that may be guessed at again"},
	{"K3", "the identity of a device taken over from another TPM"},
	{"K4", "an attestation key that signs anything, or can leave its TPM"},
	{"K5", "an endorsement key that the client made up"},
	{"K6", "a certified key that is not the one in the certificate request"},
	{"K7", "EK certificates as they are in the field: padded, odd, expired, without intermediates, revoked"},
	{"K8", "one endorsement key shown twice; a TPM that was cleared or replaced"},
	{"L1", "events that lie about their type or their data"},
	{"L2", "lengths, counts and depths without a bound"},
	{"L3", "a PCR that no event explains"},
	{"L4", "a log that was mended to make it replay"},
	{"L5", "an IMA list that is behind the quote, or whose names are hostile"},
	{"L6", "exclude patterns that hide files: there are none, as what may run is a set of digests, and no name excuses a file"},
	{"T1", "thresholds below one, keys counted twice, names that leave their directory, metadata parsed before it is verified"},
	{"T2", "a root that skips a version, or misses a threshold; a device that slept through many"},
	{"T3", "metadata that was refused and is kept all the same"},
	{"T4", "rollback, freeze, mix and match, fast-forward, endless data, slow retrieval"},
	{"T5", "a clock without a battery"},
	{"T6", "a file that changes between its verification and its installation"},
	{"T7", "a repository that nobody signs any more"},
	{"T8", "a power cut at any moment of an update"},
	{"P1", "a policy that gives no answer, two answers, or one of another type, or too late"},
	{"P2", "a policy that reaches out of its evaluation"},
	{"P3", "a bundle that is unsigned, too large, older, or outside its roots"},
	{"P4", "a bundle that does not compile, or fails its own tests"},
	{"P5", "secrets and personal data in stored decisions"},
	{"S1", "a route that forgot to ask who calls"},
	{"S2", "one slow, huge or frequent client that blocks the others"},
	{"S3", "a device's words in a log, a page, a spreadsheet or a terminal"},
	{"S4", "a service that can be made to push code"},
	{"S5", "an upgrade that breaks stored rows"},
	{"S6", "webhooks that reach into the service's own network"},
	{"S7", "operators' tokens: guessed, leaked, kept in the clear, sent elsewhere"},
	{"S8", "a Vault role that signs more than it should; a signature that nobody recorded"},
	{"S9", "Vault, database, disk or network gone at any moment"},
	{"S10", "an audit trail that is cut, rewritten or forked"},
}

const threatPreamble = `# Threat model

<!-- The table is made by: go test ./test/docs -run ThreatModel -update -->

**What is protected.** That a device's verdict says what the device is and runs; that only devices with a good verdict are given access; that devices install only what the keys of the firmware repository signed; that what was decided can be shown later.

**Who attacks.**

| who | can | cannot, here |
| --- | --- | --- |
| somebody on the network | read, hold back, change and replay traffic | forge a TLS peer, a quote or TUF metadata; keep a nonce alive past its minutes |
| somebody with root on a device | say anything in its reports, run any software, use its TPM while it is there | take its keys away; quote other PCR values than the TPM has; undo what firmware measured before |
| somebody with a device in hand | replace firmware, clear the TPM, ship it elsewhere | be another device; show the PCRs of firmware that did not run |
| another device | use its own credential | speak for a device with another TPM |
| an operator | what Rego allows the role | act without an event in the trail |
| whoever holds the service's machine | everything that the service can | sign firmware whose keys are offline; make a TPM quote |

**What is trusted.** The TPM and its manufacturer's roots that you chose; the firmware's first instructions (the root of trust for measurement); the keys of the TUF root and targets; the service's machine, its database and CA, for verdicts made on it (evidence that an outsider can check without the service is the subject of a later release).

**What a quote does not say.** What ran after the last measurement; what a driver keeps in memory; whether the owner of the device is who they say.

## Attacks, and the tests that try them

Each attack worked on a published system, or a specification warns of it. ` + "`go test -run TestAttack_Q1 ./...`" + ` runs the tests of one row. A row without tests is not built yet, and is said so.

| | attack | tried by |
| --- | --- | --- |
`

// TestThreatModel keeps the table of docs/threat-model.md true.
func TestThreatModel(t *testing.T) {
	const page = "../../docs/threat-model.md"
	tests := attackTests(t)
	var want strings.Builder
	want.WriteString(threatPreamble)
	for _, a := range attacks {
		tried := "not built yet"
		if names := tests[a.id]; len(names) > 0 {
			tried = strings.Join(names, "<br>")
		}
		fmt.Fprintf(&want, "| %s | %s | %s |\n", a.id, a.what, tried)
		delete(tests, a.id)
	}
	for id, names := range tests {
		t.Errorf("tests %v are of the attack %s, which the table does not have", names, id)
	}
	if *update {
		if err := os.WriteFile(page, []byte(want.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want.String() {
		t.Errorf("%s does not name the tests that there are; run: go test ./test/docs -run ThreatModel -update", page)
	}
}

var attackName = regexp.MustCompile(`^TestAttack_([A-Z][0-9]+)_`)

// attackTests maps each attack's id to the tests that try it, with their packages.
func attackTests(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".cache" || d.Name() == ".git" || d.Name() == "demo-data") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				if m := attackName.FindStringSubmatch(f.Name.Name); m != nil {
					dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../../")
					found[m[1]] = append(found[m[1]], "`"+dir+"` "+strings.TrimPrefix(f.Name.Name, m[0]))
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range found {
		sort.Strings(names)
	}
	return found
}
