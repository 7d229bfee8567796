package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"troth/ca"
)

const (
	revokedFile = "revoked.json"

	// crlValidity is the time to the next update that a CRL announces.
	crlValidity = 24 * time.Hour

	// keepExpired is how long a revoked certificate stays listed after its own
	// end. RFC 5280, section 3.3 asks for one scheduled CRL beyond it.
	keepExpired = 7 * 24 * time.Hour
)

// revocations is the content of revoked.json.
type revocations struct {
	// Number is the CRL number of the last list that was signed (RFC 5280,
	// section 5.2.3: it only grows).
	Number int64 `json:"number"`
	// Revision counts changes of Revoked.
	Revision int64     `json:"revision"`
	Revoked  []revoked `json:"revoked"`
}

type revoked struct {
	Serial   string    `json:"serial"` // lower-case hex, as ca.Certificate.Serial
	At       time.Time `json:"at"`
	NotAfter time.Time `json:"not_after"`        // of the certificate
	Issuer   string    `json:"issuer,omitempty"` // ca.Authority.ID; empty: of root.pem
}

// signedList is the last CRL that this CA signed, and what it was signed from.
type signedList struct {
	der      []byte
	revision int64
	renew    time.Time // half of its validity
}

func loadRevocations(dir string) (revocations, error) {
	data, err := readPrivate(dir, revokedFile)
	if errors.Is(err, os.ErrNotExist) {
		return revocations{}, nil
	}
	if err != nil {
		return revocations{}, err
	}
	var state revocations
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&state); err != nil {
		return revocations{}, fmt.Errorf("read %s: %w", revokedFile, err)
	}
	for _, entry := range state.Revoked {
		if _, err := parseSerial(entry.Serial); err != nil {
			return revocations{}, fmt.Errorf("read %s: %w", revokedFile, err)
		}
	}
	return state, nil
}

func (s revocations) save(dir string) error {
	data, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return fmt.Errorf("encode revocations: %w", err)
	}
	return writeFile(dir, revokedFile, append(data, '\n'))
}

func (s revocations) has(serial string) bool {
	for _, entry := range s.Revoked {
		if entry.Serial == serial {
			return true
		}
	}
	return false
}

func parseSerial(text string) (*big.Int, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) == 0 {
		return nil, fmt.Errorf("serial number %q is not hexadecimal", text)
	}
	return new(big.Int).SetBytes(raw), nil
}

// Revoke records that a certificate of this CA is no longer valid. When it
// returns nil the record is on disk and the next CRL lists it.
func (c *CA) Revoke(ctx context.Context, der []byte) error {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("revoke certificate: %w: %w", ca.ErrRefused, err)
	}
	r, err := c.current()
	if err != nil {
		return fmt.Errorf("revoke certificate: %w: %w", ca.ErrUnavailable, err)
	}
	by := r.signer(certificate)
	if by == nil {
		return fmt.Errorf("revoke certificate: %w: it is not of this CA", ca.ErrRefused)
	}
	if certificate.IsCA {
		return fmt.Errorf("revoke certificate: %w: a root cannot revoke itself", ca.ErrRefused)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("revoke certificate: %w: %w", ca.ErrUnavailable, err)
	}
	if err := c.record(by.ID, certificate); err != nil {
		return fmt.Errorf("revoke certificate: %w: %w", ca.ErrUnavailable, err)
	}
	return nil
}

func (c *CA) record(issuer string, certificate *x509.Certificate) error {
	unlock, err := lock(c.dir)
	if err != nil {
		return err
	}
	defer unlock()
	state, err := loadRevocations(c.dir)
	if err != nil {
		return err
	}
	serial := hex.EncodeToString(certificate.SerialNumber.Bytes())
	if state.has(serial) {
		return nil
	}
	now := c.options.Now().UTC()
	kept := state.Revoked[:0]
	for _, entry := range state.Revoked {
		if now.Before(entry.NotAfter.Add(keepExpired)) {
			kept = append(kept, entry)
		}
	}
	state.Revoked = append(kept, revoked{Serial: serial, At: now, NotAfter: certificate.NotAfter.UTC(), Issuer: issuer})
	state.Revision++
	return state.save(c.dir)
}

// Revoked reports whether the certificate with this serial number (as in
// ca.Certificate) was revoked.
func (c *CA) Revoked(serial string) (bool, error) {
	state, err := loadRevocations(c.dir)
	if err != nil {
		return false, err
	}
	return state.has(serial), nil
}

// CRL returns the DER certificate revocation list (RFC 5280, section 5) of the
// authority that signs, at most half a day old and never older than the last
// revocation.
func (c *CA) CRL(ctx context.Context) ([]byte, error) {
	r, err := c.current()
	if err != nil {
		return nil, fmt.Errorf("sign CRL: %w: %w", ca.ErrUnavailable, err)
	}
	return c.CRLOf(ctx, r.in(ca.Signing).ID)
}

// CRLOf is CRL for the authority with the ca.Authority.ID; one that there is not,
// or no longer, is ca.ErrRefused.
func (c *CA) CRLOf(ctx context.Context, id string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sign CRL: %w: %w", ca.ErrUnavailable, err)
	}
	r, err := c.current()
	if err != nil {
		return nil, fmt.Errorf("sign CRL: %w: %w", ca.ErrUnavailable, err)
	}
	by := r.byID(id)
	if by == nil {
		return nil, fmt.Errorf("sign CRL: %w: there is no authority %q", ca.ErrRefused, id)
	}
	c.crls.Lock()
	defer c.crls.Unlock()
	unlock, err := lock(c.dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	state, err := loadRevocations(c.dir)
	if err != nil {
		return nil, err
	}
	now := c.options.Now().UTC()
	if last := c.crl[id]; last.der != nil && last.revision == state.Revision && now.Before(last.renew) {
		return bytes.Clone(last.der), nil
	}
	// The number is on disk before a list carries it: a crash skips a number
	// and never repeats one.
	state.Number++
	if err := state.save(c.dir); err != nil {
		return nil, err
	}
	der, err := c.signCRL(by, state, now)
	if err != nil {
		return nil, err
	}
	c.crl[id] = signedList{der: der, revision: state.Revision, renew: now.Add(crlValidity / 2)}
	return bytes.Clone(der), nil
}

func (c *CA) signCRL(by *member, state revocations, now time.Time) ([]byte, error) {
	list := &x509.RevocationList{
		Number:     big.NewInt(state.Number),
		ThisUpdate: now,
		NextUpdate: now.Add(crlValidity),
	}
	for _, entry := range state.Revoked {
		if entry.Issuer != by.ID && (entry.Issuer != "" || by.Cert != certFile) {
			continue
		}
		serial, err := parseSerial(entry.Serial)
		if err != nil {
			return nil, err
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: entry.At})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, by.root, by.key)
	if err != nil {
		return nil, fmt.Errorf("sign CRL: %w", err)
	}
	return der, nil
}
