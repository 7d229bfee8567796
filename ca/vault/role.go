package vault

import (
	"strings"
	"time"

	"troth/ca"
)

// roleFields is the whole role of SECURITY S8, also where Vault's default would
// do: what is not said keeps the value that someone else gave it.
//
// With use_csr_common_name and use_csr_sans off, Vault takes names from the
// request's parameters alone. Two things it still reads from the CSR's subject:
// a serial number (off by serial_number_source=json) and user ids (refused,
// since none are allowed). The parameters that could add a name are closed one
// by one: no domain is allowed, so neither common_name nor alt_names pass;
// ip_sans and other_sans are off; uri_sans must match a device of the trust
// domain. Extensions in the CSR are ignored by sign; the usages are the role's.
func (b BootstrapConfig) roleFields() []field {
	fields := []field{
		{name: "issuer_ref", want: b.Issuer, code: CodeRoleIssuer, why: "another issuer would sign without anybody noticing"},

		{name: "use_csr_common_name", want: false, code: CodeRoleCSRNames, why: "a CSR could name itself"},
		{name: "use_csr_sans", want: false, code: CodeRoleCSRNames, why: "a CSR could name itself"},
		{name: "serial_number_source", want: "json", code: CodeRoleCSRNames, why: "a CSR's subject serial number would be taken over"},
		{name: "require_cn", want: false, code: CodeRoleCSRNames, why: "devices have no common name, so nothing would be signed"},
		{name: "cn_validations", want: []string{"hostname"}, code: CodeRoleNames, why: "a common name would not be looked at"},
		{name: "allowed_uri_sans", want: []string{ca.DeviceURI(b.TrustDomain, "*")}, code: CodeRoleURIs, why: "other identities than those of devices could be had"},
		{name: "allowed_uri_sans_template", want: false, code: CodeRoleURIs, why: "the allowed URIs would depend on who asks"},

		{name: "ttl", want: min(b.MaxTTL, ca.DefaultLifetime), code: CodeRoleLifetime, why: "certificates would live too long", lax: true},
		{name: "max_ttl", want: b.MaxTTL, code: CodeRoleLifetime, why: "certificates would live too long", lax: true},
		{name: "not_after", want: "", code: CodeRoleLifetime, why: "it outranks max_ttl"},
		{name: "not_before_duration", want: ca.MaxBackdate, code: CodeRoleLifetime, why: "certificates would speak for a time before the attestation", lax: true},
		{name: "no_store", want: true, code: CodeRoleStores, why: "Vault's storage would grow by every certificate"},
		{name: "generate_lease", want: false, code: CodeRoleStores, why: "every certificate would leave a lease"},

		{name: "key_type", want: "ec", code: CodeRoleKey, why: "other keys than those of TPMs would be signed"},
		{name: "key_bits", want: 256, code: CodeRoleKey, why: "other keys than those of TPMs would be signed"},
		{name: "signature_bits", want: 256, code: CodeRoleKey, why: "the hash is that of the curve"},

		{name: "client_flag", want: true, code: CodeRoleUsage, why: "devices are TLS clients"},
		{name: "server_flag", want: false, code: CodeRoleUsage, why: "a device could pose as a server"},
		{name: "code_signing_flag", want: false, code: CodeRoleUsage, why: "a device could sign code"},
		{name: "email_protection_flag", want: false, code: CodeRoleUsage, why: "a device could sign mail"},
		{name: "key_usage", want: []string{"DigitalSignature"}, code: CodeRoleUsage, why: "TLS 1.3 needs no more"},
		{name: "basic_constraints_valid_for_non_ca", want: false, code: CodeRoleUsage, why: "it is not needed"},
	}
	for _, name := range []string{"ext_key_usage", "ext_key_usage_oids", "policy_identifiers"} {
		fields = append(fields, field{name: name, want: []string{}, code: CodeRoleUsage, why: "certificates would be for more than TLS clients"})
	}
	for _, name := range []string{
		"allow_any_name", "allow_localhost", "allowed_domains_template", "allow_bare_domains", "allow_subdomains",
		"allow_glob_domains", "allow_wildcard_certificates", "allow_ip_sans",
	} {
		fields = append(fields, field{name: name, want: false, code: CodeRoleNames, why: "a device could be certified as a host"})
	}
	fields = append(fields, field{name: "enforce_hostnames", want: true, code: CodeRoleNames, why: "names would not be looked at"})
	for _, name := range []string{"allowed_domains", "allowed_other_sans"} {
		fields = append(fields, field{name: name, want: []string{}, code: CodeRoleNames, why: "a device could be certified as something else"})
	}
	for _, name := range []string{
		"allowed_serial_numbers", "allowed_user_ids", "ou", "organization", "country", "locality", "province",
		"street_address", "postal_code",
	} {
		fields = append(fields, field{name: name, want: []string{}, code: CodeRoleSubject, why: "the subject is empty: the URI is the name"})
	}
	return fields
}

