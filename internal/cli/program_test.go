package cli_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"troth/internal/cli"
)

// run executes one command line in this process, away from its environment.
func run(t testing.TB, env map[string]string, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := cli.Program{
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
		Now:    func() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) },
		Getenv: func(name string) string { return env[name] },
	}
	status = p.Run(context.Background(), args)
	return status, out.String(), errs.String()
}

var listed = regexp.MustCompile(`(?m)^  ([a-z-]+) +\S`)

// TestEveryCommandExplainsItself walks all commands by what their help lists.
func TestEveryCommandExplainsItself(t *testing.T) {
	var walk func(path []string) int
	walk = func(path []string) int {
		status, help, _ := run(t, nil, "", append(path, "--help")...)
		name := strings.Join(path, " ")
		if status != 0 || !strings.Contains(help, "\nUsage:\n") || !strings.Contains(help, "\nExamples:\n") {
			t.Errorf("troth %s: help has no usage or no example (status %d)", name, status)
		}
		if !strings.Contains(help, "troth "+name) {
			t.Errorf("troth %s: the help does not name the command", name)
		}
		_, below, ok := strings.Cut(help, "\nAvailable Commands:\n")
		if !ok {
			return 1
		}
		below, _, _ = strings.Cut(below, "\n\n")
		count := 0
		for _, m := range listed.FindAllStringSubmatch(below, -1) {
			if m[1] != "help" && m[1] != "completion" { // cobra's own
				count += walk(append(path[:len(path):len(path)], m[1]))
			}
		}
		return count
	}
	if n := walk(nil); n < 40 {
		t.Errorf("only %d commands were found", n)
	}
}

// TestAttack_S7_TokenIsNotSentElsewhere: neither a redirect nor another server's
// name on the command line makes the program hand out a context's token.
func TestAttack_S7_TokenIsNotSentElsewhere(t *testing.T) {
	var stolen atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			stolen.Add(1)
		}
	}))
	defer thief.Close()
	var redirected atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		redirected.Add(1)
		http.Redirect(w, r, thief.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	env := map[string]string{"TROTH_TOKEN": adminToken, "TROTH_CONFIG": filepath.Join(dir, "config.yaml")}
	for _, args := range [][]string{
		{"device", "list"}, {"device", "retire", "press-7", "--reason", "x"}, {"login"}, {"report", "compliance"},
	} {
		status, _, stderr := run(t, env, "", append(args, "--server", server.URL, "--ca", ca)...)
		if status != 3 {
			t.Errorf("%v: exit status %d, want 3: %s", args, status, stderr)
		}
	}
	if redirected.Load() == 0 {
		t.Error("the server was never asked")
	}

	conf := "current: prod\ncontexts:\n  prod:\n    server: " + server.URL + "\n    token: " + adminToken + "\n"
	must(t, os.WriteFile(env["TROTH_CONFIG"], []byte(conf), 0o600))
	env["TROTH_TOKEN"] = ""
	status, _, stderr := run(t, env, "", "device", "list", "--server", thief.URL)
	if status != 2 || !strings.Contains(stderr, "there is no token for") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	if stolen.Load() > 0 {
		t.Error("another server was sent the token")
	}
}

// TestTokensStayOutOfMessages: what is refused as a token is not repeated.
func TestTokensStayOutOfMessages(t *testing.T) {
	env := map[string]string{"TROTH_CONFIG": filepath.Join(t.TempDir(), "config.yaml"), "TROTH_SERVER": "https://127.0.0.1:1"}
	for _, token := range []string{"two words", "tab\tbed", "umläut", "new\nline"} {
		for _, format := range []string{"table", "json"} {
			_, stdout, stderr := run(t, env, "", "login", "--operator", "root", "-o", format, "--token", token)
			if strings.Contains(stdout+stderr, token) || !strings.Contains(stderr, "this is no token") {
				t.Errorf("%q: %s%s", token, stdout, stderr)
			}
		}
	}
}

// FuzzRegisterCSV: whatever a file holds, every complaint is one harmless line,
// and a file with any bad line gets no further.
func FuzzRegisterCSV(f *testing.F) {
	f.Add("ek_hash,name,model,labels\n" + strings.Repeat("a", 64) + ",press-7,edge-100,site=kiel;line=4\n")
	f.Add(string(hostileCSV()))
	f.Add("ek_hash\n\"")
	f.Add("\ufeffEK_HASH , labels\n\n,=;=\n")
	env := map[string]string{"TROTH_CONFIG": filepath.Join(f.TempDir(), "config.yaml")}
	f.Fuzz(func(t *testing.T, text string) {
		status, stdout, stderr := run(t, env, text, "device", "register", "--csv", "-")
		if status != 2 || stdout != "" {
			t.Fatalf("exit status %d, output %q", status, stdout)
		}
		for _, r := range stderr {
			if r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Fatalf("the complaint has %U: %q", r, stderr)
			}
		}
		good := strings.Contains(stderr, "(no_context)")
		if good == strings.Contains(stderr, "nothing was sent (csv_invalid)") {
			t.Fatalf("neither taken nor refused: %q", stderr)
		}
	})
}

// TestAges holds the words for spans of time.
func TestAges(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		ends time.Duration
		want string
	}{
		{0, "now"}, {500 * time.Millisecond, "now"}, {59 * time.Second, "in 59s"}, {90 * time.Second, "in 1m"},
		{47 * time.Hour, "in 47h"}, {48 * time.Hour, "in 2d"}, {800 * 24 * time.Hour, "in 2y"}, {-3 * time.Minute, "3m ago"},
	} {
		config := filepath.Join(t.TempDir(), "config.yaml")
		conf := "contexts:\n  prod:\n    server: https://x\n    token: t\n    expires_at: " + now.Add(c.ends).Format(time.RFC3339Nano) + "\n"
		must(t, os.WriteFile(config, []byte(conf), 0o600))
		_, stdout, stderr := run(t, map[string]string{"TROTH_CONFIG": config}, "", "context", "list")
		if !strings.HasSuffix(stdout, "  "+c.want+"\n") {
			t.Errorf("%s: want %q in %q%s", c.ends, c.want, stdout, stderr)
		}
	}
}
