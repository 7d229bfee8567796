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
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// location is a file below a base address, as a file system and as a URL write it.
type location struct{ raw, escaped string }

// answer is the part of a file from offset on.
type answer struct {
	body   io.ReadCloser
	offset int64
	total  int64 // size of the whole file, -1 if not told
}

// errRange: the server cannot give the range asked for, or gave another.
var errRange = errors.New("no such range")

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
	a, err := c.open(ctx, base, at, 0)
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

// open asks for a file from offset on. What it gives may begin at 0 instead.
func (c *Client) open(ctx context.Context, base string, at location, offset int64) (*answer, error) {
	if dir, ok := strings.CutPrefix(base, "file://"); ok {
		return openFile(dir, at.raw, offset)
	}
	if rest, ok := strings.CutPrefix(base, bundleScheme); ok {
		return c.bundles.open(rest, at.raw, offset)
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
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	a, err := readAnswer(resp, offset)
	if err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return a, nil
}

func readAnswer(resp *http.Response, offset int64) (*answer, error) {
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, fmt.Errorf("server answered in encoding %q, unasked", e)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return &answer{body: resp.Body, total: resp.ContentLength}, nil
	case http.StatusPartialContent:
		first, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || first != offset || offset == 0 {
			return nil, fmt.Errorf("%w: asked for %d, got %q", errRange, offset, resp.Header.Get("Content-Range"))
		}
		return &answer{body: resp.Body, offset: first, total: total}, nil
	case http.StatusRequestedRangeNotSatisfiable:
		return nil, fmt.Errorf("%w: not satisfiable", errRange)
	case http.StatusNotFound, http.StatusForbidden: // object stores forbid what does not exist
		return nil, fmt.Errorf("server answered %s: %w", resp.Status, os.ErrNotExist)
	}
	return nil, fmt.Errorf("server answered %s", resp.Status)
}

// parseContentRange reads "bytes 5-9/10" (RFC 9110, section 14.4); a total of
// "*" gives -1.
func parseContentRange(s string) (first, total int64, err error) {
	bad := fmt.Errorf("content range %q", s)
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, 0, bad
	}
	span, size, ok := strings.Cut(rest, "/")
	from, to, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 {
		return 0, 0, bad
	}
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	if err1 != nil || err2 != nil || first < 0 || last < first {
		return 0, 0, bad
	}
	if size == "*" {
		return first, -1, nil
	}
	total, err = strconv.ParseInt(size, 10, 64)
	if err != nil || total <= last {
		return 0, 0, bad
	}
	return first, total, nil
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

var errSlow = errors.New("slower than the minimum rate")

// meter ends a transfer in which a window passes with too few bytes.
type meter struct {
	bytes  atomic.Int64
	cancel context.CancelCauseFunc
	done   chan struct{}
}

func (c *Client) meter(ctx context.Context) (context.Context, *meter) {
	ctx, cancel := context.WithCancelCause(ctx)
	m := &meter{cancel: cancel, done: make(chan struct{})}
	window := c.cfg.Limits.Window
	floor := int64(float64(c.cfg.Limits.MinRate) * window.Seconds())
	go func() {
		ticker := time.NewTicker(window)
		defer ticker.Stop()
		for {
			select {
			case <-m.done:
				return
			case <-ctx.Done():
				return
			case <-ticker.C:
				if m.bytes.Swap(0) < floor {
					cancel(errSlow)
					return
				}
			}
		}
	}()
	return ctx, m
}

func (m *meter) stop() {
	close(m.done)
	m.cancel(nil)
}

func (m *meter) count(r io.Reader) io.Reader { return countingReader{m, r} }

type countingReader struct {
	m *meter
	r io.Reader
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.m.bytes.Add(int64(n))
	return n, err
}
