package local

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ocsp"

	"troth/ca"
)

const (
	// ocspValidity is the time to the next update that an answer announces: how
	// long a verifier may believe a stapled or kept one.
	ocspValidity = 5 * time.Minute

	// responderLifetime is short, since a responder certificate is not checked
	// for revocation (RFC 6960, section 4.2.2.2.1).
	responderLifetime = 24 * time.Hour
)

// Standing is what a record says of a certificate.
type Standing struct {
	Known     bool      // it was issued
	RevokedAt time.Time // zero: it is not revoked
}

// responder is a key that may answer for an authority, in this process only.
type responder struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

// OCSP answers a request (RFC 6960) about a certificate of the authority with
// the ca.Authority.ID, by what the record says of the serial number (as in
// ca.Certificate) and by what this CA has revoked itself. A request that cannot
// be answered gets an answer that says so. An authority that there is not is
// ca.ErrRefused.
func (c *CA) OCSP(ctx context.Context, id string, request []byte, record func(ctx context.Context, serial string) (Standing, error)) ([]byte, error) {
	r, err := c.current()
	if err != nil {
		return nil, fmt.Errorf("answer OCSP: %w: %w", ca.ErrUnavailable, err)
	}
	by := r.byID(id)
	if by == nil {
		return nil, fmt.Errorf("answer OCSP: %w: there is no authority %q", ca.ErrRefused, id)
	}
	asked, err := ocsp.ParseRequest(request)
	if err != nil {
		return bytes.Clone(ocsp.MalformedRequestErrorResponse), nil //nolint:nilerr // the answer says it
	}
	if !about(asked, by.root) {
		return bytes.Clone(ocsp.UnauthorizedErrorResponse), nil
	}
	serial := hex.EncodeToString(asked.SerialNumber.Bytes())
	standing, err := record(ctx, serial)
	if err != nil {
		return nil, fmt.Errorf("answer OCSP: %w", err)
	}
	now := c.options.Now()
	template := ocsp.Response{
		Status: ocsp.Unknown, SerialNumber: asked.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(ocspValidity),
		IssuerHash: asked.HashAlgorithm,
	}
	if standing.Known {
		template.Status = ocsp.Good
	}
	state, err := loadRevocations(c.dir)
	if err != nil {
		return nil, fmt.Errorf("answer OCSP: %w: %w", ca.ErrUnavailable, err)
	}
	for _, entry := range state.Revoked {
		if entry.Serial == serial && standing.RevokedAt.IsZero() {
			standing.RevokedAt = entry.At
		}
	}
	if !standing.RevokedAt.IsZero() {
		template.Status, template.RevokedAt, template.RevocationReason = ocsp.Revoked, standing.RevokedAt, ocsp.Unspecified
	}
	answering, err := c.responder(by)
	if err != nil {
		return nil, fmt.Errorf("answer OCSP: %w: %w", ca.ErrUnavailable, err)
	}
	template.Certificate = answering.certificate
	der, err := ocsp.CreateResponse(by.root, answering.certificate, template, answering.key)
	if err != nil {
		return nil, fmt.Errorf("sign OCSP answer: %w", err)
	}
	return der, nil
}

// about reports whether a request names the authority as the issuer, by the
// hashes of its name and of its key's bits.
func about(asked *ocsp.Request, root *x509.Certificate) bool {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(root.RawSubjectPublicKeyInfo, &info); err != nil || len(rest) != 0 || !asked.HashAlgorithm.Available() {
		return false
	}
	name, key := asked.HashAlgorithm.New(), asked.HashAlgorithm.New()
	name.Write(root.RawSubject)
	key.Write(info.Key.RightAlign())
	return bytes.Equal(name.Sum(nil), asked.IssuerNameHash) && bytes.Equal(key.Sum(nil), asked.IssuerKeyHash)
}

// responder is the delegated responder of an authority: its key is in memory
// only, and made anew by half of its life.
func (c *CA) responder(by *member) (responder, error) {
	c.responding.Lock()
	defer c.responding.Unlock()
	now := c.options.Now()
	if known, ok := c.responders[by.ID]; ok && now.Before(known.certificate.NotAfter.Add(-responderLifetime/2)) {
		return known, nil
	}
	key, err := newKey()
	if err != nil {
		return responder{}, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{"Troth"}, CommonName: "OCSP responder"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
		// id-pkix-ocsp-nocheck, with the value NULL.
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: asn1.NullBytes}},
	}
	der, err := c.sign(by, template, &key.PublicKey, responderLifetime)
	if err != nil {
		return responder{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return responder{}, errors.Join(errors.New("parse responder certificate"), err)
	}
	c.responders[by.ID] = responder{key: key, certificate: certificate}
	return c.responders[by.ID], nil
}
