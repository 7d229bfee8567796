package vault_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"troth/ca/catest"
	"troth/ca/vault"
)

// TestPoliciesAsVault asks Vault what its policies allow: ours, some that are
// known to be tricky, and random ones.
func TestPoliciesAsVault(t *testing.T) {
	server := catest.StartVaultServer(t)
	s := &setup{server: server, admin: client(t, server.Addr, server.Token)}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	pattern := func() string {
		parts := []string{"pki"}
		for range 1 + random.IntN(3) {
			parts = append(parts, pick("a", "ab", "abc", "b", "+"))
		}
		return strings.Join(parts, "/") + pick("", "", "*", "/*")
	}
	paths := []string{"pki/a", "pki/ab", "pki/abc", "pki/b", "pki/a/a", "pki/a/b", "pki/ab/b", "pki/abc/b/a", "pki/a/b/abc", "pki/b/b/b", "pki/a/b/a/b", "pki/ab/abc/ab", "other/a"}
	sets := [][]string{
		{`path "pki/*" { capabilities = ["read"] } path "pki/a" { capabilities = ["deny"] }`},
		{`path "/pki/a/*" { policy = "write" } path "pki/+/b" { capabilities = ["deny"] }`, `path "pki/a/b" { policy = "read" }`},
		{`{"path": {"pki/a": {"capabilities": ["update", "sudo"]}, "pki/ab*": {"policy": "sudo"}}}`},
		{`path "pki/+/b/*" { capabilities = ["list"] } path "pki/a/*" { capabilities = ["read"] } path "+/a/b" { capabilities = ["update"] }`},
		{`path "*" { capabilities = ["read"] }`, `path "+" { capabilities = ["update"] }`},
	}
	for range 60 {
		var set []string
		for range 1 + random.IntN(2) {
			var text strings.Builder
			for range 1 + random.IntN(5) {
				rule := pattern()
				if strings.HasSuffix(rule, "+*") {
					continue // Vault refuses it
				}
				fmt.Fprintf(&text, "path %q { capabilities = [%q] }\n", rule, pick("read", "update", "deny", "list"))
			}
			set = append(set, text.String()+"# end\n")
		}
		sets = append(sets, set)
	}
	for i, set := range sets {
		var names []string
		for j, text := range set {
			names = append(names, fmt.Sprintf("p%d-%d", i, j))
			s.write(t, "sys/policies/acl/"+names[j], map[string]any{"policy": text})
		}
		made := s.write(t, "auth/token/create", map[string]any{"policies": names, "no_default_policy": true})
		answer := s.write(t, "sys/capabilities", map[string]any{"token": made.Auth.ClientToken, "paths": paths})
		for _, path := range paths {
			var want []string
			for _, capability := range answer.Data[path].([]any) {
				if capability != "deny" {
					want = append(want, capability.(string))
				}
			}
			got, err := vault.Allows(set, path)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(want)
			got = slices.Sorted(slices.Values(got))
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, Vault says %v, under\n%s", path, got, want, strings.Join(set, "\n--\n"))
			}
		}
	}
}

// FuzzPolicy: no text panics or is allowed to take long.
func FuzzPolicy(f *testing.F) {
	f.Add(`path "pki/+/a*" { capabilities = ["read"] }`, "pki/x/ab")
	f.Add(`path "a" { policy = "write" } path "a" { capabilities = ["deny"] }`, "a")
	f.Add(`{"path": {"pki/a": {"capabilities": ["update"]}}}`, "pki/a")
	f.Add(`path "" {}`, "")
	f.Add(`path "*" { capabilities = [] }`, "+")
	f.Fuzz(func(t *testing.T, text, path string) {
		granted, err := vault.Allows([]string{text}, path)
		if err != nil && granted != nil {
			t.Errorf("%q is not read, and allows %v", text, granted)
		}
		if slices.Contains(granted, "deny") {
			t.Errorf("%q denies and allows %v", text, granted)
		}
	})
}
