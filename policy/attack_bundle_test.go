package policy_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/open-policy-agent/opa/v1/ast"

	"troth/policy"
)

// dangerous are calls that reach out of the policy, each with what it needs.
var dangerous = map[string]string{
	"http.send":            `http.send({"method": "GET", "url": "%s"})`,
	"net.lookup_ip_addr":   `net.lookup_ip_addr("localhost")`,
	"net.cidr_expand":      `net.cidr_expand("10.0.0.0/8")`,
	"opa.runtime":          `opa.runtime()`,
	"rego.parse_module":    `rego.parse_module("x.rego", "package x")`,
	"time.now_ns":          `time.now_ns()`,
	"rand.intn":            `rand.intn("x", 10)`,
	"uuid.rfc4122":         `uuid.rfc4122("x")`,
	"trace":                `trace("x")`,
	"json.match_schema":    `json.match_schema({}, {"$ref": "%s"})`,
	"json.verify_schema":   `json.verify_schema({"$ref": "%s"})`,
	"io.jwt.encode_sign":   `io.jwt.encode_sign({}, {}, {})`,
	"io.jwt.decode_verify": `io.jwt.decode_verify("x", {})`,
	"crypto.x509.parse_and_verify_certificates": `crypto.x509.parse_and_verify_certificates("x")`,
	"crypto.parse_private_keys":                 `crypto.parse_private_keys("x")`,
	"providers.aws.sign_req":                    `providers.aws.sign_req({}, {}, 0)`,
	"graph.reachable_paths":                     `graph.reachable_paths({}, {"a"})`,
	"bits.lsh":                                  `bits.lsh(1, 100000000000)`,
	"strings.render_template":                   `strings.render_template("{{.}}", {})`,
	"internal.test_case":                        `internal.test_case(["x"])`,
}

// unknown says whether a bundle was refused because the compiler does not know
// the name.
func unknown(err error) bool {
	return errors.Is(err, policy.ErrBundle) &&
		(strings.Contains(err.Error(), "undefined function") || strings.Contains(err.Error(), "is unsafe"))
}

func TestAttack_P2_DangerousBuiltins(t *testing.T) {
	var hits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(server.Close)
	for name, call := range dangerous {
		if strings.Contains(call, "%s") {
			call = fmt.Sprintf(call, server.URL)
		}
		t.Run(name, func(t *testing.T) {
			for where, body := range map[string]string{
				"in a rule":     "x := y if y := " + call + "\n",
				"as a mock":     "x if count([]) == 0 with count as " + name + "\n",
				"in a function": "f(_) := y if y := " + call + "\n",
			} {
				if name == "trace" || name == "internal.test_case" {
					body = "x if " + call + "\n"
				}
				_, err := policy.New(t.Context(), tiny(map[string]string{"more": "package more\n\n" + body}), policy.Options{})
				if !unknown(err) {
					t.Errorf("%s: New gave %v", where, err)
				}
				if name == "internal.test_case" {
					continue // the test runner's own marker; harmless there
				}
				_, err = policy.Test(t.Context(), tiny(map[string]string{"more_test": "package more_test\n\n" + body + "test_x if " + call + "\n"}))
				if !unknown(err) {
					t.Errorf("%s: Test gave %v", where, err)
				}
			}
		})
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the network was reached %d times", n)
	}
}

// A schema in an annotation may name a remote document; nobody fetches it.
func TestAttack_P2_RemoteSchema(t *testing.T) {
	var hits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(server.Close)
	more := "package more\n\n# METADATA\n# scope: rule\n# schemas:\n#   - input: {\"$ref\": \"" + server.URL + "/x.json\"}\nx if input.y\n"
	bundle := library(t, map[string]string{"more/more.rego": more})
	_, _ = policy.New(t.Context(), bundle, policy.Options{})
	_, _ = policy.Test(t.Context(), bundle)
	if n := hits.Load(); n != 0 {
		t.Errorf("the network was reached %d times", n)
	}
}

func TestAttack_P2_Capabilities(t *testing.T) {
	caps := policy.Capabilities()
	if caps.AllowNet == nil || len(caps.AllowNet) != 0 {
		t.Errorf("allow_net is %v", caps.AllowNet)
	}
	for _, b := range caps.Builtins {
		if b.IsNondeterministic() {
			t.Errorf("%s is not deterministic", b.Name)
		}
		for _, prefix := range []string{"net.", "http.", "opa.", "rand.", "uuid.", "io.jwt.", "providers.", "rego.parse"} {
			if strings.HasPrefix(b.Name, prefix) {
				t.Errorf("%s is allowed", b.Name)
			}
		}
	}
	if full := ast.CapabilitiesForThisVersion(); len(full.Builtins) <= len(caps.Builtins) || full.AllowNet != nil {
		t.Error("OPA's own capabilities were changed")
	}
}

func TestAttack_P3_BundleLimits(t *testing.T) {
	many := fstest.MapFS{}
	for i := range policy.MaxFiles + 1 {
		many[fmt.Sprintf("f%d.rego", i)] = &fstest.MapFile{Data: []byte("package p\n")}
	}
	var rules strings.Builder
	rules.WriteString("package p\n")
	for i := range policy.MaxRules + 1 {
		fmt.Fprintf(&rules, "r%d := 1\n", i)
	}
	for name, bundle := range map[string]fstest.MapFS{
		"files": many,
		"bytes": {"big.rego": {Data: []byte("package p\n" + strings.Repeat("#\n", policy.MaxBytes/2))}},
		"bytes of two": {
			"a/data.json": {Data: []byte(`"` + strings.Repeat("a", policy.MaxBytes/2) + `"`)},
			"b/data.json": {Data: []byte(`"` + strings.Repeat("b", policy.MaxBytes/2) + `"`)},
		},
		"rules": {"p.rego": {Data: []byte(rules.String())}},
	} {
		if _, err := policy.New(t.Context(), bundle, policy.Options{}); !errors.Is(err, policy.ErrBundle) || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Print is for tests on an author's desk: it is erased, with its operands.
func TestAttack_P2_PrintIsErased(t *testing.T) {
	e := engine(t, tiny(map[string]string{
		"access": "package troth.access\ndecision := {\"allow\": true, \"code\": \"\", \"reason\": \"Yes.\"} if print(1 / (input.verdict_age - 60))\n",
	}))
	if d, err := e.Access(t.Context(), visitor()); err != nil || !d.Allow {
		t.Errorf("%+v, %v", d, err)
	}
}
