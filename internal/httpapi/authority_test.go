package httpapi_test

import (
	"context"
	"crypto/x509"
	"time"

	"troth/ca/local"
	"troth/internal/api"
	"troth/internal/authority"
	"troth/internal/fleet"
	"troth/internal/httpapi"
)

// authorities are a CA of its own, so that changing it leaves the service's
// connections alone.
func (s *service) authorities() httpapi.CA {
	s.t.Helper()
	other, err := local.Open(s.t.TempDir(), local.Options{TrustDomain: domain, Now: s.now})
	if err != nil {
		s.t.Fatal(err)
	}
	trust := func() api.TrustBundle {
		roots, err := other.Bundle(context.Background())
		if err != nil {
			s.t.Error(err)
		}
		var der [][]byte
		for _, root := range roots {
			der = append(der, root.Raw)
		}
		return api.TrustBundle{Server: der, Devices: der}
	}
	return httpapi.CA{
		Service: authority.New(authority.Config{
			Store: s.store, CAs: []authority.CA{{Name: "local", Authorities: other.Authorities, Rotator: other}},
			Own: func() *x509.Certificate { return nil }, Refresh: func(context.Context) error { return nil },
			Digest: func() string { return trust().Digest() }, Now: func() time.Time { return s.now() },
		}),
		Trust: trust, Published: unpublished{},
	}
}

// unpublished has its two bundles and knows no authority; what the documents
// hold is tested where they are made.
type unpublished struct{}

func (unpublished) SPIFFEBundle(context.Context) ([]byte, error)   { return []byte("{}"), nil }
func (unpublished) BundlePEM(context.Context) ([]byte, error)      { return []byte("PEM"), nil }
func (unpublished) CRL(context.Context, string) ([]byte, error)    { return nil, fleet.ErrNotFound }
func (unpublished) Issuer(context.Context, string) ([]byte, error) { return nil, fleet.ErrNotFound }
func (unpublished) OCSP(context.Context, string, []byte) ([]byte, error) {
	return nil, fleet.ErrNotFound
}
