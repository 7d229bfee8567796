package server_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/ca/local"
	"troth/internal/server"
)

// A service's CA is encrypted at the first start with a passphrase, does not start
// with another one, and the passphrase can be changed.
func TestPassphraseOfTheCA(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	with := func(passphrase string) server.Config {
		c := server.Config{DataDir: filepath.Join(dir, "data")}
		c.Certificates.PassphraseFile = passphrase
		return c
	}
	open := func(c server.Config) error {
		s, err := server.New(t.Context(), c, "test", slog.New(slog.DiscardHandler))
		if err == nil {
			err = s.Close()
		}
		return err
	}
	first, second := file("first", "the first passphrase\n"), file("second", "the second passphrase\n")
	refused := func(c server.Config, code string) {
		t.Helper()
		if err := open(c); err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("start = %v, want %s", err, code)
		}
	}
	for _, c := range []server.Config{with(""), with(first), with(first)} {
		if err := open(c); err != nil {
			t.Fatal(err)
		}
	}
	refused(with(""), local.CodePassphraseMissing)
	refused(with(second), local.CodePassphraseWrong)
	refused(with(file("short", "short")), local.CodePassphraseShort)
	refused(with(filepath.Join(dir, "absent")), "no such file")
	if err := server.ChangePassphrase(with(second), first); err == nil {
		t.Error("the passphrase was changed by one who does not know it")
	}
	if err := server.ChangePassphrase(with(first), second); err != nil {
		t.Fatal(err)
	}
	refused(with(first), local.CodePassphraseWrong)
	if err := open(with(second)); err != nil {
		t.Error(err)
	}
	wrong := with(second)
	wrong.PublicURL = "troth.example/"
	refused(wrong, "public_url")
}
