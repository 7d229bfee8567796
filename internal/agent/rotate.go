package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"troth/attest"
	"troth/attest/tpm"
	"troth/internal/api"
)

// Renewal with a new key, step by step; what is kept after each is enough to go
// on from, and the old key and its credential stay until the new ones have been
// used:
//
//	new key made          keys.json has it as the next one
//	certified, asked for  a lost answer costs another try with the same key
//	credential arrived    credential.next.json, with the key that it is for
//	used once             the service ends the old key now
//	taken over            renamed to credential.json; then keys.json follows
const (
	credentialFile     = "credential.json"
	nextCredentialFile = "credential.next.json"
)

// renew asks for a new certificate once two thirds of this one's life are over,
// or when the service wants it, with a new key where the service wants that. Who
// may have one is the service's to say.
func (a *Agent) renew(ctx context.Context, answer api.CheckInAnswer) error {
	c := a.session.credential
	if answer.Certificate == "" && a.Now().Before(c.renewAt()) {
		return nil
	}
	// A rotation that was begun is finished.
	if answer.Certificate == "rotate_key" || a.identity.Next != nil {
		return a.rotate(ctx)
	}
	err := a.renewKey(ctx)
	switch api.CodeOf(err) {
	case "key_rotation_required", "key_superseded":
		return a.rotate(ctx)
	}
	return err
}

// renewAt is when two thirds of the credential's life are over, and up to a tenth
// more: a fleet that enrolled at once does not renew at once.
func (c credential) renewAt() time.Time {
	life := c.NotAfter.Sub(c.NotBefore)
	sum := sha256.Sum256([]byte(c.DeviceID))
	spread := life / 10 * time.Duration(binary.BigEndian.Uint16(sum[:])) / (1 << 16)
	return c.NotBefore.Add(life*2/3 + spread)
}

// renewKey asks for a new certificate for the key in use.
func (a *Agent) renewKey(ctx context.Context) error {
	c := a.session.credential
	csr, err := a.certificateRequest(a.identity.TLS, c.URI)
	if err != nil {
		return err
	}
	var issued api.Credential
	if err := a.session.client.Do(ctx, http.MethodPost, api.PathRenew, api.RenewRequest{CSR: csr}, &issued); err != nil {
		return err
	}
	a.nonce = issued.Nonce
	renewed, err := a.keep(issued, c.URI)
	if err != nil {
		return err
	}
	a.session.http.CloseIdleConnections()
	a.Log.Info("certificate renewed", "not_after", renewed.NotAfter)
	return a.open(renewed)
}

// rotate asks for a certificate for a new key, and takes both over.
func (a *Agent) rotate(ctx context.Context) error {
	if err := a.makeNext(); err != nil {
		return err
	}
	next, err := a.askForNext(ctx)
	switch {
	case api.CodeOf(err) == "key_not_new", errors.Is(err, tpm.ErrForeignKey):
		a.identity.Next = nil // another one is made the next time
		return errors.Join(err, a.state.write(keysFile, a.identity))
	case err != nil:
		return err
	}
	if err := a.state.write(nextCredentialFile, next); err != nil {
		return err
	}
	a.Log.Debug("rotation: credential arrived")
	a.session.http.CloseIdleConnections()
	return a.takeOver(ctx, next)
}

// makeNext makes the key that is to succeed, unless an earlier attempt did.
func (a *Agent) makeNext() error {
	if a.identity.Next != nil {
		return nil
	}
	key, err := a.tpm.CreateTLSKey()
	if err != nil {
		return fmt.Errorf("make next TLS key: %w", err)
	}
	id := *a.identity
	id.Next = &key
	if err := a.state.write(keysFile, &id); err != nil {
		return err
	}
	a.identity = &id
	a.Log.Debug("rotation: new key made")
	return nil
}

func (a *Agent) askForNext(ctx context.Context) (credential, error) {
	c := a.session.credential
	if a.nonce == nil {
		var n api.Nonce
		if err := a.session.client.Do(ctx, http.MethodPost, api.PathNonce, nil, &n); err != nil {
			return credential{}, err
		}
		a.nonce, a.selection = n.Nonce, n.Selection
		a.list.told(n.IMAEntries)
	}
	proof := &api.NewKey{Nonce: a.nonce, TLSPublic: a.identity.Next.Public}
	a.nonce = nil // used up, whatever comes back
	binding := attest.Binding{Purpose: "certify", Nonce: proof.Nonce, DeviceID: c.DeviceID}
	var err error
	proof.CertifyInfo, proof.CertifySignature, err = a.tpm.Certify(a.identity.AK, *a.identity.Next, binding.QualifyingData())
	if err != nil {
		return credential{}, fmt.Errorf("certify next TLS key: %w", err)
	}
	csr, err := a.certificateRequest(*a.identity.Next, c.URI)
	if err != nil {
		return credential{}, err
	}
	a.Log.Debug("rotation: new key certified")
	var issued api.Credential
	if err := a.session.client.Do(ctx, http.MethodPost, api.PathRenew, api.RenewRequest{CSR: csr, NewKey: proof}, &issued); err != nil {
		return credential{}, err
	}
	a.Log.Debug("rotation: answered")
	next, err := credentialOf(issued, c.URI)
	next.Key = a.identity.Next
	return next, err
}

