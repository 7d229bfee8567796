package vault

import (
	"fmt"
	"slices"
	"strings"
)

// grant is one permission of the service, and what it is for.
type grant struct {
	why, path  string
	capability string
	parameters []string // the only ones allowed
	required   []string
}

// grants are all that the service may do.
func (b BootstrapConfig) grants() []grant {
	sign := []string{"csr", "uri_sans", "ttl"}
	all := []grant{
		{"have a device's certificate signed, by the issuer that the role names", signPath(b.Mount, "", b.Role), "update", sign, sign[:2]},
		{"the same, by the issuer that the service names", signPath(b.Mount, b.Issuer, b.Role), "update", sign, sign[:2]},
		{"revoke a certificate, which has to be shown", b.Mount + "/revoke", "update", []string{"certificate"}, []string{"certificate"}},
		{"have the CRL rebuilt after that", b.Mount + "/crl/rotate", "read", nil, nil},
		{"see whether it may sign", "sys/capabilities-self", "update", nil, nil},
		{"see how long its token lives", "auth/token/lookup-self", "read", nil, nil},
		{"renew its token", "auth/token/renew-self", "update", nil, nil},
		{"give its token up", "auth/token/revoke-self", "update", nil, nil},
	}
	if b.NoTransit {
		return all
	}
	for _, key := range TransitKeys() {
		all = append(all,
			grant{"sign with the key " + key, b.Transit + "/sign/" + key, "update", nil, nil},
			grant{"the same, with the hash in the path", b.Transit + "/sign/" + key + "/*", "update", nil, nil},
			grant{"check its signatures", b.Transit + "/verify/" + key, "update", nil, nil},
			grant{"the same, with the hash in the path", b.Transit + "/verify/" + key + "/*", "update", nil, nil},
			grant{"read its public key", b.Transit + "/keys/" + key, "read", nil, nil})
	}
	return all
}

// denials close what else the PKI mount offers, whatever other policy a token
// has. In one policy or several, Vault goes by the most specific path, and there
// a denial wins.
func (b BootstrapConfig) denials() []string {
	var paths []string
	for _, path := range []string{
		"sign-verbatim", "sign-verbatim/*", "issuer/+/sign-verbatim", "issuer/+/sign-verbatim/*",
		"issue/*", "issuer/+/issue/*",
		"root/*", "intermediate/*", "issuers/generate/*", "issuers/import/*",
		"root/sign-intermediate", "root/sign-self-issued", "issuer/+/sign-intermediate", "issuer/+/sign-self-issued",
		"roles/*", "config/*", "keys/*", "key/*", "tidy", "revoke-with-key",
	} {
		paths = append(paths, b.Mount+"/"+path)
	}
	return paths
}

// policyText is what the service's token may do. Which URIs are allowed is said
// by the role alone: its refusal names the request as wrong, a policy's would
// name the token.
func (b BootstrapConfig) policyText() string {
	var text strings.Builder
	for _, g := range b.grants() {
		fmt.Fprintf(&text, "# %s\npath %q {\n  capabilities = [%q]\n", g.why, g.path, g.capability)
		if g.parameters != nil {
			var allowed []string
			for _, name := range g.parameters {
				allowed = append(allowed, fmt.Sprintf("%q = []", name))
			}
			fmt.Fprintf(&text, "  allowed_parameters = { %s }\n", strings.Join(allowed, ", "))
			fmt.Fprintf(&text, "  required_parameters = [%s]\n", quoted(g.required))
		}
		text.WriteString("}\n")
	}
	text.WriteString("# never, whatever other policies say\n")
	for _, denied := range b.denials() {
		fmt.Fprintf(&text, "path %q {\n  capabilities = [\"deny\"]\n}\n", denied)
	}
	return text.String()
}

func quoted(names []string) string {
	var out []string
	for _, name := range names {
		out = append(out, fmt.Sprintf("%q", name))
	}
	return strings.Join(out, ", ")
}

