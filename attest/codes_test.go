package attest_test

import (
	"crypto/elliptic"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
)

// provoked are the codes that some test met in an answer to real bytes. Tests meet
// them through codes, hasCode and provoke.
var provoked sync.Map

func provoke(code string) { provoked.Store(code, true) }

// TestMain fails a whole run in which no test provoked one of the codes: a check
// that nothing ever fails is a check that may not be there.
func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	if status == 0 && wholeRun() {
		for _, code := range problemCodes() {
			if _, ok := provoked.Load(code); !ok {
				fmt.Fprintf(os.Stderr, "FAIL: no test provokes the problem code %s\n", code)
				status = 1
			}
		}
	}
	os.Exit(status)
}

func wholeRun() bool {
	for _, name := range []string{"test.run", "test.skip", "test.fuzz", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// problemCodes reads the codes where they are declared.
func problemCodes() []string {
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		panic(err)
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			panic(err)
		}
		out = append(out, code)
		return true
	})
	return out
}

func TestProblemCodesAreFound(t *testing.T) {
	if n := len(problemCodes()); n < 50 {
		t.Errorf("%d problem codes in problem.go", n)
	}
}

// TestAttack_K6_Malformed: certifications and TLS keys that are neither.
func TestAttack_K6_Malformed(t *testing.T) {
	c := newCertified(t)
	if err := c.check(t); err != nil {
		t.Fatal(err)
	}
	raw, public := tpm2.Marshal(c.attested), tpm2.Marshal(c.public)
	for name, tt := range map[string]struct {
		public, attested []byte
		code             string
	}{
		"certification cut":        {public, raw[:len(raw)-1], attest.CodeCertifyMalformed},
		"certification and a byte": {public, append(raw[:len(raw):len(raw)], 0), attest.CodeCertifyMalformed},
		"certification of 3 bytes": {public, raw[:3], attest.CodeCertifyMalformed},
		"TLS key cut":              {public[:len(public)-1], raw, attest.CodeTLSKeyMalformed},
		"TLS key and a byte":       {append(public[:len(public):len(public)], 0), raw, attest.CodeTLSKeyMalformed},
		"no TLS key":               {nil, raw, attest.CodeTLSKeyMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := attest.CheckCertify(c.akPublic, tt.public, tt.attested, sign(t, c.ak, tt.attested), c.qualifying)
			hasCode(t, err, tt.code)
		})
	}
	other := newECC(t, elliptic.P256())
	_, err := attest.CheckCertify(c.akPublic, public, raw, sign(t, other, raw), c.qualifying)
	hasCode(t, err, attest.CodeSignatureInvalid)
}
