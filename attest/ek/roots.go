package ek

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// Roots are the TPM manufacturers that one trusts. Each has CAs of its own:
// subject names identify nothing, as all of swtpm's CAs share theirs, so a
// chain is only ever built from the certificates of one manufacturer. Roots is
// safe for concurrent use once nothing is added any more.
type Roots struct {
	manufacturers []*manufacturer // in the order in which they were added
}

type manufacturer struct {
	name          string
	roots         *x509.CertPool
	intermediates *x509.CertPool
}

// NewRoots returns an empty set, which trusts nobody.
func NewRoots() *Roots { return &Roots{} }

// Add adds the CA certificates of a manufacturer from PEM. A self-signed one
// becomes a root, the others intermediates. Adding again to a name extends it.
// If any certificate is unfit, nothing is added.
func (r *Roots) Add(name string, pemBytes []byte) error {
	roots, intermediates, err := readCAs(pemBytes)
	if err != nil {
		return fmt.Errorf("add manufacturer %q: %w", name, err)
	}
	if name == "" || len(roots)+len(intermediates) == 0 {
		return fmt.Errorf("add manufacturer %q: no name or no certificate", name)
	}
	i := slices.IndexFunc(r.manufacturers, func(m *manufacturer) bool { return m.name == name })
	if i < 0 {
		i = len(r.manufacturers)
		r.manufacturers = append(r.manufacturers, &manufacturer{name, x509.NewCertPool(), x509.NewCertPool()})
	}
	for _, c := range roots {
		r.manufacturers[i].roots.AddCert(c)
	}
	for _, c := range intermediates {
		r.manufacturers[i].intermediates.AddCert(c)
	}
	return nil
}

func readCAs(pemBytes []byte) (roots, intermediates []*x509.Certificate, err error) {
	for rest := bytes.TrimSpace(pemBytes); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		block, next := pem.Decode(rest)
		if block == nil {
			return nil, nil, errors.New("data is not PEM")
		}
		rest = next
		if block.Type != "CERTIFICATE" {
			return nil, nil, fmt.Errorf("PEM block is a %q", block.Type)
		}
		cert, err := parseX509(block.Bytes)
		if err != nil {
			return nil, nil, err
		}
		if !cert.BasicConstraintsValid || !cert.IsCA {
			return nil, nil, fmt.Errorf("certificate of %q is not a CA's", cert.Subject)
		}
		if bytes.Equal(cert.RawIssuer, cert.RawSubject) && cert.CheckSignatureFrom(cert) == nil {
			roots = append(roots, cert)
		} else {
			intermediates = append(intermediates, cert)
		}
	}
	return roots, intermediates, nil
}
