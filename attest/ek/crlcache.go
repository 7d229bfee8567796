package ek

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"
)

// RevocationPolicy says what it means that a CRL cannot be had.
type RevocationPolicy string

// The policies. A certificate that a CRL lists is refused under the first two
// even if that CRL has ended.
const (
	RequireCRLs RevocationPolicy = "require" // an EK without current CRLs is refused
	PreferCRLs  RevocationPolicy = "prefer"  // it is accepted, with a warning
	IgnoreCRLs  RevocationPolicy = "ignore"  // nothing is looked up
)

// ParseRevocationPolicy reads "require", "prefer" or "ignore".
func ParseRevocationPolicy(s string) (RevocationPolicy, error) {
	p := RevocationPolicy(s)
	if !slices.Contains([]RevocationPolicy{RequireCRLs, PreferCRLs, IgnoreCRLs}, p) {
		return "", fmt.Errorf("revocation policy %q is neither require, prefer nor ignore", harmless(s))
	}
	return p, nil
}

// Bounds on what certificates can make a service fetch.
const (
	maxPoints    = 4    // distribution points of a certificate
	maxURL       = 2048 // bytes
	maxCachedURL = 1024
)

// Fetch gets what is at a URL (http or https). The URL is from a certificate that
// a trusted manufacturer signed; which addresses may be reached, through which
// proxy and for how long, is for the function to decide. It should not read more
// than 8 MiB.
type Fetch func(ctx context.Context, url string) ([]byte, error)

// CRLOptions of NewCRLs.
type CRLOptions struct {
	Fetch  Fetch         // nil: nothing is fetched, only lists that were added count
	MaxAge time.Duration // how long a fetched list is used before asking again, at most until it ends; 0: 24 hours
	Retry  time.Duration // how long after a failure nothing is asked again; 0: 5 minutes
	Kept   Kept          // nil: fetched lists are kept in memory only
}

// CRLs are the revocation lists of manufacturers: those added from files, and
// those fetched from the distribution points of certificates, which are kept.
// It is safe for concurrent use. At most one fetch for a URL is under way.
type CRLs struct {
	options CRLOptions

	mu     sync.Mutex
	added  []*x509.RevocationList
	cached map[cacheKey]*cachedCRL
}

// cacheKey has the issuer's key in it: whoever else names the URL in a
// certificate cannot touch the entry.
type cacheKey struct {
	url    string
	issuer [sha256.Size]byte
}

type cachedCRL struct {
	used time.Time // guarded by CRLs.mu

	busy  chan struct{} // holds a token while somebody uses what follows
	list  *x509.RevocationList
	asked time.Time
	err   error // of the last attempt
}

// NewCRLs returns an empty set.
func NewCRLs(o CRLOptions) *CRLs {
	if o.MaxAge <= 0 {
		o.MaxAge = 24 * time.Hour
	}
	if o.Retry <= 0 {
		o.Retry = 5 * time.Minute
	}
	return &CRLs{options: o, cached: make(map[cacheKey]*cachedCRL)}
}

// Add adds a list from a file (see ParseCRL). Whose it is shows when a chain is
// checked.
func (c *CRLs) Add(data []byte) error {
	list, err := ParseCRL(data)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added = append(c.added, list)
	return nil
}

