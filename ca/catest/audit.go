package catest

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// EnableAudit has the server write every request and answer, in the clear, to a
// file in dir: its own record, kept by nobody under test. Vault refuses whatever
// it cannot record
// (https://developer.hashicorp.com/vault/docs/audit, "Blocked audit devices").
func (s *VaultServer) EnableAudit(t testing.TB, dir string) {
	t.Helper()
	s.audit = filepath.Join(dir, "vault-audit.log")
	err := s.call(t.Context(), http.MethodPut, "sys/audit/file", map[string]any{
		"type": "file", "options": map[string]string{"file_path": s.audit, "log_raw": "true"},
	}, nil)
	if err != nil {
		t.Fatalf("enable Vault's audit device: %v", err)
	}
}

// entry is what is read of a line of the audit device
// (https://developer.hashicorp.com/vault/docs/audit/schema).
type entry struct {
	Type    string `json:"type"`
	Error   string `json:"error"`
	Request struct {
		Path string `json:"path"`
	} `json:"request"`
	Response struct {
		Data struct {
			Certificate string `json:"certificate"`
		} `json:"data"`
	} `json:"response"`
}

// SignedCertificates are all certificates that the server signed with a role, in
// order, by its audit device.
func (s *VaultServer) SignedCertificates(t testing.TB) []*x509.Certificate {
	t.Helper()
	var signed []*x509.Certificate
	s.audited(t, func(e entry) {
		if e.Type != "response" || e.Error != "" || !strings.Contains(e.Request.Path, "/sign/") {
			return
		}
		block, _ := pem.Decode([]byte(e.Response.Data.Certificate))
		if block == nil {
			return // refused
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatalf("read Vault's audit log: %v", err)
		}
		signed = append(signed, certificate)
	})
	return signed
}

// SignRequests counts the requests to sign with a role that reached the server,
// whatever it answered.
func (s *VaultServer) SignRequests(t testing.TB) (n int) {
	t.Helper()
	s.audited(t, func(e entry) {
		if e.Type == "request" && strings.Contains(e.Request.Path, "/sign/") {
			n++
		}
	})
	return n
}

func (s *VaultServer) audited(t testing.TB, each func(entry)) {
	t.Helper()
	file, err := os.Open(s.audit)
	if err != nil {
		t.Fatalf("read Vault's audit log: %v", err)
	}
	defer file.Close()
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e entry
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("read Vault's audit log: %v", err)
			}
			each(e)
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("read Vault's audit log: %v", err)
		}
	}
}
