package sim

import (
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// contextToken is the token of the current context in a configuration file of
// the command line.
func contextToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read contexts: %w", err)
	}
	var c struct {
		Current  string `json:"current"`
		Contexts map[string]struct {
			Token string `json:"token"`
		} `json:"contexts"`
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		return "", fmt.Errorf("read contexts: %w", err)
	}
	token := c.Contexts[c.Current].Token
	if token == "" {
		return "", errors.New("read contexts: the current one holds no token")
	}
	return token, nil
}
