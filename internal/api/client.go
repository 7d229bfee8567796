package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what the client reads of one answer, in bytes.
const maxAnswer = 256 << 20

// Client talks to a trothd. A device's client carries its certificate in HTTP's
// transport; an operator's carries a Token.
type Client struct {
	Base  string // scheme and authority, as https://host:port
	HTTP  *http.Client
	Token string // operator's bearer token; empty for devices
}

// Do sends in as JSON (nil: no body) and decodes the answer into out (nil: it is
// dropped). An answer that says no is returned as a *Problem.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("decode answer of %s %s: %w", method, path, err)
	}
	return nil
}

// Copy fetches path and copies the body to w, for documents that are not JSON.
func (c *Client) Copy(ctx context.Context, path string, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	n, err := io.Copy(w, io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read answer of GET %s: %w", path, err)
	}
	if n > maxAnswer {
		return fmt.Errorf("read answer of GET %s: it has more than %d bytes", path, maxAnswer)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Base, "/")+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", c.Base, err)
	}
	if resp.StatusCode/100 != 2 {
		defer drain(resp.Body)
		return nil, problemOf(resp)
	}
	return resp, nil
}

// problemOf reads the problem document of an answer, or makes one up from the
// status where something in between answered.
func problemOf(resp *http.Response) error {
	p := &Problem{}
	err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(p)
	if err != nil || p.Code == "" {
		p = &Problem{Code: "http_status", Detail: "the server answered " + resp.Status}
	}
	p.Status = resp.StatusCode
	p.RetryAfter = retryAfter(resp.Header)
	return p
}

// maxRetryAfter bounds what is understood of a Retry-After.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads Retry-After, in seconds or as a date, which is measured from the
// server's own Date: the clock here may be wrong.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return min(max(until.Sub(now), 0), maxRetryAfter)
}

func drain(body io.ReadCloser) {
	_, _ = io.Copy(io.Discard, io.LimitReader(body, 1<<20))
	_ = body.Close()
}

// Path fills the {placeholders} of a path, in order, escaped.
func Path(pattern string, values ...string) string {
	for _, v := range values {
		open, end := strings.IndexByte(pattern, '{'), strings.IndexByte(pattern, '}')
		if open < 0 || end < open {
			break
		}
		pattern = pattern[:open] + url.PathEscape(v) + pattern[end+1:]
	}
	return pattern
}

// RetryAfterOf is how long the server that answered with err asks to be left alone;
// zero if it does not, or err is no Problem.
func RetryAfterOf(err error) time.Duration {
	var p *Problem
	if errors.As(err, &p) {
		return p.RetryAfter
	}
	return 0
}

// CodeOf is the problem code of err; empty if err is no Problem.
func CodeOf(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}
