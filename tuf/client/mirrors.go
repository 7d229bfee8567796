package client

import (
	"context"
	"errors"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// places are the configured addresses, the one that answered last first.
func (c *Client) places() []int {
	n := len(c.cfg.Mirrors) + 1
	first := int(c.preferred.Load())
	order := make([]int, n)
	for i := range order {
		order[i] = (first + i) % n
	}
	return order
}

func (c *Client) place(i int) Mirror {
	if i == 0 {
		return Mirror{c.cfg.MetadataURL, c.cfg.TargetsURL}
	}
	return c.cfg.Mirrors[i-1]
}

// anywhere does something with one place after the other until it succeeds. What
// the local disk refuses, no other place mends. The error has the code of the
// first that was tried.
func (c *Client) anywhere(ctx context.Context, do func(Mirror) error) error {
	return errors.Join(c.each(ctx, do)...)
}

// anywhereToResume is anywhere for what another attempt goes on with: the error has
// the code of a place that only has to answer (again), if there is one. A mirror
// that does not have a file yet is no reason to give it up.
func (c *Client) anywhereToResume(ctx context.Context, do func(Mirror) error) error {
	errs := c.each(ctx, do)
	slices.SortStableFunc(errs, func(a, b error) int { return hopeless(a) - hopeless(b) })
	return errors.Join(errs...)
}

func hopeless(err error) int {
	switch Code(err) {
	case CodeTruncated, CodeSlow, CodeUnreachable, CodeStorage:
		return 0
	}
	return 1
}

// each gives the errors of all places; none where one succeeded, and only the last
// where no other is to be tried.
func (c *Client) each(ctx context.Context, do func(Mirror) error) []error {
	var errs []error
	for _, i := range c.places() {
		err := do(c.place(i))
		if err == nil {
			c.preferred.Store(int64(i))
			return nil
		}
		if len(c.cfg.Mirrors) == 0 || Code(err) == CodeStorage || ctx.Err() != nil {
			return []error{err}
		}
		errs = append(errs, err)
	}
	return errs
}

// loadRole is updateTargets after a Refresh, from whichever place has it.
func (c *Client) loadRole(ctx context.Context, role, delegator string) (loaded *metadata.Metadata[metadata.TargetsType], err error) {
	err = c.anywhere(ctx, func(m Mirror) (err error) {
		c.metadataURL = m.MetadataURL
		loaded, err = c.updateTargets(ctx, c.trusted, role, delegator)
		return err
	})
	return loaded, err
}
