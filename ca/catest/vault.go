package catest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// VaultServer is a running Vault server on the loopback interface: `vault server
// -dev` with storage in memory, or one that StartVaultOnDisk started.
type VaultServer struct {
	Addr   string // http://127.0.0.1:PORT, or https
	Token  string // the root token
	CACert string // with TLS, the file of the root to trust
	Binary string // the program, for its command line

	dir     string // its working directory
	args    []string
	key     string // to unseal with; empty: in the output of -dev
	audit   string // file of the audit device; empty: none
	client  *http.Client
	process *os.Process
	output  *buffer
	done    chan struct{} // closed when the process has ended
}

// StartVault starts a Vault server for one test and returns its address and its
// root token. Without a Vault binary the test is skipped: tools/vault/build.sh
// builds one, and TROTH_VAULT names one elsewhere.
func StartVault(t testing.TB) (addr, token string) {
	t.Helper()
	server := StartVaultServer(t)
	return server.Addr, server.Token
}

// StartVaultServer is StartVault for tests that also seal or kill the server.
func StartVaultServer(t testing.TB) *VaultServer {
	t.Helper()
	return start(t, false)
}

// StartVaultTLS is StartVaultServer with TLS, as client certificates need it.
func StartVaultTLS(t testing.TB) *VaultServer {
	t.Helper()
	return start(t, true)
}

func start(t testing.TB, secure bool) *VaultServer {
	t.Helper()
	binary := vaultBinary(t)
	var err error
	// Another process may take the free port before Vault does.
	for range 3 {
		var server *VaultServer
		if server, err = startVault(t, binary, secure); err == nil {
			return server
		}
	}
	t.Fatal(err)
	return nil
}

func vaultBinary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("TROTH_VAULT"); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			t.Fatalf("TROTH_VAULT: %v", err)
		}
		return path
	}
	root, err := projectRoot()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, ".cache", "bin", "vault")
	if _, err := exec.LookPath(path); err != nil {
		t.Skip("NOT TESTED: there is no Vault binary; build one with tools/vault/build.sh or name one in TROTH_VAULT")
	}
	return path
}

// projectRoot is the directory with this module's go.mod, above the directory
// of the package under test.
func projectRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(data, []byte("module troth\n")) {
			return dir, nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return "", errors.New("find project root: no go.mod of module troth above the working directory")
	}
}

func startVault(t testing.TB, binary string, secure bool) (*VaultServer, error) {
	t.Helper()
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	server := &VaultServer{
		Addr: "http://" + address, Token: randomHex(), Binary: binary,
		client: &http.Client{Transport: &http.Transport{}}, output: &buffer{},
	}
	dir := t.TempDir()
	args := []string{"server", "-dev", "-dev-no-store-token", "-dev-listen-address=" + address}
	if secure {
		server.Addr, server.CACert = "https://"+address, filepath.Join(dir, "vault-ca.pem")
		args = append(args, "-dev-tls", "-dev-tls-cert-dir="+dir)
	}
	server.dir, server.args = dir, args
	if err := server.run(); err != nil {
		return nil, err
	}
	t.Cleanup(server.Kill)
	if err := server.waitUnsealed(t.Context()); err != nil {
		server.Kill()
		return nil, err
	}
	return server, nil
}

// run starts the process.
func (s *VaultServer) run() error {
	command := exec.Command(s.Binary, s.args...)
	command.Dir = s.dir
	command.Env = []string{
		"HOME=" + s.dir, "TMPDIR=" + s.dir, "PATH=" + os.Getenv("PATH"),
		"VAULT_DEV_ROOT_TOKEN_ID=" + s.Token, // read by -dev only
	}
	command.Stdout, command.Stderr = s.output, s.output
	command.SysProcAttr = dieWithParent()

	done := make(chan struct{})
	started := make(chan error)
	go func() {
		// The kernel's parent-death signal goes by thread, so the thread that
		// starts the server must stay for as long as the server does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // a killed server has no better answer
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start Vault: %w", err)
	}
	s.process, s.done = command.Process, done
	return nil
}

// PID is the id of the server's process, for what it costs.
func (s *VaultServer) PID() int { return s.process.Pid }

// trustOwn makes the server's own root trusted, once it has written it.
func (s *VaultServer) trustOwn() {
	if text, err := os.ReadFile(s.CACert); err == nil {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		s.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}}
	}
}

func (s *VaultServer) waitUnsealed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if s.CACert != "" {
			s.trustOwn()
		}
		var health struct {
			Initialized bool `json:"initialized"`
			Sealed      bool `json:"sealed"`
		}
		// The token is looked up as well: the server is unsealed a moment
		// before its root token exists.
		err := s.call(ctx, http.MethodGet, "sys/health", nil, &health)
		if err == nil && health.Initialized && !health.Sealed &&
			s.call(ctx, http.MethodGet, "auth/token/lookup-self", nil, nil) == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("start Vault: it ended: %s", s.output)
		case <-ctx.Done():
			return fmt.Errorf("start Vault: not unsealed within a minute: %s", s.output)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Kill ends the server at once (SIGKILL). It may be called again.
func (s *VaultServer) Kill() {
	select {
	case <-s.done:
	default:
		_ = s.process.Kill() // it may just have ended by itself
		<-s.done
	}
}

// Seal seals the server: it answers, and serves nothing.
func (s *VaultServer) Seal(t testing.TB) {
	t.Helper()
	if err := s.call(t.Context(), http.MethodPut, "sys/seal", nil, nil); err != nil {
		t.Fatalf("seal Vault: %v", err)
	}
}

// Unseal undoes Seal, and opens a server on disk that was restarted.
func (s *VaultServer) Unseal(t testing.TB) {
	t.Helper()
	key := s.key
	if key == "" {
		_, after, found := strings.Cut(s.output.String(), "Unseal Key: ")
		if !found {
			t.Fatal("unseal Vault: it printed no key")
		}
		key, _, _ = strings.Cut(after, "\n")
	}
	if err := s.call(t.Context(), http.MethodPut, "sys/unseal", map[string]string{"key": strings.TrimSpace(key)}, nil); err != nil {
		t.Fatalf("unseal Vault: %v", err)
	}
	if err := s.waitUnsealed(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// call speaks Vault's HTTP API without its client, which tests of ca/vault look
// at and other tests have no need to link.
func (s *VaultServer) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, s.Addr+"/v1/"+path, &body)
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", s.Token)
	request.Close = true
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return fmt.Errorf("vault answers %s", response.Status)
	}
	if out != nil {
		return json.NewDecoder(response.Body).Decode(out)
	}
	return nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func randomHex() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
	return hex.EncodeToString(raw[:])
}

// buffer collects the output of a process while others read it.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}
