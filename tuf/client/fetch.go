package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// location is a file below a base address, as a file system and as a URL write it.
type location struct{ raw, escaped string }

// answer is the part of a file from offset on.
type answer struct {
	body    io.ReadCloser
	offset  int64
	total   int64 // size of the whole file, -1 if not told
	ignored bool  // the range that was asked for
}

func defaultHTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 20 * time.Second}).DialContext,
		TLSHandshakeTimeout:    20 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second,
		IdleConnTimeout:        60 * time.Second,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}}
}

func escapeSegment(s string) string { return url.PathEscape(s) }

// fetchAll reads a whole small file of at most limit bytes.
func (c *Client) fetchAll(ctx context.Context, base string, at location, what string, limit int64) ([]byte, error) {
	ctx, meter := c.meter(ctx)
	defer meter.stop()
	a, err := c.open(ctx, base, at, part{})
	if err != nil {
		return nil, transferError(ctx, what, err)
	}
	defer a.body.Close()
	if a.total > limit {
		return nil, failf(CodeTooLarge, what, "%d bytes offered, at most %d accepted", a.total, limit)
	}
	data, err := io.ReadAll(io.LimitReader(meter.count(a.body), limit+1))
	if err != nil {
		return nil, transferError(ctx, what, err)
	}
	if int64(len(data)) > limit {
		return nil, failf(CodeTooLarge, what, "more than %d bytes", limit)
	}
	return data, nil
}

// open asks for a part of a file. What it gives may begin at 0 instead, and may go
// on after the part.
func (c *Client) open(ctx context.Context, base string, at location, want part) (*answer, error) {
	if dir, ok := strings.CutPrefix(base, "file://"); ok {
		return openFile(dir, at.raw, want.first)
	}
	if rest, ok := strings.CutPrefix(base, bundleScheme); ok {
		return c.bundles.open(rest, at.raw, want.first)
	}
	if !strings.HasPrefix(base, "http://") && !strings.HasPrefix(base, "https://") {
		return nil, fmt.Errorf("address %q is not http, https, file or bundle", base)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/"+at.escaped, nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	// Lengths and ranges count the bytes that were signed.
	req.Header.Set("Accept-Encoding", "identity")
	if want != (part{}) {
		req.Header.Set("Range", want.header())
	}
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	a, err := readAnswer(resp, want)
	if err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return a, nil
}

func readAnswer(resp *http.Response, want part) (*answer, error) {
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, fmt.Errorf("server answered in encoding %q, unasked", e)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return &answer{body: resp.Body, total: resp.ContentLength, ignored: want != part{}}, nil
	case http.StatusPartialContent:
		got, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || !want.met(got) {
			return nil, fmt.Errorf("%w: asked for %s, got %q", errRange, want.header(), resp.Header.Get("Content-Range"))
		}
		return &answer{body: resp.Body, offset: got.first, total: total}, nil
	case http.StatusRequestedRangeNotSatisfiable:
		return nil, fmt.Errorf("%w: not satisfiable", errRange)
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented: // of servers that know no ranges
		if want != (part{}) {
			return nil, fmt.Errorf("%w: server answered %s", errRange, resp.Status)
		}
	case http.StatusNotFound, http.StatusForbidden: // object stores forbid what does not exist
		return nil, fmt.Errorf("server answered %s: %w", resp.Status, os.ErrNotExist)
	}
	return nil, fmt.Errorf("server answered %s", resp.Status)
}

func openFile(dir, name string, offset int64) (*answer, error) {
	f, err := os.OpenInRoot(dir, name)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err == nil && offset > 0 {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open file: %w", err)
	}
	return &answer{body: f, offset: offset, total: info.Size()}, nil
}

// transferError gives an error of open or of reading its code.
func transferError(ctx context.Context, what string, err error) error {
	var coded *Error
	switch {
	case errors.As(err, &coded):
		return err
	case errors.Is(context.Cause(ctx), errSlow):
		return fail(CodeSlow, what, errSlow)
	case errors.Is(err, os.ErrNotExist):
		return fail(CodeNotFound, what, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fail(CodeTruncated, what, err)
	}
	return fail(CodeUnreachable, what, err)
}
