// Package vuln leads from known vulnerabilities to the devices that have them: it
// imports records (package osv), compares them with the bills of materials of
// published releases, and says which releases and devices are affected, and which
// release is the first without.
package vuln

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"troth/internal/fleet"
)

// Store is what the service needs to remember.
type Store interface {
	Feed(ctx context.Context) (fleet.Feed, error)
	Vulnerabilities(ctx context.Context, f fleet.VulnerabilityFilter) ([]fleet.Vulnerability, error)
	VulnerabilitiesWithID(ctx context.Context, ids []string) (map[string]fleet.Vulnerability, error)
	// EachVulnerability and EachVulnerabilityNamed tell of records that stand, one by
	// one, by the packages that they affect or by their names.
	EachVulnerability(ctx context.Context, packages []string, do func(fleet.Vulnerability) error) error
	EachVulnerabilityNamed(ctx context.Context, names []string, do func(fleet.Vulnerability) error) error
	// Running are the model's devices with the release that each proved last.
	Running(ctx context.Context, model string) ([]fleet.Running, error)
	Apply(ctx context.Context, c fleet.Change) error
}

// Releases is the published firmware.
type Releases interface {
	Catalog() fleet.Catalog
	// SBOM is a release's bill of materials; nil where it has none.
	SBOM(ctx context.Context, r fleet.Release) ([]byte, error)
}

// Config is what the service is made of.
type Config struct {
	Store    Store
	Releases Releases
	Now      func() time.Time
}

// Service is the use case. It is safe for concurrent use.
type Service struct {
	Config
	comparing sync.Mutex
	materials map[string]*materials      // by SHA-256 of the document; under comparing
	unread    bool                       // a document could not be read; under comparing
	current   atomic.Pointer[comparison] // nil: none yet
}

// New returns the service. Until the first Compare it knows of no release.
func New(c Config) *Service { return &Service{Config: c, materials: map[string]*materials{}} }
