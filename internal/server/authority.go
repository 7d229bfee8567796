package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"troth/ca"
	"troth/ca/local"
	"troth/internal/api"
	"troth/internal/authority"
	"troth/internal/fleet"
	"troth/internal/httpapi"
)

// maxPassphrase bounds a passphrase file, in bytes.
const maxPassphrase = 4096

// readPassphrase reads the file of a passphrase each time that it is needed.
func readPassphrase(path string) func() ([]byte, error) {
	if path == "" {
		return nil
	}
	return func() ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(f, maxPassphrase+1))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		if len(text) > maxPassphrase {
			return nil, fmt.Errorf("%s has more than %d bytes", path, maxPassphrase)
		}
		return text, nil
	}
}

func (c Config) localCA() (dir string, o local.Options) {
	o = local.Options{TrustDomain: c.TrustDomain, Now: time.Now, Passphrase: readPassphrase(c.Certificates.PassphraseFile)}
	if c.PublicURL != "" {
		o.Addresses = func(id string) local.Addresses {
			return local.Addresses{
				CRL:    c.PublicURL + api.Path(api.PathCRL, id),
				Issuer: c.PublicURL + api.Path(api.PathIssuer, id),
				OCSP:   c.PublicURL + api.Path(api.PathOCSP, id),
			}
		}
	}
	return filepath.Join(c.DataDir, "ca"), o
}

// checkPublicURL wants an address that paths can be put after.
func (c Config) checkPublicURL() error {
	if c.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(u.Path, "/") {
		return fmt.Errorf("configuration: public_url %q is not https://HOST:PORT without a final slash", c.PublicURL)
	}
	return nil
}

// ChangePassphrase encrypts the CA's keys by the passphrase in another file;
// empty: not at all. The service may be running.
func ChangePassphrase(c Config, file string) error {
	c, err := c.complete()
	if err != nil {
		return err
	}
	dir, o := c.localCA()
	return local.ChangePassphrase(dir, o, readPassphrase(file))
}

// sealing is a line for people about the keys' files; empty: nothing to say.
func sealing(c *local.CA) string {
	switch c.Sealing() {
	case local.Plain:
		return "the CA's key lies unencrypted in the data directory: see certificates.passphrase_file"
	case local.NewlySealed:
		return "the CA's key is encrypted from now on; copies of the old file, as in backups, are not"
	default:
		return ""
	}
}

// authorities are the CAs that the service has to do with.
func (s *Service) authorities(own *local.CA) []authority.CA {
	if s.issuer == ca.Issuer(own) {
		return []authority.CA{{Name: "local", Authorities: own.Authorities, Rotator: own}}
	}
	all := []authority.CA{{Name: "server", Authorities: own.Authorities, Rotator: own}}
	if devices, ok := s.issuer.(interface {
		Authorities(ctx context.Context) ([]ca.Authority, error)
	}); ok {
		all = append(all, authority.CA{Name: "devices", Authorities: devices.Authorities})
	}
	return all
}

func (s *Service) openAuthorities(own *local.CA) httpapi.CA {
	return httpapi.CA{
		Service: authority.New(authority.Config{
			Store: s.store, CAs: s.authorities(own), Own: s.identity.leaf, Refresh: s.identity.refresh,
			Digest: func() string { return s.identity.believe().Digest() }, Now: time.Now,
		}),
		Trust:     s.identity.believe,
		Published: &published{service: s, own: own},
	}
}

// published is what verifiers of certificates ask for.
type published struct {
	service *Service
	own     *local.CA
}

// refreshHint is how often those who follow the SPIFFE bundle are to ask.
const refreshHint = time.Minute

// SPIFFEBundle is written in the SPIFFE bundle format (SPIFFE Trust Domain and
// Bundle, section 4). Where Vault signs, it has no sequence number: nobody
// counts the changes there.
func (p *published) SPIFFEBundle(ctx context.Context) ([]byte, error) {
	domain, err := spiffeid.TrustDomainFromString(p.service.config.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("parse trust domain: %w", err)
	}
	// First the number, then the content: a change in between shows the new content
	// under the old number once, and not the old content under the new one for good.
	var sequence uint64
	if p.ours() {
		if sequence, err = p.own.Sequence(); err != nil {
			return nil, caUnavailable(err)
		}
	}
	roots, err := p.service.issuer.Bundle(ctx)
	if err != nil {
		return nil, caUnavailable(err)
	}
	bundle := spiffebundle.FromX509Authorities(domain, roots)
	bundle.SetRefreshHint(refreshHint)
	if sequence > 0 {
		bundle.SetSequenceNumber(sequence)
	}
	text, err := bundle.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode SPIFFE bundle: %w", err)
	}
	return text, nil
}

// ours reports whether the CA in the data directory signs device certificates.
func (p *published) ours() bool { return p.service.issuer == ca.Issuer(p.own) }

func (p *published) BundlePEM(ctx context.Context) ([]byte, error) {
	roots, err := p.service.issuer.Bundle(ctx)
	if err != nil {
		return nil, caUnavailable(err)
	}
	return pemOf(roots), nil
}

func (p *published) CRL(ctx context.Context, id string) ([]byte, error) {
	der, err := p.own.CRLOf(ctx, id)
	return der, published404(err)
}

func (p *published) Issuer(ctx context.Context, id string) ([]byte, error) {
	all, err := p.own.Authorities(ctx)
	if err != nil {
		return nil, caUnavailable(err)
	}
	for _, a := range all {
		if a.ID == id {
			return bytes.Clone(a.Certificate.Raw), nil
		}
	}
	return nil, fleet.ErrNotFound
}

// OCSP answers from the service's own record, so that a revocation shows at once.
func (p *published) OCSP(ctx context.Context, id string, request []byte) ([]byte, error) {
	der, err := p.own.OCSP(ctx, id, request, func(ctx context.Context, serial string) (local.Standing, error) {
		record, err := p.service.store.CertificateBySerial(ctx, serial)
		switch {
		case fleet.IsKind(err, fleet.NotFound):
			return local.Standing{}, nil
		case err != nil:
			return local.Standing{}, err
		case record.State == fleet.CertificateIssued:
			return local.Standing{Known: true}, nil
		default: // what only leads a quarantined device back is revoked for others
			return local.Standing{Known: true, RevokedAt: record.EndedAt}, nil
		}
	})
	return der, published404(err)
}

func published404(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ca.ErrRefused):
		return fleet.ErrNotFound
	default:
		return caUnavailable(err)
	}
}

func caUnavailable(err error) error {
	return fleet.Because(err, fleet.Unavailable, "ca_unavailable", "the certificate authority does not answer: try again")
}
