package ek

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"
)

// Kept keeps fetched lists beyond the life of CRLs, each under a key of 64
// hexadecimal digits. It is safe for concurrent use. Nothing is believed because
// it was kept: the issuer's signature is checked again.
type Kept interface {
	// Load returns a list and when it was fetched, nil if there is none.
	Load(key string) (data []byte, fetched time.Time)
	// Save keeps a list that was fetched and whose issuer signed it. What cannot be
	// kept is fetched again one day.
	Save(key string, data []byte, fetched time.Time)
}

// recall has a new entry begin with the list that was kept, if the issuer signed
// it. One that was fetched in the future says that a clock is wrong, and is asked
// for again.
func (c *CRLs) recall(e *cachedCRL, url string, issuer *x509.Certificate, now time.Time) {
	if c.options.Kept == nil || e.list != nil || !e.asked.IsZero() {
		return
	}
	data, fetched := c.options.Kept.Load(keptKey(url, issuer))
	list, err := ParseCRL(data)
	if err != nil || !signedBy(list, issuer) {
		return
	}
	e.list = list
	if !fetched.After(now) {
		e.asked = fetched
	}
}

// keptKey has the issuer in it, as cacheKey.
func keptKey(url string, issuer *x509.Certificate) string {
	h := sha256.New()
	h.Write(issuer.Raw)
	h.Write([]byte(url))
	return hex.EncodeToString(h.Sum(nil))
}