// Replace has these lists (see ParseCRL) count instead of those that were added
// before. If one cannot be read, nothing changes.
func (c *CRLs) Replace(all ...[]byte) error {
	var lists []*x509.RevocationList
	for _, data := range all {
		list, err := ParseCRL(data)
		if err != nil {
			return err
		}
		lists = append(lists, list)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.added = lists
	return nil
}

// Check looks up every certificate of a verified chain but the root. The error
// is an *Error with CodeRevoked or, under RequireCRLs, CodeCRLUnavailable or
// CodeCRLStale; under PreferCRLs the latter two are warnings. An unknown policy
// is RequireCRLs.
func (c *CRLs) Check(ctx context.Context, chain Chain, policy RevocationPolicy, now time.Time) (warnings []*Error, err error) {
	if policy == IgnoreCRLs {
		return nil, nil
	}
	if len(chain.Certificates) == 0 {
		return nil, refuse(CodeCRLUnavailable, nil, "there is no chain to look up")
	}
	for i := range len(chain.Certificates) - 1 {
		problem := c.check(ctx, chain.Certificates[i], chain.Certificates[i+1], now)
		switch {
		case problem == nil:
		case problem.Code == CodeRevoked:
			return nil, problem
		default:
			warnings = append(warnings, problem)
		}
	}
	if len(warnings) > 0 && policy != PreferCRLs {
		return nil, warnings[0]
	}
	return warnings, nil
}

func (c *CRLs) check(ctx context.Context, cert, issuer *x509.Certificate, now time.Time) *Error {
	c.mu.Lock()
	lists := slices.Clone(c.added)
	c.mu.Unlock()
	what, err := lookUp(cert, issuer, lists, now)
	var causes []error
	if err == nil && what != covered && c.options.Fetch != nil {
		var fetched []*x509.RevocationList
		fetched, causes = c.fetchAll(ctx, cert, issuer, now)
		var more coverage
		more, err = lookUp(cert, issuer, fetched, now)
		what = max(what, more)
	}
	var revoked *Error
	switch {
	case errors.As(err, &revoked):
		return revoked
	case what == covered:
		return nil
	case what == stale:
		return refuse(CodeCRLStale, errors.Join(causes...), "the CRL for the certificate with serial number %x is out of date", cert.SerialNumber)
	case len(cert.CRLDistributionPoints) == 0:
		return refuse(CodeCRLUnavailable, nil, "no CRL was given for the certificate with serial number %x, and it names no distribution point", cert.SerialNumber)
	}
	return refuse(CodeCRLUnavailable, errors.Join(causes...), "there is no CRL for the certificate with serial number %x", cert.SerialNumber)
}

// fetchAll returns the lists at cert's distribution points, fetched or kept.
func (c *CRLs) fetchAll(ctx context.Context, cert, issuer *x509.Certificate, now time.Time) (lists []*x509.RevocationList, errs []error) {
	for _, point := range cert.CRLDistributionPoints[:min(len(cert.CRLDistributionPoints), maxPoints)] {
		if err := checkURL(point); err != nil {
			errs = append(errs, err)
			continue
		}
		list, err := c.get(ctx, point, issuer, now)
		if list != nil {
			lists = append(lists, list)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("fetch CRL %s: %w", harmless(point), err))
		}
	}
	return lists, errs
}

// checkURL refuses addresses that are not of the web, as LDAP's.
func checkURL(raw string) error {
	if len(raw) > maxURL {
		return fmt.Errorf("CRL distribution point of %d bytes is longer than %d", len(raw), maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("CRL distribution point %q is not an http URL", harmless(raw))
	}
	return nil
}

// get returns the list at a URL. After an error the last good one is returned
// with it.
func (c *CRLs) get(ctx context.Context, url string, issuer *x509.Certificate, now time.Time) (*x509.RevocationList, error) {
	e := c.entry(cacheKey{url, sha256.Sum256(issuer.Raw)}, now)
	select {
	case e.busy <- struct{}{}:
		defer func() { <-e.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.recall(e, url, issuer, now)
	pause := c.options.MaxAge
	if e.err != nil {
		pause = c.options.Retry
	}
	ended := e.err == nil && e.list != nil && !now.Before(e.list.NextUpdate)
	if age := now.Sub(e.asked); !e.asked.IsZero() && age >= 0 && (age < pause && !ended || age < c.options.Retry) {
		return e.list, e.err
	}
	list, err := c.fetch(ctx, url, issuer)
	if ctx.Err() != nil {
		return e.list, ctx.Err() // says nothing about the URL: the next one asks again
	}
	if err == nil && e.list != nil && list.ThisUpdate.Before(e.list.ThisUpdate) {
		err = errors.New("it is older than the one fetched before")
	}
	if err == nil {
		e.list = list
		if c.options.Kept != nil {
			c.options.Kept.Save(keptKey(url, issuer), list.Raw, now)
		}
	}
	e.asked, e.err = now, err
	return e.list, err
}

func (c *CRLs) fetch(ctx context.Context, url string, issuer *x509.Certificate) (*x509.RevocationList, error) {
	data, err := c.options.Fetch(ctx, url)
	if err != nil {
		return nil, err
	}
	list, err := ParseCRL(data)
	if err != nil {
		return nil, err
	}
	if !signedBy(list, issuer) {
		return nil, errors.New("it is not signed by the certificate's issuer")
	}
	return list, nil
}

// entry finds or makes the entry of a key; the one unused for longest makes room.
func (c *CRLs) entry(key cacheKey, now time.Time) *cachedCRL {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.cached[key]
	if e == nil {
		if len(c.cached) >= maxCachedURL {
			var oldest cacheKey
			for k, v := range c.cached {
				if o, ok := c.cached[oldest]; !ok || v.used.Before(o.used) {
					oldest = k
				}
			}
			delete(c.cached, oldest)
		}
		e = &cachedCRL{busy: make(chan struct{}, 1)}
		c.cached[key] = e
	}
	e.used = now
	return e
}
