package vault

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Script writes what Bootstrap would set up as commands of the vault program, for
// those who keep Vault's configuration as code. It is a POSIX shell script, to
// be run with VAULT_ADDR and VAULT_TOKEN set against a Vault that has none of it
// yet; read it, take from it what you need.
func Script(config BootstrapConfig) (string, error) {
	if err := config.completeIssuer(); err != nil {
		return "", fmt.Errorf("write commands: %w", err)
	}
	if config.Issuer == "" {
		if config.intermediate() {
			config.Issuer, config.CSR = ownIntermediate, config.CSR || config.Signed != ""
		} else {
			config.Issuer = ownRoot
		}
	}
	own := config
	if own.intermediate() {
		own.Issuer = "" // complete takes either
	}
	if err := own.complete(); err != nil {
		return "", fmt.Errorf("write commands: %w", err)
	}
	own.Issuer = config.Issuer
	if own.PublicURL == "" {
		own.PublicURL = "https://vault.example:8200"
	}
	var s strings.Builder
	s.WriteString("#!/bin/sh\n# Vault for Troth, trust domain " + own.TrustDomain + "\nset -eu\n")
	for _, p := range own.pieces() {
		s.WriteString("\n# " + p.what + "\n" + p.command())
		if p.path == "sys/mounts/"+own.Mount {
			s.WriteString("\n# issuer " + own.Issuer + "\n" + own.issuerCommands())
		}
	}
	return s.String(), nil
}

func (p piece) command() string {
	data := p.data()
	switch p.kind {
	case kindMount:
		engine := fmt.Sprint(data["type"])
		if name, ok := strings.CutPrefix(p.path, "sys/auth/"); ok {
			return "vault auth enable -path=" + name + " " + engine + "\n"
		}
		limit := ""
		if ttl, ok := data["max_lease_ttl"]; ok {
			limit = fmt.Sprintf(" -max-lease-ttl=%v", ttl)
		}
		return "vault secrets enable -path=" + strings.TrimPrefix(p.path, "sys/mounts/") + limit + " " + engine + "\n"
	case kindPolicy:
		return "vault policy write " + strings.TrimPrefix(p.path, "sys/policies/acl/") + " - <<'HCL'\n" + fmt.Sprint(data["policy"]) + "HCL\n"
	case kindKey:
		delete(data, "deletion_allowed") // it is false from the start
		return write(p.path, data)
	}
	return write(p.path, data)
}

// write is one write of JSON.
func write(path string, data map[string]any) string {
	text, _ := json.MarshalIndent(data, "", "  ") // of texts, numbers, truths: never fails
	return "vault write " + path + " - <<'JSON'\n" + string(text) + "\nJSON\n"
}

func (b BootstrapConfig) issuerCommands() string {
	switch {
	case b.Issuer == ownRoot:
		return write(b.Mount+"/root/generate/internal", b.rootRequest())
	case b.intermediate():
		request := b.subject()
		request["key_type"], request["key_bits"], request["key_name"] = "ec", 256, ownIntermediate
		made := strings.Replace(write(b.Mount+"/intermediate/generate/internal", request), "vault write", "vault write -field=csr", 1)
		made = strings.Replace(made, " - <<'JSON'", " - <<'JSON' > troth.csr", 1)
		return made + b.signCommands() + fmt.Sprintf(
			"vault write -format=json %s/intermediate/set-signed certificate=@troth-signed.pem > troth-imported.json\n"+
				"# name the issuer that has the key, as \"mapping\" in troth-imported.json says\n"+
				"id=$(tr -d ' \\n' < troth-imported.json | sed 's/.*\"mapping\":{\\([^}]*\\)}.*/\\1/' | tr ',' '\\n' | sed -n 's/^\"\\([^\"]*\\)\":\"[^\"][^\"]*\"$/\\1/p')\n"+
				"vault write %s/issuer/\"$id\" issuer_name=%s leaf_not_after_behavior=truncate\n", b.Mount, b.Mount, ownIntermediate)
	default:
		return "# is expected to be there\n"
	}
}

func (b BootstrapConfig) signCommands() string {
	if b.RootMount == "" {
		return "# have troth.csr signed as a CA with path length 0, and the chain written to troth-signed.pem, before you go on\n" +
			"[ -s troth-signed.pem ]\n"
	}
	reference := b.RootIssuer
	setDefault(&reference, "default")
	var options []string
	for name, value := range b.signingRequest() {
		if name != "format" {
			options = append(options, fmt.Sprintf("%s=%v", name, value))
		}
	}
	slices.Sort(options)
	return "vault write -field=certificate " + b.RootMount + "/issuer/" + reference +
		"/sign-intermediate csr=@troth.csr format=pem_bundle " + strings.Join(options, " ") + " > troth-signed.pem\n"
}
