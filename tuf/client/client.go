package client

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// Config says where a client keeps its trust and where it fetches from.
type Config struct {
	// Dir holds the accepted metadata as received, under unversioned names
	// (root.json, timestamp.json, …), and nothing else. It is made if missing.
	Dir string
	// Root is the root metadata to trust first, for example from the firmware
	// image. It is used when Dir has no root, or an older one.
	Root []byte
	// MetadataURL and TargetsURL are the base addresses: http(s)://, or file://
	// followed by an absolute directory, or bundle:// followed by the absolute path
	// of an exported repository and /metadata or /targets. TargetsURL is only needed
	// to download.
	MetadataURL, TargetsURL string
	// Mirrors are asked in turn where the addresses above give no useful answer, or
	// one that is not what was signed. A mirror is trusted with nothing.
	Mirrors []Mirror
	// HTTP is the client to fetch with. By default one with time limits on
	// connecting and on the first byte of an answer.
	HTTP *http.Client
	// Now gives the machine's time, which may be wrong; by default time.Now.
	Now func() time.Time
	// ClockFile keeps the latest time that is known to have passed, so that a
	// machine without a battery cannot be sent back to when old metadata was
	// fresh. By default Dir with ".clock" appended.
	ClockFile string
	UserAgent string // by default "troth-tuf"
	Limits    Limits // zero fields give the defaults
}

// Mirror is another place with the same repository.
type Mirror struct {
	MetadataURL, TargetsURL string // as in Config
}

// Limits bound what a hostile repository can cost.
type Limits struct {
	Root, Timestamp, Snapshot, Targets int64 // largest metadata, in bytes; 512 KB, 16 KB, 2 MB, 5 MB
	Target                             int64 // largest download, in bytes; 8 GiB

	RootRotations int // new root versions in one Refresh; 256. The next Refresh goes on from there
	Delegations   int // roles visited to find one target; 32

	// A transfer is given up when a Window passes with fewer than MinRate
	// bytes a second in it, before the first byte too; 512 B/s over 30 s.
	MinRate int64
	Window  time.Duration
}

// Client follows one repository. Safe for concurrent use, though everything
// waits while a Refresh is on the network; two processes must not share a Dir.
type Client struct {
	cfg     Config
	store   store
	bundles bundles
	// preferred is the place that answered last: index 0 is the configuration's own.
	preferred atomic.Int64

	mu          sync.Mutex
	metadataURL string                           // of the place that is being asked
	trusted     *trustedmetadata.TrustedMetadata // of the last successful Refresh
	knownTime   time.Time
	listed      map[string]*listed // of the last Catalog, by role
	catalog     Catalog

	downloads sync.Mutex // one at a time: two could share a .part file
}

// New opens the client's directory and checks the root that it will trust:
// the newer one of Config.Root and what an earlier Refresh kept. It uses no
// network. The error has CodeSignature or CodeMalformed if there is no usable
// root.
func New(cfg Config) (*Client, error) {
	if cfg.Dir == "" {
		return nil, fail(CodeStorage, "configuration", errors.New("no Dir is set"))
	}
	bases := []string{cfg.MetadataURL, cfg.TargetsURL}
	for _, m := range cfg.Mirrors {
		bases = append(bases, m.MetadataURL, m.TargetsURL)
	}
	for _, base := range bases {
		if dir, ok := strings.CutPrefix(base, "file://"); ok && !filepath.IsAbs(dir) {
			return nil, failf(CodeUnreachable, "configuration", "%s is not an absolute directory", base)
		}
		if rest, ok := strings.CutPrefix(base, bundleScheme); ok && !validBundle(rest) {
			return nil, failf(CodeUnreachable, "configuration", "%s is not the absolute path of a bundle, and metadata or targets", base)
		}
	}
	cfg = withDefaults(cfg)
	c := &Client{cfg: cfg, store: store{dir: cfg.Dir, clock: cfg.ClockFile}}
	if err := c.store.init(); err != nil {
		return nil, fail(CodeStorage, "metadata directory", err)
	}
	if _, _, err := c.startRoot(); err != nil {
		return nil, err
	}
	c.knownTime = c.store.readClock()
	return c, nil
}

func withDefaults(cfg Config) Config {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ClockFile == "" {
		cfg.ClockFile = cfg.Dir + ".clock"
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "troth-tuf"
	}
	if cfg.HTTP == nil {
		cfg.HTTP = defaultHTTP()
	}
	l := &cfg.Limits
	for _, d := range []struct {
		field *int64
		value int64
	}{{&l.Root, 512_000}, {&l.Timestamp, 16_384}, {&l.Snapshot, 2_000_000}, {&l.Targets, 5_000_000}, {&l.Target, 8 << 30}, {&l.MinRate, 512}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if l.RootRotations <= 0 {
		l.RootRotations = 256
	}
	if l.Delegations <= 0 {
		l.Delegations = 32
	}
	if l.Window <= 0 {
		l.Window = 30 * time.Second
	}
	return cfg
}

// reference is the time to judge expiry by. It never steps back.
func (c *Client) reference() time.Time {
	now := c.cfg.Now().UTC()
	if now.Before(c.knownTime) {
		return c.knownTime
	}
	return now
}
