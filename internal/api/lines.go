package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxLine bounds one line of an answer, in bytes.
const maxLine = 64 << 20

// Lines posts content (nil: none) and has each called with every line of the
// answer, as it comes. An answer that says no is returned as a *Problem.
func (c *Client) Lines(ctx context.Context, path, contentType string, content io.Reader, each func(json.RawMessage) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.Base, "/")+path, content)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	if content != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("reach %s: %w", c.Base, err)
	}
	if resp.StatusCode/100 != 2 {
		defer drain(resp.Body)
		return problemOf(resp)
	}
	defer func() { _ = resp.Body.Close() }() // what is left of it is of no use
	scanner := bufio.NewScanner(resp.Body)
	scanner.Buffer(make([]byte, 64<<10), maxLine)
	for scanner.Scan() {
		if len(scanner.Bytes()) == 0 {
			continue
		}
		if err := each(scanner.Bytes()); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read answer of POST %s: %w", path, err)
	}
	return nil
}
