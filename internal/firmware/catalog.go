// Package firmware keeps the catalogue of published releases. The verifier is a
// TUF client like every device: what it compares PCRs with is what the
// repository's keys signed, and nothing else.
package firmware

import (
	"context"
	"fmt"
	"sync/atomic"

	"troth/internal/fleet"
	"troth/tuf/client"
)

// Catalog is the set of releases that the last successful refresh read. It is
// safe for concurrent use.
type Catalog struct {
	updater *client.Client
	current atomic.Pointer[fleet.Catalog]
}

// New returns a catalogue that reads through a TUF client. It is empty, and so
// matches nothing, until the first Refresh.
func New(updater *client.Client) *Catalog {
	c := &Catalog{updater: updater}
	c.current.Store(&fleet.Catalog{})
	return c
}

// Catalog is the current set.
func (c *Catalog) Catalog() fleet.Catalog { return *c.current.Load() }

// Refresh reads the repository. Metadata that does not verify changes nothing:
// the last set that did stays.
func (c *Catalog) Refresh(ctx context.Context) error {
	if err := c.updater.Refresh(ctx); err != nil {
		return fmt.Errorf("refresh firmware catalogue: %w", err)
	}
	targets, err := c.updater.Targets()
	if err != nil {
		return fmt.Errorf("read firmware catalogue: %w", err)
	}
	next := make(fleet.Catalog, 0, len(targets))
	for _, t := range targets {
		r, ok := release(t)
		if ok {
			next = append(next, r)
		}
	}
	c.current.Store(&next)
	return nil
}
