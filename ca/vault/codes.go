package vault

// Codes of Examine's findings. They are stable.
const (
	CodePlain         = "vault_plain_http"          // Vault is spoken to without TLS
	CodeUnready       = "vault_unready"             // Vault is sealed, not initialized, or does not say
	CodeClock         = "vault_clock"               // Vault's clock differs from ours
	CodeAudit         = "vault_no_audit"            // no audit device records who had what signed
	CodeUnread        = "vault_unread"              // the token may not read this, so it was not checked
	CodeMount         = "vault_mount"               // the PKI or Transit mount is missing, or limits lifetimes too far
	CodeIssuer        = "vault_issuer"              // the issuer is missing, has no key, or is not valid now
	CodeIssuerEnds    = "vault_issuer_ends"         // the issuer ends within a quarter of a year
	CodeOtherRoles    = "vault_other_roles"         // the mount has roles that are not Troth's
	CodeCRL           = "vault_crl"                 // the CRL is off, or may go out of date
	CodeURLs          = "vault_urls"                // certificates do not say where CRL, OCSP and issuer are
	CodeRoleMissing   = "vault_role_missing"        // there is no such role
	CodeRoleCSRNames  = "vault_role_csr_names"      // the role takes names from the CSR
	CodeRoleURIs      = "vault_role_uri_sans"       // the role allows other URIs than those of devices
	CodeRoleNames     = "vault_role_names"          // the role allows names other than URIs
	CodeRoleSubject   = "vault_role_subject"        // the role writes something into the subject
	CodeRoleKey       = "vault_role_key"            // the role signs keys that are not ECDSA P-256
	CodeRoleUsage     = "vault_role_usage"          // the role's certificates are for more than TLS clients
	CodeRoleLifetime  = "vault_role_lifetime"       // the role's certificates live too long, or begin too early
	CodeRoleStores    = "vault_role_stores"         // the role has Vault keep each certificate
	CodeRoleIssuer    = "vault_role_issuer"         // the role is not pinned to the issuer
	CodePolicyMissing = "vault_policy_missing"      // there is no such policy
	CodePolicyGrants  = "vault_policy_grants"       // the service's policies allow something that they must not
	CodePolicyLacks   = "vault_policy_lacks"        // the service's policies do not allow what it needs
	CodePolicyEdited  = "vault_policy_edited"       // the policy is not the one that was written
	CodeAppRole       = "vault_approle"             // the AppRole is missing, or gives other tokens than it should
	CodeSecretID      = "vault_secret_id_unlimited" // secret ids never expire, or only after longer than asked
	CodeTransitKey    = "vault_transit_key"         // a signing key is missing, or may leave Vault or be deleted
)