// pieces are all that Bootstrap sets up but the issuer, in order.
func (b BootstrapConfig) pieces() []piece {
	aia := b.PublicURL + "/v1/" + strings.TrimPrefix(b.Namespace+"/", "/") + b.Mount
	all := []piece{
		{what: "secrets engine " + b.Mount, kind: kindMount, path: "sys/mounts/" + b.Mount, fields: []field{
			{name: "type", want: "pki", code: CodeMount, why: "it is another engine"},
			{name: "max_lease_ttl", want: b.RootTTL, code: CodeMount, why: "no issuer could live that long", more: true},
		}},
		{what: "cluster address", kind: kindSettings, path: b.Mount + "/config/cluster", fields: []field{
			{name: "path", want: aia, code: CodeURLs, why: "it is part of what certificates say"},
			{name: "aia_path", want: aia, code: CodeURLs, why: "it is part of what certificates say"},
		}},
		{what: "addresses in certificates", kind: kindSettings, path: b.Mount + "/config/urls", fields: []field{
			{name: "issuing_certificates", want: []string{"{{cluster_aia_path}}/issuer/{{issuer_id}}/der"}, code: CodeURLs, why: "nobody finds the issuer"},
			{name: "crl_distribution_points", want: []string{"{{cluster_aia_path}}/issuer/{{issuer_id}}/crl/der"}, code: CodeURLs, why: "nobody finds the CRL"},
			{name: "ocsp_servers", want: []string{"{{cluster_path}}/ocsp"}, code: CodeURLs, why: "nobody finds OCSP"},
			{name: "enable_templating", want: true, code: CodeURLs, why: "the addresses would be taken literally"},
		}},
		{what: "CRL", kind: kindSettings, path: b.Mount + "/config/crl", fields: []field{
			{name: "disable", want: false, code: CodeCRL, why: "others would not learn of revocations"},
			{name: "ocsp_disable", want: false, code: CodeCRL, why: "others would not learn of revocations"},
			{name: "expiry", want: crlExpiry, code: CodeCRL, why: "others would believe an old list for longer", lax: true},
			{name: "auto_rebuild", want: true, code: CodeCRL, why: "the list would end when nothing is revoked for a while"},
			{name: "auto_rebuild_grace_period", want: crlGrace, code: CodeCRL, why: "the list might end before the next", more: true},
		}},
		{what: "role " + b.Role, path: b.Mount + "/roles/" + b.Role, fields: b.roleFields()},
	}
	if !b.NoTransit {
		all = append(all, b.transit()...)
	}
	all = append(all,
		piece{what: "policy " + b.Policy, kind: kindPolicy, path: "sys/policies/acl/" + b.Policy, fields: []field{
			{name: "policy", want: b.policyText(), code: CodePolicyEdited}}},
		piece{what: "policy " + b.DoctorPolicy, kind: kindPolicy, path: "sys/policies/acl/" + b.DoctorPolicy, fields: []field{
			{name: "policy", want: b.doctorText(), code: CodePolicyEdited}}},
	)
	if !b.NoAppRole {
		all = append(all, b.appRole()...)
	}
	return all
}

func (b BootstrapConfig) transit() []piece {
	pieces := []piece{{what: "secrets engine " + b.Transit, kind: kindMount, path: "sys/mounts/" + b.Transit,
		fields: []field{{name: "type", want: "transit", code: CodeMount, why: "it is another engine"}}}}
	for _, key := range TransitKeys() {
		pieces = append(pieces, piece{what: "signing key " + key, kind: kindKey, path: b.Transit + "/keys/" + key, fields: []field{
			{name: "type", want: "ecdsa-p256", code: CodeTransitKey, why: "verifiers expect ECDSA P-256"},
			{name: "exportable", want: false, code: CodeTransitKey, why: "it may have left Vault"},
			{name: "allow_plaintext_backup", want: false, code: CodeTransitKey, why: "it may have left Vault"},
			{name: "deletion_allowed", want: false, code: CodeTransitKey, why: "it could be deleted"},
			{name: "auto_rotate_period", want: time.Duration(0), code: CodeTransitKey, why: "it would change under those who verify with it"},
		}})
	}
	return pieces
}

func (b BootstrapConfig) appRole() []piece {
	cidrs := b.BoundCIDRs
	if cidrs == nil {
		cidrs = []string{}
	}
	const loose = "a token that leaks would be good for longer"
	return []piece{
		{what: "auth method " + b.Auth, kind: kindMount, path: "sys/auth/" + b.Auth,
			fields: []field{{name: "type", want: "approle", code: CodeAppRole, why: "it is another method"}}},
		{what: "AppRole " + b.AppRole, path: "auth/" + b.Auth + "/role/" + b.AppRole, fields: []field{
			{name: "token_policies", want: []string{b.Policy}, code: CodeAppRole, why: "the service would have other rights than its own"},
			{name: "token_no_default_policy", want: true, code: CodeAppRole, why: "the service would have other rights than its own"},
			{name: "token_ttl", want: tokenTTL, code: CodeAppRole, why: loose, lax: true},
			{name: "token_max_ttl", want: tokenMaxTTL, code: CodeAppRole, why: loose, lax: true},
			{name: "token_explicit_max_ttl", want: time.Duration(0), code: CodeAppRole, why: "renewal would end early"},
			{name: "token_period", want: time.Duration(0), code: CodeAppRole, why: "a token could be renewed for ever"},
			{name: "bind_secret_id", want: true, code: CodeAppRole, why: "the role id alone would do, and it is no secret"},
			{name: "secret_id_ttl", want: b.SecretIDTTL, code: CodeSecretID, why: "a secret id that leaks would be good for ever, or for longer", lax: true},
			{name: "secret_id_bound_cidrs", want: cidrs, code: CodeAppRole, why: "logins would be possible from elsewhere"},
			{name: "token_bound_cidrs", want: cidrs, code: CodeAppRole, why: "tokens would be good elsewhere"},
		}},
	}
}
