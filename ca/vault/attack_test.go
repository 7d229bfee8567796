package vault_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"maps"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca/catest"
	"troth/ca/vault"
)

// These tests hold the very token that the service has and speak to Vault
// directly, past every check of our own: what an attacker can do who has taken
// over the service.

// login returns a client with the service's rights and nothing more.
func (s *setup) login(t *testing.T) *api.Client {
	t.Helper()
	role := s.credentials(t)
	c := client(t, s.server.Addr, "")
	answer, err := c.Logical().WriteWithContext(t.Context(), "auth/"+role.Mount+"/login",
		map[string]any{"role_id": role.RoleID, "secret_id": role.SecretID})
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(answer.Auth.ClientToken)
	return c
}

// sign signs with the role as it is; admin skips the policy's own limits, so that
// the role has to hold by itself.
func sign(t *testing.T, c *api.Client, csr []byte, parameters map[string]any) (*x509.Certificate, error) {
	t.Helper()
	data := map[string]any{"csr": csrPEM(csr), "uri_sans": catest.URI("device")}
	maps.Copy(data, parameters)
	answer, err := c.Logical().WriteWithContext(t.Context(), vault.DefaultMount+"/sign/"+vault.DefaultRole, data)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(answer.Data["certificate"].(string)))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, nil
}

func csrPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// plain reports what is wrong with a certificate that should be the device's
// plain client certificate.
func plain(c *x509.Certificate) string {
	switch {
	case c.Subject.String() != "":
		return "subject " + c.Subject.String()
	case len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses) != 0:
		return "other names"
	case len(c.URIs) != 1 || c.URIs[0].String() != catest.URI("device"):
		return "other URIs"
	case c.IsCA || c.KeyUsage != x509.KeyUsageDigitalSignature:
		return "CA or key usage"
	case len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || len(c.UnknownExtKeyUsage) != 0:
		return "extended key usage"
	case c.NotAfter.Sub(c.NotBefore) > 24*time.Hour+6*time.Minute:
		return "lifetime"
	}
	for _, extension := range c.Extensions {
		switch extension.Id.String() {
		case "2.5.29.15", "2.5.29.37", "2.5.29.14", "2.5.29.35", "2.5.29.17":
		case "1.3.6.1.5.5.7.1.1", "2.5.29.31": // where issuer, OCSP and CRL are; see TestAddresses
		default:
			return "extension " + extension.Id.String()
		}
	}
	return ""
}

// TestAttack_S8_CSRContents puts everything into a CSR that a role could copy.
// Vault may refuse it or leave it out; the certificate never carries it.
func TestAttack_S8_CSRContents(t *testing.T) {
	s := start(t)
	service := s.login(t)
	key := catest.NewKey(t)
	extension := func(id asn1.ObjectIdentifier, value any) []pkix.Extension {
		der, err := asn1.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return []pkix.Extension{{Id: id, Critical: true, Value: der}}
	}
	for name, template := range map[string]x509.CertificateRequest{
		"common name":       {Subject: pkix.Name{CommonName: "admin.example.org"}},
		"organization":      {Subject: pkix.Name{Organization: []string{"system:masters"}}},
		"serial number":     {Subject: pkix.Name{SerialNumber: "1"}},
		"user id":           {Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: "root"}}}},
		"DNS name":          {DNSNames: []string{"trothd.example.org"}},
		"wildcard":          {DNSNames: []string{"*.example.org"}},
		"localhost":         {DNSNames: []string{"localhost"}},
		"email":             {EmailAddresses: []string{"root@example.org"}},
		"IP address":        {IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}},
		"another device":    {URIs: []*url.URL{catest.ParseURL(t, catest.URI("another"))}},
		"another domain":    {URIs: []*url.URL{catest.ParseURL(t, "spiffe://example.com/device/x")}},
		"CA":                {ExtraExtensions: extension(asn1.ObjectIdentifier{2, 5, 29, 19}, struct{ CA bool }{true})},
		"server usage":      {ExtraExtensions: extension(asn1.ObjectIdentifier{2, 5, 29, 37}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}})},
		"signing usage":     {ExtraExtensions: extension(asn1.ObjectIdentifier{2, 5, 29, 15}, asn1.BitString{Bytes: []byte{0x06}, BitLength: 7})},
		"unknown extension": {ExtraExtensions: extension(asn1.ObjectIdentifier{1, 2, 3, 4}, "x")},
	} {
		certificate, err := sign(t, service, catest.NewCSR(t, key, &template), nil)
		if err != nil {
			t.Logf("%s: Vault refuses: %v", name, lastLine(err))
			continue
		}
		if wrong := plain(certificate); wrong != "" {
			t.Errorf("%s in the CSR ends in the certificate: %s", name, wrong)
		}
	}
}

