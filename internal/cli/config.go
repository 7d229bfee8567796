package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
	"troth/internal/atomicfile"

	"sigs.k8s.io/yaml"
)

// config is the file of contexts. It holds tokens: it is written 0600, and not
// read where others may read it.
type config struct {
	Current  string                   `json:"current,omitempty"`
	Contexts map[string]configContext `json:"contexts,omitempty"`
}

// configContext is one server and who the operator is there.
type configContext struct {
	Server    string    `json:"server"`
	CA        string    `json:"ca,omitempty"` // PEM; empty: the system's roots
	Operator  string    `json:"operator"`
	Role      string    `json:"role"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

const maxConfig = 4 << 20

func (a *app) configPath() (string, error) {
	if p := a.Getenv("TROTH_CONFIG"); p != "" {
		return p, nil
	}
	dir := a.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := a.Getenv("HOME")
		if home == "" {
			return "", failf(exitUsage, codeConfig, "no place for contexts: set HOME or TROTH_CONFIG")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "troth", "config.yaml"), nil
}

// loadConfig reads the contexts; a file that is not there has none.
func (a *app) loadConfig() (config, error) {
	path, err := a.configPath()
	if err != nil {
		return config{}, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return config{}, nil
	}
	if err != nil {
		return config{}, failf(exitUsage, codeConfig, "contexts cannot be read: %s", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return config{}, failf(exitUsage, codeConfig, "contexts cannot be read: %s", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return config{}, failf(exitUsage, codeConfig, "others can read the tokens in %s: run chmod 600 on it", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err != nil {
		return config{}, failf(exitUsage, codeConfig, "contexts cannot be read: %s", err)
	}
	var c config
	if err := yaml.UnmarshalStrict(b, &c); err != nil {
		return config{}, failf(exitUsage, codeConfig, "%s is not a file of contexts: %s", path, err)
	}
	return c, nil
}

func (a *app) saveConfig(c config) error {
	path, err := a.configPath()
	if err != nil {
		return err
	}
	b, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode contexts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return failf(exitUndecided, codeConfig, "contexts cannot be kept: %s", err)
	}
	err = atomicfile.WriteFrom(path, 0o600, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return failf(exitUndecided, codeConfig, "contexts cannot be kept: %s", err)
	}
	return nil
}
