package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Config is everything that an operator may set. The zero value with a DataDir
// is a working service on one machine.
type Config struct {
	// DataDir holds what the service must keep: database, CA, keys. It is made
	// with mode 0700.
	DataDir string `json:"data_dir"`
	// Listen is the address to serve on; 127.0.0.1:8443 by default.
	Listen string `json:"listen"`
	// Names are the DNS names and addresses that the service's own certificate
	// is for; localhost, 127.0.0.1 and ::1 by default.
	Names []string `json:"names"`
	// TrustDomain is that of SPIFFE IDs; troth.internal by default.
	TrustDomain string `json:"trust_domain"`
	// Database is sqlite:PATH or postgres://…; a file in DataDir by default.
	// ${VAR} is replaced from the environment, so that a password need not stand
	// in the file.
	Database string `json:"database"`
	// PublicURL is where others reach this service, https://HOST:PORT. Certificates
	// then say where their revocation list, issuer and OCSP responder are.
	PublicURL string `json:"public_url"`
	// PolicyDir replaces the built-in policy bundle.
	PolicyDir string `json:"policy_dir"`

	Enrollment   EnrollmentConfig   `json:"enrollment"`
	CheckIn      CheckInConfig      `json:"check_in"`
	Certificates CertificatesConfig `json:"certificates"`
	Firmware     FirmwareConfig     `json:"firmware"`
	Result       ResultConfig       `json:"result"`
}

// EnrollmentConfig is who may enrol.
type EnrollmentConfig struct {
	// RequireRegistration refuses devices that nobody registered, even with a
	// trusted manufacturer's EK certificate.
	RequireRegistration bool             `json:"require_registration"`
	Revocation          RevocationConfig `json:"revocation"`
}

// CheckInConfig is how often posture is checked.
type CheckInConfig struct {
	Interval Duration `json:"interval"` // between check-ins of a device; 5m
	Fresh    Duration `json:"fresh"`    // how long a verdict is believed; 2.5 intervals
	Sweep    Duration `json:"sweep"`    // between searches for stale verdicts; 30s
}

// CertificatesConfig is who issues device certificates, and for how long.
type CertificatesConfig struct {
	Lifetime Duration `json:"lifetime"` // 24h
	// MaxLifetime bounds what policy may give; Lifetime by default.
	MaxLifetime Duration `json:"max_lifetime"`
	// PassphraseFile holds what the keys of the CA in DataDir are encrypted with.
	// ${VAR} is replaced from the environment, as in
	// ${CREDENTIALS_DIRECTORY}/troth-ca. Empty: they are not encrypted.
	PassphraseFile string       `json:"passphrase_file"`
	Vault          *VaultConfig `json:"vault"` // nil: a CA in DataDir
}

// FirmwareConfig is where signed firmware comes from.
type FirmwareConfig struct {
	// Repository is the TUF repository's directory, which is also served to
	// devices; DataDir/tuf by default.
	Repository string `json:"repository"`
	// Root is the file of the TUF root to trust first. By default the first root
	// of the repository is pinned when it is first seen.
	Root string `json:"root"`
	// OnlineKeys is the directory of the snapshot and timestamp keys, with which
	// the service re-signs the repository before it expires. DataDir/tuf-keys is
	// used where it exists; without keys somebody else must re-sign.
	OnlineKeys string `json:"online_keys"`
	// OnlinePassphraseFile has the passphrase of encrypted online keys in its first
	// line.
	OnlinePassphraseFile string   `json:"online_passphrase_file"`
	Refresh              Duration `json:"refresh"` // between reads of the repository; 10s
	// TrustedRoot is the file of a trusted_root.json that says which sigstore is
	// believed about who built and signed firmware. Nothing is fetched. Empty: none.
	TrustedRoot string `json:"trusted_root"`
	// TrustedKeys are files of public keys (PEM) that are believed where a bundle is
	// signed with a plain key.
	TrustedKeys []string `json:"trusted_keys"`
}

