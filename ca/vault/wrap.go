package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"
)

// unwrapped is a secret id and the wrapping token that it came in.
type unwrapped struct{ wrapper, secretID string }

// secretID returns the secret id to log in with now.
func (c *CA) secretID(ctx context.Context) (string, error) {
	own := c.config.AppRole
	switch {
	case own.SecretID != "":
		return own.SecretID, nil
	case own.SecretIDFile != "":
		secretID, err := readSecret(own.SecretIDFile)
		if err != nil {
			return "", fmt.Errorf("read secret id: %w", err)
		}
		return secretID, nil
	}
	wrapper, err := readSecret(own.WrappedSecretIDFile)
	if err != nil {
		if c.wrapped.secretID != "" {
			return c.wrapped.secretID, nil // taken away after it was used, as it should be
		}
		return "", fmt.Errorf("read wrapped secret id: %w", err)
	}
	if c.wrapped.secretID != "" && wrapper == c.wrapped.wrapper {
		return c.wrapped.secretID, nil
	}
	secretID, err := c.unwrap(ctx, wrapper)
	if err != nil {
		return "", fmt.Errorf("unwrap secret id: %w", err)
	}
	c.wrapped = unwrapped{wrapper: wrapper, secretID: secretID}
	return secretID, nil
}

// unwrap opens a response-wrapping token, which works once
// (https://developer.hashicorp.com/vault/docs/concepts/response-wrapping,
// "Response wrapping token validation"): that it is spent means that somebody
// else has the secret id, or this program before its restart.
func (c *CA) unwrap(ctx context.Context, wrapper string) (string, error) {
	client, err := c.as("")
	if err != nil {
		return "", err
	}
	about, err := client.Logical().WriteWithContext(ctx, "sys/wrapping/lookup", map[string]any{"token": wrapper})
	if err != nil {
		return "", spent(err)
	}
	path := ""
	if about != nil {
		path, _ = about.Data["creation_path"].(string)
	}
	// What was wrapped elsewhere may be a secret id of the attacker's choice.
	if !strings.HasPrefix(path, "auth/"+c.config.AppRole.Mount+"/role/") || !strings.HasSuffix(path, "/secret-id") {
		return "", fmt.Errorf("%w: the token was not made by an AppRole of %s", errLocal, c.config.AppRole.Mount)
	}
	secret, err := client.Logical().UnwrapWithContext(ctx, wrapper)
	if err != nil {
		return "", spent(err)
	}
	secretID := ""
	if secret != nil {
		secretID, _ = secret.Data["secret_id"].(string)
	}
	if secretID == "" {
		return "", fmt.Errorf("%w: the token holds no secret id", errLocal)
	}
	return secretID, nil
}

func spent(err error) error {
	var answer *api.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest {
		return fmt.Errorf("%w: the wrapping token is spent or has expired: if this service did not open it, somebody else has the secret id, so destroy that and make a new one: %w",
			errLocal, sentence(answer))
	}
	return err
}
