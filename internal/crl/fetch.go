package crl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sync/singleflight"
)

// Bounds of a fetch.
const (
	maxSize      = 8 << 20 // bytes of a list
	maxRedirects = 3
	atOnce       = 8 // fetches under way
)

// FetchOptions of NewFetcher.
type FetchOptions struct {
	Timeout time.Duration  // of one fetch, with all redirects; 0: 15 seconds
	Allowed []netip.Prefix // addresses that may be reached though they are not public
	Roots   *x509.CertPool // of servers; nil: the system's
}

// Fetcher fetches lists. It is safe for concurrent use.
type Fetcher struct {
	client  *http.Client
	timeout time.Duration
	group   singleflight.Group
	slots   chan struct{}
}

// NewFetcher returns a fetcher that uses no proxy: one would dial for it, and
// the address would be out of sight.
func NewFetcher(o FetchOptions) *Fetcher {
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	dialer := &net.Dialer{Timeout: o.Timeout, Control: func(_, address string, _ syscall.RawConn) error {
		return checkAddress(address, o.Allowed)
	}}
	return &Fetcher{
		timeout: o.Timeout,
		slots:   make(chan struct{}, atOnce),
		client: &http.Client{
			CheckRedirect: checkRedirect,
			Transport: &http.Transport{
				DialContext: dialer.DialContext, DisableKeepAlives: true, DisableCompression: true,
				TLSClientConfig:     &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout: o.Timeout, ResponseHeaderTimeout: o.Timeout, MaxResponseHeaderBytes: 64 << 10,
			},
		},
	}
}

// checkRedirect lets a server send us on to http, and to https, but not from
// https back.
func checkRedirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case r.URL.Scheme != "https" && (r.URL.Scheme != "http" || via[len(via)-1].URL.Scheme == "https"):
		return fmt.Errorf("redirect from %s to %s", via[len(via)-1].URL.Scheme, r.URL.Scheme)
	case r.URL.User != nil:
		return errors.New("redirect to an address with a password")
	}
	return nil
}

// Fetch gets what is at a URL (http or https), up to 8 MiB. A fetch goes on when
// the context of who asked for it ends, up to its own time limit, so that the
// next who asks finds it further; who asks for the same URL meanwhile waits for
// the same fetch. It is an ek.Fetch.
func (f *Fetcher) Fetch(ctx context.Context, url string) ([]byte, error) {
	done := f.group.DoChan(url, func() (any, error) {
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.timeout)
		defer cancel()
		return f.fetch(own, url)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		data, _ := r.Val.([]byte)
		return data, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for CRL: %w", ctx.Err())
	}
}

func (f *Fetcher) fetch(ctx context.Context, url string) ([]byte, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("fetch CRL: %d others are under way: %w", atOnce, ctx.Err())
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch CRL: %w", err)
	}
	if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return nil, errors.New("fetch CRL: its address is not of http or https")
	}
	response, err := f.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("fetch CRL: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch CRL: the answer is %s", http.StatusText(response.StatusCode))
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("fetch CRL: %w", err)
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("fetch CRL: it is longer than %d bytes", maxSize)
	}
	return data, nil
}
