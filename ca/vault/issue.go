package vault

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca"
)

// revokeTimeout bounds the attempt to revoke what should not have been issued.
const revokeTimeout = 10 * time.Second

// signPath is what the role signs at. The form with an issuer pins it here; the
// form without leaves it to the role.
func signPath(mount, issuer, role string) string {
	if issuer != "" {
		return mount + "/issuer/" + issuer + "/sign/" + role
	}
	return mount + "/sign/" + role
}

// Issue has Vault sign a device certificate. The URI is sent as a parameter of
// its own, apart from the CSR, so that Vault's role takes the key from the CSR
// and nothing else. A lifetime above the role's max_ttl is shortened by Vault.
//
// The sign request is sent once. It is repeated only after a failure in which it
// certainly was not processed: no connection, sealed, standby, over a quota,
// or our token not accepted.
func (c *CA) Issue(ctx context.Context, r ca.Request) (ca.Certificate, error) {
	if err := ca.CheckRequest(r); err != nil {
		return ca.Certificate{}, err
	}
	domain, _, err := ca.SplitDeviceURI(r.URI)
	if err != nil {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w: %w", ca.ErrRefused, err)
	}
	if c.config.TrustDomain != "" && domain != c.config.TrustDomain {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w: trust domain %s is not %s", ca.ErrRefused, domain, c.config.TrustDomain)
	}
	if r.Lifetime == 0 {
		r.Lifetime = ca.DefaultLifetime
	}
	// Roots first: a certificate that could not be verified would be signed in
	// vain.
	known, err := c.roots.get(ctx, c)
	if err != nil {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w", err)
	}
	answer, err := c.sign(ctx, func(ctx context.Context, logical *api.Logical) (*api.Secret, error) {
		return logical.WriteWithContext(ctx, signPath(c.config.Mount, c.config.Issuer, c.config.Role), map[string]any{
			"csr":      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: r.CSR})),
			"uri_sans": r.URI,
			"ttl":      fmt.Sprintf("%ds", max(1, int64(r.Lifetime/time.Second))),
		})
	})
	if err != nil {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w", err)
	}
	certificate, err := c.readAnswer(answer)
	if err != nil {
		// Something was answered that is no certificate: one may exist.
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w: %w", ca.ErrAmbiguous, err)
	}
	if certificate.Roots, err = c.accept(ctx, r, certificate, known); err != nil {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w", err)
	}
	return certificate, nil
}

// accept checks what came back, and has it revoked if it is not what was asked.
// It returns the roots that verify it.
func (c *CA) accept(ctx context.Context, r ca.Request, certificate ca.Certificate, known trust) ([]*x509.Certificate, error) {
	err := known.check(r, certificate, c.config.Now())
	if err == nil {
		return slices.Clone(known.roots), nil
	}
	// Vault may have got a new root since the roots were read.
	if fresh, freshErr := c.roots.refresh(ctx, c); freshErr == nil {
		if fresh.check(r, certificate, c.config.Now()) == nil {
			return slices.Clone(fresh.roots), nil
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if revokeErr := c.Revoke(ctx, certificate.DER); revokeErr != nil {
		return nil, fmt.Errorf("%w; and its serial number %s could not be revoked: %w", err, certificate.Serial, revokeErr)
	}
	return nil, err
}

// readAnswer reads the certificate and its chain out of Vault's answer to sign.
func (c *CA) readAnswer(answer *api.Secret) (ca.Certificate, error) {
	if answer == nil {
		return ca.Certificate{}, errors.New("read Vault's answer: it is empty")
	}
	text, _ := answer.Data["certificate"].(string)
	leaf, err := decodeCertificate(text)
	if err != nil {
		return ca.Certificate{}, fmt.Errorf("read Vault's answer: certificate: %w", err)
	}
	var texts []string
	if links, ok := answer.Data["ca_chain"].([]any); ok {
		for _, link := range links {
			text, _ := link.(string)
			texts = append(texts, text)
		}
	} else if text, ok := answer.Data["issuing_ca"].(string); ok {
		texts = []string{text}
	}
	return c.chains.complete(leaf, texts)
}

// chainCache remembers what the last chain was read as: it is the same with every
// certificate until the issuer changes.
type chainCache struct {
	mu    sync.Mutex
	texts []string // PEM
	links [][]byte // DER, without a root
}

// complete is ca.NewCertificate with a chain in PEM.
func (k *chainCache) complete(leaf []byte, texts []string) (ca.Certificate, error) {
	k.mu.Lock()
	known, links := slices.Equal(k.texts, texts), k.links
	k.mu.Unlock()
	if known {
		certificate, err := ca.NewCertificate(leaf, nil)
		certificate.Chain = slices.Clone(links)
		return certificate, err
	}
	var chain [][]byte
	for _, text := range texts {
		der, err := decodeCertificate(text)
		if err != nil {
			return ca.Certificate{}, fmt.Errorf("read Vault's answer: chain: %w", err)
		}
		chain = append(chain, der)
	}
	certificate, err := ca.NewCertificate(leaf, chain)
	if err == nil {
		k.mu.Lock()
		k.texts, k.links = texts, slices.Clone(certificate.Chain)
		k.mu.Unlock()
	}
	return certificate, err
}

func decodeCertificate(text string) ([]byte, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a PEM certificate")
	}
	return block.Bytes, nil
}

// Revoke revokes by the certificate itself: the role stores none, so Vault does
// not know the serial number. Then it has the CRL rebuilt, which Vault by itself
// would put off. A certificate that has expired needs no revocation and Vault
// records none.
func (c *CA) Revoke(ctx context.Context, der []byte) error {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("revoke certificate: %w: %w", ca.ErrRefused, err)
	}
	_, err = c.repeat(ctx, func(ctx context.Context, logical *api.Logical) (*api.Secret, error) {
		return logical.WriteWithContext(ctx, c.config.Mount+"/revoke", map[string]any{
			"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		})
	})
	if err == nil {
		if err := c.RebuildCRL(ctx); err != nil {
			return fmt.Errorf("revoke certificate: revoked, but not yet in the CRL: %w", err)
		}
		return nil
	}
	// Vault answers 500 to a certificate of another CA, as to its own faults.
	var f *failure
	if errors.As(err, &f) && f.status == http.StatusInternalServerError && c.isForeign(ctx, certificate) {
		f.kind = ca.ErrRefused
	}
	return fmt.Errorf("revoke certificate: %w", err)
}

func decodeCRL(text string) ([]byte, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "X509 CRL" {
		return nil, fmt.Errorf("read CRL: %w: not a PEM CRL", ca.ErrUnavailable)
	}
	return block.Bytes, nil
}