// takeOver uses a credential of a new key once, and only then lets go of the old
// ones. What the service refuses is forgotten.
func (a *Agent) takeOver(ctx context.Context, next credential) error {
	if err := a.open(next); err != nil {
		return err
	}
	var n api.Nonce
	err := a.session.client.Do(ctx, http.MethodPost, api.PathNonce, nil, &n)
	if refusedCertificate(err) {
		a.session = nil // the old credential is tried again
		return errors.Join(err, a.state.remove(nextCredentialFile))
	}
	if err != nil {
		a.session = nil
		return fmt.Errorf("use the new credential: %w", err)
	}
	a.nonce, a.selection = n.Nonce, n.Selection
	a.list.told(n.IMAEntries)
	a.Log.Debug("rotation: new credential used")
	if err := a.state.rename(nextCredentialFile, credentialFile); err != nil {
		return err
	}
	a.Log.Debug("rotation: credential taken over")
	if err := a.adopt(next); err != nil {
		return err
	}
	a.Log.Info("TLS key rotated", "not_after", next.NotAfter)
	return nil
}

// adopt makes the key of a credential the device's TLS key, where it is not yet.
func (a *Agent) adopt(c credential) error {
	if c.Key == nil || bytes.Equal(c.Key.Public, a.identity.TLS.Public) {
		return nil
	}
	id := *a.identity
	id.TLS, id.Next = *c.Key, nil
	if err := a.state.write(keysFile, &id); err != nil {
		return err
	}
	a.identity = &id
	return nil
}

// finishRotation goes on from a credential that arrived before the agent stopped.
func (a *Agent) finishRotation(ctx context.Context) (done bool, err error) {
	var next credential
	found, err := a.state.read(nextCredentialFile, &next)
	if err != nil || !found {
		return false, err
	}
	if len(next.Chain) == 0 || next.Key == nil || !a.Now().Before(next.NotAfter) {
		return false, a.state.remove(nextCredentialFile)
	}
	err = a.takeOver(ctx, next)
	if refusedCertificate(err) || errors.Is(err, tpm.ErrForeignKey) {
		a.Log.Warn("the new key or its certificate is not accepted: going on with the old one", "error", err)
		return false, a.state.remove(nextCredentialFile)
	}
	return err == nil, err
}

func (a *Agent) certificateRequest(key tpm.Key, uri string) ([]byte, error) {
	signer, err := a.tpm.Signer(key)
	if err != nil {
		return nil, fmt.Errorf("load TLS key: %w", err)
	}
	return request(signer, uri)
}

// refusedCertificate reports whether the service, or its TLS, does not take the
// certificate that was shown.
func refusedCertificate(err error) bool {
	switch api.CodeOf(err) {
	case "certificate_unknown", "certificate_revoked", "certificate_required", "certificate_expired", "device_unknown":
		return true
	}
	// A TLS alert about it (RFC 8446, section 6.2); crypto/tls has no type for one
	// that the other side sent.
	var alert *net.OpError
	if !errors.As(err, &alert) || alert.Op != "remote error" {
		return false
	}
	for _, what := range []string{"expired certificate", "bad certificate", "unknown certificate authority", "revoked certificate", "certificate unknown"} {
		if strings.Contains(alert.Err.Error(), what) {
			return true
		}
	}
	return false
}

// explainClock says what to do about a server certificate that is not valid by
// this device's clock. Nothing is thrown away for it: with the right time the
// agent goes on by itself.
func (a *Agent) explainClock(err error) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("this device's clock says %s, by which the service's certificate is not valid: set the clock if it is wrong: %w", a.Now().UTC().Format(time.RFC3339), err)
	}
	return err
}

// serverTime is when to judge the service's certificate: by the clock, but not
// before what is known to be past. A device without a battery for its clock wakes
// up in 1970.
func (a *Agent) serverTime() time.Time {
	now := a.Now()
	if c, ok, err := a.state.credential(); err == nil && ok && now.Before(c.NotBefore) {
		return c.NotBefore
	}
	return now
}
