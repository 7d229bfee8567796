package catest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// StartVaultOnDisk starts a Vault server as production runs it: its storage is
// in files below dir, it begins uninitialized and sealed, and an audit device
// records every request (SignedCertificates reads it). It can be stopped and
// started again. It comes back unsealed here, for the first time only.
func StartVaultOnDisk(t testing.TB, dir string) *VaultServer {
	t.Helper()
	binary := vaultBinary(t)
	var err error
	for range 3 { // another process may take the free port before Vault does
		var server *VaultServer
		if server, err = onDisk(t, binary, dir); err == nil {
			return server
		}
	}
	t.Fatal(err)
	return nil
}

func onDisk(t testing.TB, binary, dir string) (*VaultServer, error) {
	t.Helper()
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	storage, err := os.MkdirTemp(dir, "vault")
	if err != nil {
		return nil, fmt.Errorf("make Vault's storage: %w", err)
	}
	home := t.TempDir()
	config := filepath.Join(home, "vault.hcl")
	text := fmt.Sprintf("storage \"file\" {\n  path = %q\n}\nlistener \"tcp\" {\n  address = %q\n  tls_disable = true\n}\napi_addr = \"http://%s\"\ndisable_mlock = true\n",
		storage, address, address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write Vault's configuration: %w", err)
	}
	server := &VaultServer{
		Addr: "http://" + address, Binary: binary, dir: home, args: []string{"server", "-config=" + config},
		client: &http.Client{Transport: &http.Transport{}}, output: &buffer{},
	}
	if err := server.run(); err != nil {
		return nil, err
	}
	t.Cleanup(server.Kill)
	if err := server.initialize(t.Context()); err != nil {
		server.Kill()
		return nil, err
	}
	server.EnableAudit(t, home)
	return server, nil
}

func (s *VaultServer) initialize(ctx context.Context) error {
	var made struct {
		Keys  []string `json:"keys"`
		Token string   `json:"root_token"`
	}
	err := s.eventually(ctx, "be initialized", func() error {
		return s.call(ctx, http.MethodPut, "sys/init", map[string]int{"secret_shares": 1, "secret_threshold": 1}, &made)
	})
	if err != nil {
		return err
	}
	if len(made.Keys) != 1 {
		return errors.New("initialize Vault: it gives not one key")
	}
	s.key, s.Token = made.Keys[0], made.Token
	if err := s.call(ctx, http.MethodPut, "sys/unseal", map[string]string{"key": s.key}, nil); err != nil {
		return fmt.Errorf("unseal Vault: %w", err)
	}
	return s.waitUnsealed(ctx)
}

// eventually repeats an attempt for as long as the server may take to serve.
func (s *VaultServer) eventually(ctx context.Context, what string, attempt func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := attempt()
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("start Vault: it ended: %s", s.output)
		case <-ctx.Done():
			return fmt.Errorf("start Vault: it does not %s within a minute: %w: %s", what, err, s.output)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the server in order (SIGTERM): it answers what it has begun.
func (s *VaultServer) Stop(t testing.TB) {
	t.Helper()
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stop Vault: %v", err)
	}
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		t.Fatalf("stop Vault: it does not end: %s", s.output)
	}
}

// Restart starts the server again, at the same address and on the same storage,
// after Stop or Kill. It is sealed, as every Vault is that nobody unseals.
func (s *VaultServer) Restart(t testing.TB) {
	t.Helper()
	if s.key == "" {
		t.Fatal("restart Vault: this one forgets everything when it stops")
	}
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
	err := s.eventually(t.Context(), "answer", func() error {
		var status struct {
			Sealed bool `json:"sealed"`
		}
		if err := s.call(t.Context(), http.MethodGet, "sys/seal-status", nil, &status); err != nil {
			return err
		}
		if !status.Sealed {
			return errors.New("it is not sealed")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
