package vault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/hashicorp/vault/api"
)

// newClient makes a client of Vault with connections of its own.
func newClient(config Config) (*api.Client, error) {
	transport := &http.Transport{
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: config.Timeout,
	}
	var err error
	if transport.TLSClientConfig, err = tlsConfig(config); err != nil {
		return nil, err
	}
	if config.Proxy != "" {
		proxy, err := url.Parse(config.Proxy)
		if err != nil || proxy.Host == "" {
			return nil, errors.New("proxy is not http://HOST:PORT")
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	return clientOver(&http.Client{
		Transport: transport,
		// Vault's client follows one redirect itself, as a standby sends it, and
		// never to plain HTTP. Go's would follow ten, to anywhere, with our token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, config)
}

// clientOver makes a client of Vault that uses given connections, and undoes
// what api.NewClient takes from the environment.
func clientOver(connections *http.Client, config Config) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{
		Address: config.Address,
		Timeout: config.Timeout,
		// The client's own retries would repeat a sign whose answer was lost.
		MaxRetries: 0,
		CheckRetry: api.DefaultRetryPolicy,
		HttpClient: connections,
	})
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

// as returns a client with a token of its own over the connections that logins
// use.
func (c *CA) as(token string) (*api.Client, error) {
	client, err := clientOver(c.anonymous.CloneConfig().HttpClient, c.config)
	if err != nil {
		return nil, err
	}
	client.SetToken(token)
	return client, nil
}

func tlsConfig(config Config) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: config.ServerName}
	if config.TLS12 {
		settings.MinVersion = tls.VersionTLS12
	}
	if config.CACert != "" {
		pem, err := os.ReadFile(config.CACert)
		if err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA certificates: %s holds none", config.CACert)
		}
	}
	if own := config.Certificate; own != nil {
		// Read at each handshake: short-lived certificates are replaced on disk.
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(own.CertFile, own.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("read client certificate: %w", err)
			}
			return &pair, nil
		}
	}
	return settings, nil
}

// NewAdminClient returns Vault's client for an administrator's token, with the
// same care for address, TLS and environment as Config's own. The login fields
// of config are ignored.
func NewAdminClient(config Config, token string) (*api.Client, error) {
	config.Token, config.TokenFile, config.AppRole, config.Kubernetes, config.Certificate = token, "", nil, nil, nil
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("configure Vault: %w", err)
	}
	client, err := newClient(config)
	if err != nil {
		return nil, fmt.Errorf("configure Vault: %w", err)
	}
	client.SetToken(token)
	return client, nil
}