// Duration is written as in Go: 90s, 5m, 24h.
type Duration time.Duration

// UnmarshalJSON reads the written form; a bare number is refused, because it
// does not say its unit.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is written with its unit, as \"5m\", not %s", b)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("a duration is written with its unit, as \"5m\", not %q", s)
	}
	*d = Duration(v)
	return nil
}

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

// Load reads a YAML file. A key that is not known is an error.
func Load(path string) (Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if len(b) > maxConfig {
		return Config{}, fmt.Errorf("read configuration: %s has more than %d bytes", path, maxConfig)
	}
	var c Config
	if err := yaml.UnmarshalStrict(b, &c); err != nil {
		return Config{}, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return c, nil
}

// complete fills in the defaults and refuses what contradicts itself.
func (c Config) complete() (Config, error) {
	if c.DataDir == "" {
		return c, errors.New("configuration: data_dir is missing")
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c, fmt.Errorf("configuration: data_dir: %w", err)
	}
	c.DataDir = dir
	c.Listen = or(c.Listen, "127.0.0.1:8443")
	c.TrustDomain = or(c.TrustDomain, "troth.internal")
	c.Database = os.Expand(or(c.Database, "sqlite:"+filepath.Join(dir, "troth.db")), os.Getenv)
	c.Firmware.Repository = or(c.Firmware.Repository, filepath.Join(dir, "tuf"))
	c.Firmware.OnlineKeys = or(c.Firmware.OnlineKeys, filepath.Join(dir, "tuf-keys"))
	if len(c.Names) == 0 {
		c.Names = []string{"localhost", "127.0.0.1", "::1"}
	}
	c.Enrollment.Revocation = c.Enrollment.Revocation.complete()
	c.CheckIn.Interval = or(c.CheckIn.Interval, Duration(5*time.Minute))
	c.CheckIn.Fresh = or(c.CheckIn.Fresh, c.CheckIn.Interval*5/2)
	c.CheckIn.Sweep = or(c.CheckIn.Sweep, Duration(30*time.Second))
	c.Certificates.Lifetime = or(c.Certificates.Lifetime, Duration(24*time.Hour))
	c.Certificates.MaxLifetime = or(c.Certificates.MaxLifetime, c.Certificates.Lifetime)
	c.Certificates.PassphraseFile = os.Expand(c.Certificates.PassphraseFile, os.Getenv)
	c.Firmware.Refresh = or(c.Firmware.Refresh, Duration(10*time.Second))
	c.Result = c.Result.complete(c)
	return c, c.validate()
}

func (c Config) validate() error {
	positive := map[string]Duration{
		"check_in.interval": c.CheckIn.Interval, "check_in.sweep": c.CheckIn.Sweep,
		"certificates.lifetime": c.Certificates.Lifetime, "firmware.refresh": c.Firmware.Refresh,
	}
	for name, d := range positive {
		if time.Duration(d) < time.Second {
			return fmt.Errorf("configuration: %s must be at least 1s", name)
		}
	}
	if c.Certificates.MaxLifetime < c.Certificates.Lifetime {
		return errors.New("configuration: certificates.max_lifetime must not be shorter than certificates.lifetime")
	}
	if c.CheckIn.Fresh <= c.CheckIn.Interval {
		return errors.New("configuration: check_in.fresh must be longer than check_in.interval, or every verdict lapses between two check-ins")
	}
	if v := c.Certificates.Vault; v != nil {
		if err := v.validate(); err != nil {
			return fmt.Errorf("configuration: certificates.vault%w", err)
		}
	}
	if err := c.Enrollment.Revocation.validate(); err != nil {
		return err
	}
	if err := c.checkPublicURL(); err != nil {
		return err
	}
	if strings.ContainsAny(c.TrustDomain, "/ :") {
		return fmt.Errorf("configuration: trust_domain %q is not the name of a SPIFFE trust domain", c.TrustDomain)
	}
	return c.Result.validate()
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