// doctorText is what Examine has to read, and nothing that changes anything.
// sys/audit is one of the paths where Vault wants sudo for reading too.
func (b BootstrapConfig) doctorText() string {
	var text strings.Builder
	rule := func(path string, capabilities ...string) {
		fmt.Fprintf(&text, "path %q {\n  capabilities = [%s]\n}\n", path, quoted(capabilities))
	}
	rule("sys/mounts", "read")
	rule("sys/auth", "read")
	rule("sys/audit", "read", "sudo")
	rule("sys/policies/acl/*", "read")
	rule(b.Mount+"/roles", "list")
	rule(b.Mount+"/roles/"+b.Role, "read")
	for _, name := range []string{"cluster", "urls", "crl"} {
		rule(b.Mount+"/config/"+name, "read")
	}
	rule(b.Mount+"/issuers", "list")
	rule(b.Mount+"/issuer/+", "read")
	if !b.NoTransit {
		for _, key := range TransitKeys() {
			rule(b.Transit+"/keys/"+key, "read")
		}
	}
	if !b.NoAppRole {
		rule("auth/"+b.Auth+"/role/"+b.AppRole, "read")
	}
	return text.String()
}

// forbidden are requests that the service's token must not be able to make, one
// of each kind.
func (b BootstrapConfig) forbidden() []string {
	m := b.Mount
	paths := []string{
		m + "/sign-verbatim", m + "/sign-verbatim/" + b.Role, m + "/issuer/" + b.Issuer + "/sign-verbatim",
		m + "/issuer/" + b.Issuer + "/sign-verbatim/" + b.Role, m + "/issuer/default/sign-verbatim",
		m + "/issue/" + b.Role, m + "/issuer/" + b.Issuer + "/issue/" + b.Role, m + "/issuer/default/issue/" + b.Role,
		m + "/sign/another-role", m + "/issuer/" + b.Issuer + "/sign/another-role", m + "/issuer/another-issuer/sign/" + b.Role,
		m + "/root/generate/internal", m + "/root/generate/exported", m + "/root/rotate/internal", m + "/root/replace", m + "/root",
		m + "/root/sign-intermediate", m + "/issuer/" + b.Issuer + "/sign-intermediate",
		m + "/root/sign-self-issued", m + "/issuer/" + b.Issuer + "/sign-self-issued",
		m + "/intermediate/generate/exported", m + "/intermediate/set-signed",
		m + "/issuers/generate/root/internal", m + "/issuers/import/bundle", m + "/issuer/" + b.Issuer,
		m + "/keys/generate/exported", m + "/keys/import", m + "/key/another-key",
		m + "/config/ca", m + "/config/issuers", m + "/config/urls", m + "/config/crl", m + "/config/cluster",
		m + "/roles/" + b.Role, m + "/roles/another-role", m + "/tidy", m + "/revoke-with-key",
		"sys/policies/acl/" + b.Policy, "sys/mounts/another-mount", "sys/mounts/" + m + "/tune", "sys/auth/another-method",
		"sys/seal", "sys/audit/another-device", "auth/token/create", "auth/token/create-orphan", "identity/entity",
	}
	if !b.NoAppRole {
		role := "auth/" + b.Auth + "/role/" + b.AppRole
		paths = append(paths, role, role+"/secret-id", role+"/custom-secret-id", "auth/"+b.Auth+"/role/another-role")
	}
	if !b.NoTransit {
		for _, key := range TransitKeys() {
			paths = append(paths, b.Transit+"/keys/"+key+"/config", b.Transit+"/keys/"+key+"/rotate", b.Transit+"/keys/"+key+"/trim",
				b.Transit+"/export/signing-key/"+key, b.Transit+"/backup/"+key, b.Transit+"/restore/"+key)
		}
		paths = append(paths, b.Transit+"/keys/another-key", b.Transit+"/sign/another-key")
	}
	slices.Sort(paths)
	return paths
}
