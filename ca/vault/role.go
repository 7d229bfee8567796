package vault

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca"
)

// writeRole writes the whole role of SECURITY S8, also where Vault's default
// would do: what is not said keeps the value that someone else gave it.
//
// With use_csr_common_name and use_csr_sans off, Vault takes names from the
// request's parameters alone. Two things it still reads from the CSR's subject:
// a serial number (off by serial_number_source=json) and user ids (refused,
// since none are allowed). The parameters that could add a name are closed one
// by one: no domain is allowed, so neither common_name nor alt_names pass;
// ip_sans and other_sans are off; uri_sans must match a device of the trust
// domain. Extensions in the CSR are ignored by sign; the usages are the role's.
func writeRole(ctx context.Context, client *api.Client, config BootstrapConfig) error {
	_, err := client.Logical().WriteWithContext(ctx, config.Mount+"/roles/"+config.Role, map[string]any{
		"issuer_ref": config.Issuer,

		"use_csr_common_name":       false,
		"use_csr_sans":              false,
		"serial_number_source":      "json",
		"require_cn":                false,
		"cn_validations":            []string{"hostname"},
		"allowed_uri_sans":          []string{ca.DeviceURI(config.TrustDomain, "*")},
		"allowed_uri_sans_template": false,

		"allow_any_name":              false,
		"allow_localhost":             false,
		"allowed_domains":             []string{},
		"allowed_domains_template":    false,
		"allow_bare_domains":          false,
		"allow_subdomains":            false,
		"allow_glob_domains":          false,
		"allow_wildcard_certificates": false,
		"enforce_hostnames":           true,
		"allow_ip_sans":               false,
		"allowed_other_sans":          []string{},
		"allowed_serial_numbers":      []string{},
		"allowed_user_ids":            []string{},

		"ou": []string{}, "organization": []string{}, "country": []string{}, "locality": []string{},
		"province": []string{}, "street_address": []string{}, "postal_code": []string{},

		"key_type":       "ec",
		"key_bits":       256,
		"signature_bits": 256,

		"client_flag":                        true,
		"server_flag":                        false,
		"code_signing_flag":                  false,
		"email_protection_flag":              false,
		"key_usage":                          []string{"DigitalSignature"},
		"ext_key_usage":                      []string{},
		"ext_key_usage_oids":                 []string{},
		"policy_identifiers":                 []string{},
		"basic_constraints_valid_for_non_ca": false,

		"ttl":                 seconds(min(config.MaxTTL, ca.DefaultLifetime)),
		"max_ttl":             seconds(config.MaxTTL),
		"not_after":           "",
		"not_before_duration": seconds(ca.MaxBackdate),
		"no_store":            true,
		"generate_lease":      false,
	})
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int64(d/time.Second)) }

// writePolicy writes what Troth's token may do: sign with the one role and the
// three parameters that Troth sends, revoke by certificate, and look after
// itself. Which URIs are allowed is said by the role alone: its refusal names the
// request as wrong, a policy's would name the token. The denials come first in
// Vault whatever other policy a token has.
func writePolicy(ctx context.Context, client *api.Client, config BootstrapConfig) error {
	return client.Sys().PutPolicyWithContext(ctx, config.Policy, policyText(config))
}

func policyText(config BootstrapConfig) string {
	var text strings.Builder
	for _, path := range []string{signPath(config.Mount, "", config.Role), signPath(config.Mount, config.Issuer, config.Role)} {
		fmt.Fprintf(&text, `path %q {
  capabilities        = ["update"]
  allowed_parameters  = { "csr" = [], "uri_sans" = [], "ttl" = [] }
  required_parameters = ["csr", "uri_sans"]
}
`, path)
	}
	fmt.Fprintf(&text, `path %q {
  capabilities        = ["update"]
  allowed_parameters  = { "certificate" = [] }
  required_parameters = ["certificate"]
}
`, config.Mount+"/revoke")
	for _, path := range []string{"sys/capabilities-self", "auth/token/renew-self", "auth/token/revoke-self"} {
		fmt.Fprintf(&text, "path %q {\n  capabilities = [\"update\"]\n}\n", path)
	}
	for _, denied := range []string{
		"sign-verbatim", "sign-verbatim/*", "issuer/+/sign-verbatim", "issuer/+/sign-verbatim/*",
		"issue/*", "issuer/+/issue/*",
		"root/*", "intermediate/*", "issuers/generate/*", "issuers/import/*",
		"root/sign-intermediate", "root/sign-self-issued", "issuer/+/sign-intermediate", "issuer/+/sign-self-issued",
		"roles/*", "config/*", "keys/*", "key/*", "tidy", "revoke-with-key",
	} {
		fmt.Fprintf(&text, "path %q {\n  capabilities = [\"deny\"]\n}\n", config.Mount+"/"+denied)
	}
	return text.String()
}
