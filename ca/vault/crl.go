package vault

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/vault/api"

	"troth/ca"
)

// crlRebuilds lets revocations that come together share one rebuild of the CRL,
// whose cost grows with all that was ever revoked.
type crlRebuilds struct {
	gate  chan struct{} // held while rebuilding; of one element
	asked atomic.Uint64 // revocations that want to be in the CRL
	done  atomic.Uint64 // revocations that certainly are
}

// RebuildCRL has Vault publish a revocation list that holds every revocation so
// far. Concurrent calls share rebuilds.
func (c *CA) RebuildCRL(ctx context.Context) error {
	ticket := c.crl.asked.Add(1)
	select {
	case c.crl.gate <- struct{}{}:
		defer func() { <-c.crl.gate }()
	case <-ctx.Done():
		return fmt.Errorf("rebuild CRL: %w: %w", ca.ErrUnavailable, ctx.Err())
	}
	if c.crl.done.Load() >= ticket {
		return nil
	}
	covered := c.crl.asked.Load()
	if _, err := c.repeat(ctx, func(ctx context.Context, logical *api.Logical) (*api.Secret, error) {
		return logical.ReadWithContext(ctx, c.config.Mount+"/crl/rotate")
	}); err != nil {
		return fmt.Errorf("rebuild CRL: %w", err)
	}
	c.crl.done.Store(covered)
	return nil
}
