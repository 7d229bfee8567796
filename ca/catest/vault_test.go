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
