package catest_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"troth/ca/catest"
)

func TestStartVault(t *testing.T) {
	var address string
	t.Run("runs", func(t *testing.T) {
		server := catest.StartVaultServer(t)
		address = strings.TrimPrefix(server.Addr, "http://")
		server.Seal(t)
		server.Unseal(t)
	})
	if address == "" {
		t.Skip("NOT TESTED: there is no Vault binary")
	}
	if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		conn.Close()
		t.Error("Vault still listens after the test that started it")
	}
}

func TestStartVaultOnDisk(t *testing.T) {
	server := catest.StartVaultOnDisk(t, t.TempDir())
	for _, end := range []func(testing.TB){server.Stop, func(testing.TB) { server.Kill() }} {
		end(t)
		server.Restart(t)
		server.Unseal(t)
		// Its root token is in the storage: another process is the same Vault.
		server.Seal(t)
		server.Unseal(t)
	}
	if n := server.SignRequests(t); n != 0 {
		t.Errorf("%d sign requests of nobody", n)
	}
}
