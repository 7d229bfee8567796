package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
)

// DefaultServiceAccountToken is where Kubernetes mounts a pod's own token.
const DefaultServiceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// AppRole are the credentials of Vault's AppRole login. One of the three forms
// of the secret id is given; files are read at each login, so that a secret id
// is replaced by writing its file.
type AppRole struct {
	Mount        string // path of the auth method; empty means DefaultAuth
	RoleID       string
	SecretID     string
	SecretIDFile string

	// WrappedSecretIDFile holds a response-wrapping token around the secret id,
	// which is unwrapped once and kept in memory: a restarted program needs a
	// new one.
	WrappedSecretIDFile string
}

// Kubernetes logs in with a pod's service account token.
type Kubernetes struct {
	Mount     string // path of the auth method; empty means "kubernetes"
	Role      string
	TokenFile string // read at each login; empty means DefaultServiceAccountToken
}

// Certificate logs in with a TLS client certificate. Its files are read at each
// handshake.
type Certificate struct {
	Mount    string // path of the auth method; empty means "cert"
	Role     string // role (Vault's "name") to log in as; empty means any that fits
	CertFile string // PEM
	KeyFile  string // PEM
}

// errLocal is what no answer of Vault and no second try can change.
var errLocal = errors.New("own credentials")

func (c *Config) completeLogin() error {
	ways := 0
	for _, given := range []bool{c.Token != "", c.TokenFile != "", c.AppRole != nil, c.Kubernetes != nil, c.Certificate != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("give exactly one of token, token file, AppRole, Kubernetes and client certificate")
	}
	switch {
	case c.AppRole != nil:
		return c.completeAppRole()
	case c.Kubernetes != nil:
		own := *c.Kubernetes
		setDefault(&own.Mount, "kubernetes")
		setDefault(&own.TokenFile, DefaultServiceAccountToken)
		if own.Role == "" {
			return errors.New("kubernetes login needs a role")
		}
		c.Kubernetes = &own
		return checkPaths(own.Mount)
	case c.Certificate != nil:
		own := *c.Certificate
		setDefault(&own.Mount, "cert")
		if own.CertFile == "" || own.KeyFile == "" {
			return errors.New("login by client certificate needs a certificate file and a key file")
		}
		if strings.HasPrefix(c.Address, "http:") {
			return errors.New("login by client certificate needs an https address")
		}
		c.Certificate = &own
		return checkPaths(own.Mount)
	}
	return nil
}

func (c *Config) completeAppRole() error {
	own := *c.AppRole
	setDefault(&own.Mount, DefaultAuth)
	forms := 0
	for _, form := range []string{own.SecretID, own.SecretIDFile, own.WrappedSecretIDFile} {
		if form != "" {
			forms++
		}
	}
	if own.RoleID == "" || forms != 1 {
		return errors.New("AppRole login needs a role id, and one of secret id, secret id file and wrapped secret id file")
	}
	c.AppRole = &own
	return checkPaths(own.Mount)
}

// logIn returns a token with its lease.
func (c *CA) logIn(ctx context.Context) (*api.Secret, error) {
	switch {
	case c.config.Token != "":
		return c.lookUp(ctx, c.config.Token)
	case c.config.TokenFile != "":
		token, err := readSecret(c.config.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read token: %w", err)
		}
		return c.lookUp(ctx, token)
	case c.config.AppRole != nil:
		secretID, err := c.secretID(ctx)
		if err != nil {
			return nil, err
		}
		return c.logInAt(ctx, c.config.AppRole.Mount, map[string]any{"role_id": c.config.AppRole.RoleID, "secret_id": secretID})
	case c.config.Kubernetes != nil:
		jwt, err := readSecret(c.config.Kubernetes.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read service account token: %w", err)
		}
		return c.logInAt(ctx, c.config.Kubernetes.Mount, map[string]any{"role": c.config.Kubernetes.Role, "jwt": jwt})
	default:
		// A connection that is open shows the certificate that it began with.
		c.anonymous.CloneConfig().HttpClient.CloseIdleConnections()
		data := map[string]any{}
		if c.config.Certificate.Role != "" {
			data["name"] = c.config.Certificate.Role
		}
		return c.logInAt(ctx, c.config.Certificate.Mount, data)
	}
}

func (c *CA) logInAt(ctx context.Context, mount string, data map[string]any) (*api.Secret, error) {
	secret, err := c.anonymous.Logical().WriteWithContext(ctx, "auth/"+mount+"/login", data)
	if err != nil {
		return nil, err
	}
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return nil, errors.New("vault answers without a token")
	}
	return secret, nil
}

// lookUp asks how long a token that we were given lives. A token that may not
// ask is used all the same: whether it is good, its first use shows.
func (c *CA) lookUp(ctx context.Context, token string) (*api.Secret, error) {
	bare := &api.Secret{Auth: &api.SecretAuth{ClientToken: token}}
	client, err := c.as(token)
	if err != nil {
		return nil, err
	}
	secret, err := client.Auth().Token().LookupSelfWithContext(ctx)
	var answer *api.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden {
		return bare, nil
	}
	if err != nil {
		return nil, err
	}
	bare.Auth.Renewable, _ = secret.Data["renewable"].(bool)
	if ttl, ok := secret.Data["ttl"].(json.Number); ok {
		left, err := ttl.Int64()
		if err != nil || left > int64(maxLease) {
			left = maxLease
		}
		bare.Auth.LeaseDuration = int(left)
	}
	return bare, nil
}

// maxLease bounds a lease in seconds: longer ones than a year are watched as a
// year.
const maxLease = 365 * 24 * 3600

// maxSecret bounds a file with a token or a secret id, in bytes.
const maxSecret = 64 << 10

// readSecret reads a file that holds one secret, which is on no account part of
// an error.
func readSecret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errLocal, err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" || len(data) > maxSecret || strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("%w: %s does not hold one line", errLocal, path)
	}
	return text, nil
}
