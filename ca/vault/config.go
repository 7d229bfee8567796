// Package vault has HashiCorp Vault's PKI secrets engine sign device
// certificates (https://developer.hashicorp.com/vault/api-docs/secret/pki),
// with nothing but a sign and a revoke permission. What the role in Vault must
// be, Bootstrap sets up; what it answers is checked all the same.
package vault

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"

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

// Config says which Vault to use, and how. Nothing is taken from the VAULT_…
// environment variables: what is not written here does not apply.
type Config struct {
	Address   string // https://vault.example.org:8200; http only to the loopback interface
	Namespace string // Vault Enterprise namespace; empty for none
	CACert    string // file of PEM roots for Vault's own TLS; empty means the system's

	Mount  string // path of the PKI engine; empty means DefaultMount
	Role   string // role to sign with; empty means DefaultRole
	Issuer string // issuer reference; empty means the one that the role names

	// TrustDomain, if not empty, refuses requests of another before Vault does.
	TrustDomain string

	// One of these authenticates. TokenFile is read again at each login, as
	// Vault Agent's sink wants it.
	Token     string
	TokenFile string
	AppRole   *AppRole

	Timeout  time.Duration    // of one HTTP exchange; zero means DefaultTimeout
	Attempts int              // tries of what certainly did not happen; zero means DefaultAttempts
	Now      func() time.Time // the clock; required
}

// AppRole are the credentials of Vault's AppRole login.
type AppRole struct {
	Mount        string // path of the auth method; empty means DefaultAuth
	RoleID       string
	SecretID     string // or
	SecretIDFile string // a file with it, read at each login
}

// CA is a Vault PKI role as a ca.Issuer. It is safe for concurrent use.
type CA struct {
	config    Config
	client    *api.Client // with our token
	anonymous *api.Client // without: a login must not carry the token it replaces
	roots     rootCache

	login   sync.Mutex // held while logging in
	renewAt time.Time  // when to log in anew; zero for never; guarded by login
}

var _ ca.Issuer = (*CA)(nil)

// New prepares the use of a Vault. It reads CACert and speaks to no one.
func New(config Config) (*CA, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("configure Vault: %w", err)
	}
	if config.AppRole != nil {
		if _, err := config.AppRole.method(); err != nil {
			return nil, fmt.Errorf("configure Vault: %w", err)
		}
	}
	client, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("configure Vault: %w", err)
	}
	anonymous, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("configure Vault: %w", err)
	}
	return &CA{config: config, client: client, anonymous: anonymous}, nil
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
	ways := 0
	for _, given := range []bool{c.Token != "", c.TokenFile != "", c.AppRole != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("give exactly one of token, token file and AppRole")
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

// newClient makes Vault's client, and undoes what it takes from the environment.
func newClient(config Config) (*api.Client, error) {
	settings := &api.Config{
		Address: config.Address,
		Timeout: config.Timeout,
		// The client's own retries would repeat a sign whose answer was lost.
		MaxRetries: 0,
		CheckRetry: api.DefaultRetryPolicy,
		HttpClient: &http.Client{Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
			TLSHandshakeTimeout: config.Timeout,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		}},
	}
	if config.CACert != "" {
		if _, err := os.Stat(config.CACert); err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
		if err := settings.ConfigureTLS(&api.TLSConfig{CACert: config.CACert}); err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
	}
	client, err := api.NewClient(settings)
	if err != nil {
		return nil, err
	}
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	client.ClearToken()
	if config.Namespace != "" {
		client.SetNamespace(config.Namespace)
	}
	return client, nil
}

func (a AppRole) method() (*approle.AppRoleAuth, error) {
	setDefault(&a.Mount, DefaultAuth)
	return approle.NewAppRoleAuth(a.RoleID,
		&approle.SecretID{FromString: a.SecretID, FromFile: a.SecretIDFile},
		approle.WithMountPath(a.Mount))
}
