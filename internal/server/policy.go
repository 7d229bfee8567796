package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"troth/internal/bundle"
	"troth/internal/httpapi"
	"troth/internal/preview"
	"troth/internal/store"
	"troth/policies"
	"troth/policy"
)

// openPolicies has the service decide by the bundle that is active. Until one is
// activated that is the base: the built-in bundle, or that of policy_dir.
func (s *Service) openPolicies(ctx context.Context, current *policy.Current) error {
	var base fs.FS = policies.FS
	if s.config.PolicyDir != "" {
		base = os.DirFS(s.config.PolicyDir)
	}
	var err error
	s.bundles, err = bundle.New(ctx, bundle.Config{Store: s.store, Source: s.firmware, Current: current, Base: base, Now: time.Now})
	if err != nil {
		return fmt.Errorf("load policies: %w", err)
	}
	if err := s.bundles.Start(ctx); err != nil {
		return fmt.Errorf("%w (if no other program can load it either: trothd use-base-policy)", err)
	}
	return nil
}

func (s *Service) policyEdge() httpapi.Policies {
	return httpapi.Policies{Bundles: s.bundles, Previews: preview.New(s.store, time.Now)}
}

// UseBasePolicy has the base bundle decide instead of whatever is active, and
// returns the id of that: the way out where the active bundle cannot be loaded.
func UseBasePolicy(ctx context.Context, c Config) (before string, err error) {
	c, err = c.complete()
	if err != nil {
		return "", err
	}
	db, err := store.Open(ctx, c.Database)
	if err != nil {
		return "", fmt.Errorf("open database: %w", err)
	}
	before, err = bundle.UseBase(ctx, db, time.Now())
	return before, errors.Join(err, db.Close())
}
