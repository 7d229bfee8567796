package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca"
)

// trust is what a certificate of ours must lead to.
type trust struct {
	roots  []*x509.Certificate
	issuer *x509.Certificate // that must have signed it; nil if the role chooses
}

// check is ca.CheckIssued, and holds the configured issuer to be the signer: two
// issuers may be below one root.
func (t trust) check(r ca.Request, c ca.Certificate, now time.Time) error {
	if err := ca.CheckIssued(r, c, t.roots, now); err != nil {
		return err
	}
	if t.issuer == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return fmt.Errorf("%w: %w", ca.ErrMisissued, err)
	}
	if leaf.CheckSignatureFrom(t.issuer) != nil {
		return fmt.Errorf("%w: signed by %s, not by the configured issuer %s", ca.ErrMisissued, leaf.Issuer, t.issuer.Subject)
	}
	return nil
}

// rootCache remembers the roots: they are needed for every certificate and
// change once in years.
type rootCache struct {
	mu    sync.Mutex
	trust trust
}

func (r *rootCache) get(ctx context.Context, c *CA) (trust, error) {
	r.mu.Lock()
	known := r.trust
	r.mu.Unlock()
	if known.roots != nil {
		return known, nil
	}
	return r.refresh(ctx, c)
}

func (r *rootCache) refresh(ctx context.Context, c *CA) (trust, error) {
	fresh, err := c.readTrust(ctx)
	if err != nil {
		return trust{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trust = fresh
	return fresh, nil
}

// Bundle returns the roots of the configured issuer or, if the role chooses the
// issuer, of every issuer in the mount: when Vault's root is replaced, both the
// old and the new. The mount should therefore be Troth's own.
func (c *CA) Bundle(ctx context.Context) ([]*x509.Certificate, error) {
	fresh, err := c.roots.refresh(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("read root certificates: %w", err)
	}
	return slices.Clone(fresh.roots), nil
}

func (c *CA) readTrust(ctx context.Context) (trust, error) {
	if c.config.Issuer != "" {
		chain, err := c.readIssuer(ctx, c.config.Issuer)
		if err != nil {
			return trust{}, err
		}
		return trust{roots: []*x509.Certificate{top(chain)}, issuer: chain[0]}, nil
	}
	references, err := c.listIssuers(ctx)
	if err != nil {
		return trust{}, err
	}
	var roots []*x509.Certificate
	for _, reference := range references {
		chain, err := c.readIssuer(ctx, reference)
		if err != nil {
			return trust{}, err
		}
		if root := top(chain); !slices.ContainsFunc(roots, root.Equal) {
			roots = append(roots, root)
		}
	}
	if len(roots) == 0 {
		return trust{}, fmt.Errorf("%w: the mount %s has no issuer", ca.ErrUnavailable, c.config.Mount)
	}
	return trust{roots: roots}, nil
}

// top is where an issuer's chain ends: a self-signed root or, when Vault was not
// given that, the highest certificate that it has.
func top(chain []*x509.Certificate) *x509.Certificate {
	for _, link := range chain {
		if ca.SelfSigned(link) {
			return link
		}
	}
	return chain[len(chain)-1]
}

func (c *CA) listIssuers(ctx context.Context) ([]string, error) {
	answer, err := c.repeat(ctx, func(ctx context.Context, logical *api.Logical) (*api.Secret, error) {
		return logical.ListWithContext(ctx, c.config.Mount+"/issuers")
	})
	if err != nil {
		return nil, err
	}
	if answer == nil {
		return nil, nil
	}
	keys, _ := answer.Data["keys"].([]any)
	var references []string
	for _, key := range keys {
		reference, _ := key.(string)
		if reference == "" || checkPaths(reference) != nil {
			return nil, fmt.Errorf("%w: Vault lists an issuer without a usable id", ca.ErrUnavailable)
		}
		references = append(references, reference)
	}
	slices.Sort(references)
	return references, nil
}

// readIssuer returns an issuer's certificate, then those above it.
func (c *CA) readIssuer(ctx context.Context, reference string) ([]*x509.Certificate, error) {
	answer, err := c.repeat(ctx, func(ctx context.Context, logical *api.Logical) (*api.Secret, error) {
		return logical.ReadWithContext(ctx, c.config.Mount+"/issuer/"+reference+"/json")
	})
	if err != nil {
		return nil, err
	}
	if answer == nil {
		return nil, fmt.Errorf("%w: Vault has no issuer %s", ca.ErrUnavailable, reference)
	}
	texts, _ := answer.Data["ca_chain"].([]any)
	var chain []*x509.Certificate
	for _, item := range append([]any{answer.Data["certificate"]}, texts...) {
		text, _ := item.(string)
		der, err := decodeCertificate(text)
		if err != nil {
			return nil, fmt.Errorf("%w: issuer %s: %w", ca.ErrUnavailable, reference, err)
		}
		link, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: issuer %s: %w", ca.ErrUnavailable, reference, err)
		}
		chain = append(chain, link)
	}
	return chain, nil
}

// isForeign reports whether certainly no issuer of the mount signed a
// certificate.
func (c *CA) isForeign(ctx context.Context, certificate *x509.Certificate) bool {
	references, err := c.listIssuers(ctx)
	if err != nil {
		return false
	}
	for _, reference := range references {
		chain, err := c.readIssuer(ctx, reference)
		if err != nil || certificate.CheckSignatureFrom(chain[0]) == nil {
			return false
		}
	}
	return true
}

// CRL returns the DER revocation list of the configured issuer, or of the
// mount's default one.
func (c *CA) CRL(ctx context.Context) ([]byte, error) {
	reference := c.config.Issuer
	if reference == "" {
		reference = "default"
	}
	answer, err := c.repeat(ctx, func(ctx context.Context, logical *api.Logical) (*api.Secret, error) {
		return logical.ReadWithContext(ctx, c.config.Mount+"/issuer/"+reference+"/crl")
	})
	if err != nil {
		return nil, fmt.Errorf("read CRL: %w", err)
	}
	if answer == nil {
		return nil, fmt.Errorf("read CRL: %w: Vault has no issuer %s", ca.ErrUnavailable, reference)
	}
	text, _ := answer.Data["crl"].(string)
	return decodeCRL(text)
}

// Check says whether Vault is unsealed, whether our token may sign with the
// role, and whether a root is valid.
func (c *CA) Check(ctx context.Context) error {
	path := signPath(c.config.Mount, c.config.Issuer, c.config.Role)
	answer, err := c.repeat(ctx, func(ctx context.Context, logical *api.Logical) (*api.Secret, error) {
		return logical.WriteWithContext(ctx, "sys/capabilities-self", map[string]any{"paths": []string{path}})
	})
	if err != nil {
		return fmt.Errorf("check Vault: %w", err)
	}
	if !maySign(answer, path) {
		return fmt.Errorf("check Vault: %w: the token has no update capability on %s", ca.ErrUnavailable, path)
	}
	fresh, err := c.roots.refresh(ctx, c)
	if err != nil {
		return fmt.Errorf("check Vault: %w", err)
	}
	now := c.config.Now()
	for _, root := range fresh.roots {
		if now.After(root.NotBefore) && now.Before(root.NotAfter) {
			return nil
		}
	}
	return fmt.Errorf("check Vault: %w", errors.Join(ca.ErrUnavailable, errors.New("no root certificate is valid now")))
}

func maySign(answer *api.Secret, path string) bool {
	if answer == nil {
		return false
	}
	granted, _ := answer.Data[path].([]any)
	for _, capability := range granted {
		if capability == "update" || capability == "root" {
			return true
		}
	}
	return false
}