// TestAttack_S8_Keys: kinds of keys that the role must refuse. A longer EC key
// passes the role, which knows only a minimum; ca.CheckRequest refuses it.
func TestAttack_S8_Keys(t *testing.T) {
	s := start(t)
	service := s.login(t)
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-224": weak, "RSA-2048": rsaKey} {
		if _, err := sign(t, service, catest.NewCSR(t, key, &x509.CertificateRequest{}), nil); err == nil {
			t.Errorf("the role signs a %s key", name)
		}
	}
	// A request whose signature is by another key than the one it carries.
	csr := catest.NewCSR(t, catest.NewKey(t), &x509.CertificateRequest{})
	csr[len(csr)-1] ^= 1
	if _, err := sign(t, service, csr, nil); err == nil {
		t.Error("the role signs a CSR with a wrong signature")
	}
}

// TestAttack_S8_Parameters asks for names by the request's parameters: with the
// service's token, which the policy limits, and with an administrator's, so that
// the role has to hold by itself.
func TestAttack_S8_Parameters(t *testing.T) {
	s := start(t)
	csr := catest.NewRequest(t, "device").CSR
	another := catest.URI("another")
	for name, c := range map[string]*api.Client{"service": s.login(t), "administrator": s.admin} {
		for what, parameters := range map[string]map[string]any{
			"common name":     {"common_name": "admin.example.org"},
			"localhost":       {"common_name": "localhost"},
			"alternative":     {"alt_names": "trothd.example.org"},
			"wildcard":        {"alt_names": "*.example.org"},
			"email":           {"alt_names": "root@example.org"},
			"IP address":      {"ip_sans": "127.0.0.1"},
			"other name":      {"other_sans": "1.3.6.1.4.1.311.20.2.3;utf8:root@example.org"},
			"serial number":   {"serial_number": "1"},
			"user id":         {"user_ids": "root"},
			"another domain":  {"uri_sans": strings.Replace(another, "example.org", "example.com", 1)},
			"another path":    {"uri_sans": "spiffe://example.org/service/trothd"},
			"a second domain": {"uri_sans": another + ",spiffe://example.com/device/x"},
			"another scheme":  {"uri_sans": "https://example.org/device/x"},
		} {
			if certificate, err := sign(t, c, csr, parameters); err == nil {
				t.Errorf("%s gets a certificate with %s: %v %v %v", name, what, certificate.Subject, certificate.DNSNames, certificate.URIs)
			}
		}
	}
	// The policy does not let the service choose an end, only a lifetime.
	if _, err := sign(t, s.login(t), csr, map[string]any{"not_after": "9999-12-31T23:59:59Z"}); !isForbidden(err) {
		t.Errorf("service asks for not_after = %v, want 403", err)
	}
	certificate, err := sign(t, s.login(t), csr, map[string]any{"ttl": "87600h"})
	if err != nil || plain(certificate) != "" {
		t.Errorf("service asks for ten years: %v, want a plain certificate of a day", err)
	}
	// Vault has no way to require a URI. A certificate without any name is
	// nobody's: nothing of ours takes it for a device.
	certificate, err = sign(t, s.login(t), csr, map[string]any{"uri_sans": ""})
	if err == nil && (len(certificate.URIs) != 0 || certificate.Subject.String() != "" || len(certificate.DNSNames) != 0) {
		t.Errorf("service asks for no URI and gets %v %v", certificate.Subject, certificate.URIs)
	}
}

