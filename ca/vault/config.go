// Package vault has HashiCorp Vault's PKI secrets engine sign device
// certificates (https://developer.hashicorp.com/vault/api-docs/secret/pki),
// with no more permissions than to have one role sign, to revoke, and to look
// after its token. What Vault must be for that, Bootstrap sets up and Examine
// checks; what it answers is checked all the same.
package vault

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca"
)

// Defaults of Config and BootstrapConfig.
const (
	DefaultMount    = "troth-pki"
	DefaultRole     = "troth-device"
	DefaultPolicy   = "troth-ca"
	DefaultAppRole  = "troth"
	DefaultAuth     = "approle"
	DefaultTimeout  = 10 * time.Second
	DefaultAttempts = 3
)

// Config says which Vault to use, and how. Nothing is taken from the VAULT_… or
// proxy environment variables: what is not written here does not apply.
type Config struct {
	Address   string // https://vault.example.org:8200; http only to the loopback interface
	Namespace string // Vault Enterprise namespace; empty for none

	CACert     string // file of PEM roots for Vault's own TLS; empty means the system's
	ServerName string // name that Vault's certificate must bear; empty means the address's host
	TLS12      bool   // also speak TLS 1.2, for an old load balancer; otherwise 1.3 only
	Proxy      string // http://HOST:PORT of a forward proxy; empty for none

	Mount string // path of the PKI engine; empty means DefaultMount
	Role  string // role to sign with; empty means DefaultRole

	// Issuer is the reference of the issuer that must sign; what another signs
	// is ErrMisissued. Empty means the one that the role names.
	Issuer string

	// TrustDomain, if not empty, refuses requests of another before Vault does.
	TrustDomain string

	// One of these authenticates.
	Token       string
	TokenFile   string // read again at each login, as Vault Agent's sink wants it
	AppRole     *AppRole
	Kubernetes  *Kubernetes
	Certificate *Certificate

	Timeout  time.Duration    // of one HTTP exchange; zero means DefaultTimeout
	Attempts int              // tries of what certainly did not happen; zero means DefaultAttempts
	Now      func() time.Time // the clock; required
}

// CA is a Vault PKI role as a ca.Issuer. It is safe for concurrent use. Close it.
type CA struct {
	config    Config
	client    *api.Client // with our token
	anonymous *api.Client // without: a login must not carry the token it replaces
	roots     rootCache
	chains    chainCache
	crl       crlRebuilds

	login   chan struct{} // held by whoever logs in; of one element
	wrapped unwrapped     // guarded by login
	session session
}

var _ ca.Issuer = (*CA)(nil)

// New prepares the use of a Vault. It reads CACert and speaks to no one.
func New(config Config) (*CA, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("configure Vault: %w", err)
	}
	client, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("configure Vault: %w", err)
	}
	anonymous, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("configure Vault: %w", err)
	}
	return &CA{
		config: config, client: client, anonymous: anonymous,
		login: make(chan struct{}, 1), crl: crlRebuilds{gate: make(chan struct{}, 1)},
	}, nil
}

// Close ends the renewal of our token. The token itself is left to expire.
func (c *CA) Close() error {
	c.session.close()
	return nil
}

func (c *Config) complete() error {
	u, err := url.Parse(c.Address)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("address %q is not https://HOST:PORT", c.Address)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return fmt.Errorf("address %q would send tokens in the clear: use https", c.Address)
	}
	if c.Now == nil {
		return errors.New("the clock Now is missing")
	}
	if err := c.completeLogin(); err != nil {
		return err
	}
	setDefault(&c.Mount, DefaultMount)
	setDefault(&c.Role, DefaultRole)
	c.Mount = strings.Trim(c.Mount, "/")
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Attempts == 0 {
		c.Attempts = DefaultAttempts
	}
	if c.Timeout < 0 || c.Attempts < 0 {
		return errors.New("timeout and attempts must be positive")
	}
	return checkPaths(c.Mount, c.Role, c.Issuer)
}

// checkPaths keeps configured names from reaching another path of Vault's API.
func checkPaths(mount string, names ...string) error {
	for _, name := range append(names, strings.Split(mount, "/")...) {
		if strings.ContainsAny(name, "/?#%*+ \"\\") || name == "." || name == ".." {
			return fmt.Errorf("%q is not a name in a Vault path", name)
		}
	}
	return nil
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
