package docs_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/problem-codes.md anew")

// TestProblemCodes keeps docs/problem-codes.md the list of what the code says:
// it is made from the constants' comments, from the errors in internal/ and from
// the denials in the policies.
func TestProblemCodes(t *testing.T) {
	const page = "../../docs/problem-codes.md"
	want := problemCodes(t)
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the code says; run: go test ./test/docs -run ProblemCodes -update", page)
	}
}

const preamble = `# Problem codes

<!-- Made by: go test ./test/docs -run ProblemCodes -update -->

Every refusal is an ` + "`application/problem+json`" + ` document (RFC 9457) with a stable ` + "`code`" + `, a sentence in ` + "`detail`" + `, and the ` + "`request_id`" + ` under which the service's log has more. Nothing of a request that failed is kept.

| status | means |
| --- | --- |
| 400, 422 | the request is malformed: mend it |
| 401 | nobody we know: log in, or enrol |
| 403 | understood, and the answer is no |
| 404 | there is no such thing |
| 409 | somebody else was faster, or the object is in another state: read it again |
| 413, 429 | too large, too often; 429 says in Retry-After when to come back |
| 500 | a defect of the service: the request id leads to it in the log |
| 503 | something that the service needs is away: the same request works later, see Retry-After |

`

func problemCodes(t *testing.T) string {
	var out strings.Builder
	out.WriteString(preamble)
	section := func(title, intro string, rows map[string]string) {
		if len(rows) == 0 {
			t.Fatalf("no codes found for %q", title)
		}
		fmt.Fprintf(&out, "## %s\n\n%s\n\n| code | |\n| --- | --- |\n", title, intro)
		codes := make([]string, 0, len(rows))
		for code := range rows {
			codes = append(codes, code)
		}
		sort.Strings(codes)
		for _, code := range codes {
			fmt.Fprintf(&out, "| `%s` | %s |\n", code, strings.ReplaceAll(rows[code], "|", "\\|"))
		}
		out.WriteString("\n")
	}
	section("The service", "Codes of the API and of the use cases behind it.", errorCodes(t))
	section("Policy", "A denial by policy carries the code that the policy gave it. These are those of the built-in policies.", policyCodes(t))
	section("Evidence", "Problems of package `attest`, with quotes, logs and keys. A warning does not fail a verification; the others do.", constantCodes(t, "../../attest/problem.go"))
	section("Endorsement keys", "Problems of package `attest/ek`.", constantCodes(t, "../../attest/ek/errors.go"))
	section("Manufacturers' identities", "Problems of package `attest/idevid` with an IDevID or IAK; see [manufacturer roots](manufacturer-roots.md).", constantCodes(t, "../../attest/idevid/errors.go"))
	section("Attestation results", "Problems of package `attest/ear` with tokens and key sets, for those who rely on them.", constantCodes(t, "../../attest/ear/errors.go"))
	section("Certificate requests", "Problems of package `ca` with what a device asks to have signed.", constantCodes(t, "../../ca/csr.go"))
	section("The CA in a directory", "Problems of package `ca/local` with the passphrase of its keys; `trothd` does not start. See the [operator's guide](operators-guide.md).", constantCodes(t, "../../ca/local/key.go"))
	section("Vault", "Findings of `troth ca doctor`, from package `ca/vault`; see [Vault](vault.md).", constantCodes(t, "../../ca/vault/codes.go"))
	return strings.TrimRight(out.String(), "\n") + "\n"
}

var word = regexp.MustCompile(`^[a-z][a-z0-9_]+$`)

// constantCodes reads Code… constants and the comments at them.
func constantCodes(t *testing.T, path string) map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		code, ok := text(spec.Values[0])
		if !ok || !word.MatchString(code) {
			return true
		}
		comment := spec.Doc.Text() + spec.Comment.Text()
		_, meaning, found := strings.Cut(comment, ": ")
		if !found {
			meaning = comment
		}
		rows[code] = strings.Join(strings.Fields(meaning), " ")
		return true
	})
	return rows
}

// errorCodes finds the codes that internal/ gives to its errors, with the
// sentences that go with them.
func errorCodes(t *testing.T) map[string]string {
	rows := map[string]string{}
	err := filepath.WalkDir("../../internal", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "internal/cli") || strings.Contains(path, "internal/sim") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if code, sentence, ok := errorCall(n); ok && len(sentence) > len(rows[code]) {
				rows[code] = sentence
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	rows["not_found"], rows["conflict"] = "there is no such object", "the object was changed by somebody else: read it again and retry"
	rows["invalid_request"] = "the request does not have the documented form; errors names the fields"
	rows["too_many_requests"] = "too many requests, or too many wrong tokens, from this address: wait a moment"
	return rows
}

// errorCall reads a call that makes an error: a code, and the first sentence
// after it, among its arguments.
func errorCall(n ast.Node) (code, sentence string, ok bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return "", "", false
	}
	name := ""
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		name = f.Sel.Name
	case *ast.Ident:
		name = f.Name
	}
	switch name {
	case "Errorf", "Because", "newProblem", "coded":
	default:
		return "", "", false
	}
	for _, arg := range call.Args {
		s, isText := text(arg)
		switch {
		case isText && code == "" && word.MatchString(s):
			code = s
		case isText && code != "":
			return code, verbs.ReplaceAllString(s, "…"), true
		}
	}
	return code, "", code != ""
}

// verbs of a format stand for what is only known when it happens.
var verbs = regexp.MustCompile(`%[-+# 0-9.]*[a-z]…?`)

func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

var regoDenial = regexp.MustCompile(`deny\("([a-z_]+)", (?:sprintf\()?"([^"]*)"`)

// policyCodes finds the codes of denials in the built-in policies, with the
// reason in the same rule.
func policyCodes(t *testing.T) map[string]string {
	rows := map[string]string{}
	err := filepath.WalkDir("../../policies/troth", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".rego") || strings.HasSuffix(path, "_test.rego") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range regoDenial.FindAllStringSubmatch(string(content), -1) {
			if len(m[2]) > len(rows[m[1]]) {
				rows[m[1]] = verbs.ReplaceAllString(m[2], "…")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