// TestAttack_S8_Policy walks what else the PKI mount and Vault offer, with the
// service's token.
func TestAttack_S8_Policy(t *testing.T) {
	s := start(t)
	service := s.login(t)
	csr := csrPEM(catest.NewRequest(t, "device").CSR)
	m := vault.DefaultMount
	for _, path := range []string{
		m + "/sign-verbatim", m + "/sign-verbatim/" + vault.DefaultRole,
		m + "/issuer/default/sign-verbatim", m + "/issuer/default/sign-verbatim/" + vault.DefaultRole,
		m + "/issue/" + vault.DefaultRole, m + "/issuer/default/issue/" + vault.DefaultRole,
		m + "/root/sign-intermediate", m + "/issuer/default/sign-intermediate",
		m + "/root/sign-self-issued", m + "/issuer/default/sign-self-issued",
		m + "/root/generate/internal", m + "/root/generate/exported", m + "/root/rotate/internal",
		m + "/intermediate/generate/exported", m + "/keys/generate/exported", m + "/keys/import",
		m + "/issuers/import/bundle", m + "/config/ca", m + "/config/issuers", m + "/config/urls",
		m + "/config/crl", m + "/roles/" + vault.DefaultRole, m + "/roles/mine", m + "/tidy",
		m + "/revoke-with-key", m + "/sign/other",
		"sys/policies/acl/" + vault.DefaultPolicy, "sys/mounts/pki2", "sys/seal", "auth/token/create",
		"auth/approle/role/" + vault.DefaultAppRole, "auth/approle/role/" + vault.DefaultAppRole + "/secret-id",
	} {
		_, err := service.Logical().WriteWithContext(t.Context(), path,
			map[string]any{"csr": csr, "uri_sans": catest.URI("device"), "common_name": "x.example.org", "type": "pki"})
		if !isForbidden(err) {
			t.Errorf("write %s = %v, want 403", path, err)
		}
	}
	if _, err := service.Logical().DeleteWithContext(t.Context(), m+"/root"); !isForbidden(err) {
		t.Errorf("delete root = %v, want 403", err)
	}
	for _, path := range []string{m + "/roles/" + vault.DefaultRole, "sys/policies/acl/" + vault.DefaultPolicy} {
		if _, err := service.Logical().ReadWithContext(t.Context(), path); !isForbidden(err) {
			t.Errorf("read %s = %v, want 403", path, err)
		}
	}
	// Revocation is by certificate alone: a serial number would reach
	// certificates of other users of the mount.
	if _, err := service.Logical().WriteWithContext(t.Context(), m+"/revoke", map[string]any{"serial_number": "01"}); !isForbidden(err) {
		t.Errorf("revoke by serial number = %v, want 403", err)
	}
}

// TestAttack_S8_NothingStored: no_store keeps Vault small under a certificate a
// day for each device; only what is revoked is kept.
func TestAttack_S8_NothingStored(t *testing.T) {
	s := start(t)
	issuer := s.issuer(t, s.server.Addr)
	stored := func() int {
		answer, err := s.admin.Logical().ListWithContext(t.Context(), vault.DefaultMount+"/certs")
		if err != nil {
			t.Fatal(err)
		}
		if answer == nil {
			return 0
		}
		return len(answer.Data["keys"].([]any))
	}
	before := stored() // the root's own
	certificate, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
	if err != nil {
		t.Fatal(err)
	}
	if after := stored(); after != before {
		t.Errorf("Vault stores %d certificates after signing, %d before", after, before)
	}
	if err := issuer.Revoke(t.Context(), certificate.DER); err != nil {
		t.Fatal(err)
	}
	if after := stored(); after != before+1 {
		t.Errorf("Vault stores %d certificates after revoking one, %d before", after, before)
	}
}

func isForbidden(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Code: 403")
}

func lastLine(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return lines[len(lines)-1]
}
