package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"

	"troth/internal/api"
)

// trustFile keeps whom the service told this device to believe, beside the
// configured CA file.
const trustFile = "trust.json"

// trusted is what is kept; the zero value where there is nothing.
func (a *Agent) trusted() (api.TrustBundle, error) {
	var b api.TrustBundle
	_, err := a.state.read(trustFile, &b)
	return b, err
}

// holds is the digest of what is kept, to be confirmed under the quote; empty:
// nothing.
func (a *Agent) holds() string {
	b, err := a.trusted()
	if err != nil || len(b.Server) == 0 {
		return ""
	}
	return b.Digest()
}

// roots are whom to believe as the service: the configured file, and what the
// service said over a connection that those roots had vouched for.
func (a *Agent) roots() (*x509.CertPool, error) {
	pem, err := os.ReadFile(a.ServerCA)
	if err != nil {
		return nil, fmt.Errorf("read server CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read server CA: %s holds no certificate", a.ServerCA)
	}
	kept, err := a.trusted()
	if err != nil {
		return nil, err
	}
	for _, der := range kept.Server {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", trustFile, err)
		}
		roots.AddCert(root)
	}
	return roots, nil
}

// followTrust fetches the trust bundle where the service has another one than
// this device, and uses it from now on.
func (a *Agent) followTrust(ctx context.Context, answer api.CheckInAnswer) error {
	if answer.TrustBundle == "" || answer.TrustBundle == a.holds() {
		return nil
	}
	var b api.TrustBundle
	if err := a.session.client.Do(ctx, http.MethodGet, api.PathTrustBundle, nil, &b); err != nil {
		return fmt.Errorf("fetch trust bundle: %w", err)
	}
	if err := checkTrust(b); err != nil {
		return fmt.Errorf("check trust bundle: %w", err)
	}
	if err := a.state.write(trustFile, b); err != nil {
		return err
	}
	a.Log.Info("trust bundle changed", "digest", b.Digest(), "server_roots", len(b.Server), "device_roots", len(b.Devices))
	a.session.http.CloseIdleConnections()
	return a.open(a.session.credential)
}

// maxRoots bounds a trust bundle: one CA is replaced by one other at a time.
const maxRoots = 64

// checkTrust refuses what could not serve: it would lock the device out.
func checkTrust(b api.TrustBundle) error {
	if len(b.Server) == 0 || len(b.Server)+len(b.Devices) > maxRoots {
		return fmt.Errorf("%d roots of the service and %d of devices", len(b.Server), len(b.Devices))
	}
	for _, der := range append(append([][]byte{}, b.Server...), b.Devices...) {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		if !root.BasicConstraintsValid || !root.IsCA {
			return errors.New("it holds a certificate that is no CA's")
		}
	}
	return nil
}
