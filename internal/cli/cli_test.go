package cli_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"troth/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"troth": func() {
			os.Exit(cli.Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestScripts runs the program against a stateful fake of the operator API.
// A script finds in its environment SERVER and CA of its own fake, STRANGER (a
// server signed by somebody else) and NOBODY (an address where none listens).
// Commands of its own: status N ARGS... runs troth and wants exit status N;
// harmless FILE wants no byte that a terminal would obey; posts N wants N
// requests that would have changed something.
func TestScripts(t *testing.T) { runScripts(t, "testdata/fleet") }

// TestAttack_S3_HostileWordsReachNoTerminal has devices, files and servers speak
// in control bytes.
func TestAttack_S3_HostileWordsReachNoTerminal(t *testing.T) { runScripts(t, "testdata/attack") }

func runScripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			server := httptest.NewTLSServer(newFakeServer().handler())
			env.Defer(server.Close)
			gone := httptest.NewServer(http.NotFoundHandler())
			gone.Close()
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			if err := os.WriteFile(filepath.Join(env.WorkDir, "ca.pem"), ca, 0o600); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(env.WorkDir, "hostile.csv"), hostileCSV(), 0o600); err != nil {
				return err
			}
			env.Setenv("SERVER", server.URL)
			env.Setenv("NOBODY", gone.URL)
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("USER", "root")
			env.Setenv("BOOTSTRAP", bootstrapToken)
			env.Setenv("ADMIN", adminToken)
			env.Values["server"] = server
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":   status,
			"harmless": harmless,
			"posts":    posts,
			"login":    login,
		},
	})
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: status N ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("troth", args[1:]...)
	got := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("run troth: %v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func login(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("TROTH_TOKEN", adminToken)
	ts.Setenv("TROTH_SERVER", ts.Getenv("SERVER"))
	ts.Setenv("TROTH_CA", filepath.Join(ts.Getenv("WORK"), "ca.pem"))
}

func harmless(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	for _, r := range text {
		if r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u202e') {
			ts.Fatalf("%s has the character %U", args[0], r)
		}
	}
}

func posts(ts *testscript.TestScript, _ bool, args []string) {
	server := ts.Value("server").(*httptest.Server)
	req, err := http.NewRequest(http.MethodGet, server.URL+"/posts", nil)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := server.Client().Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	var got bytes.Buffer
	_, err = got.ReadFrom(resp.Body)
	ts.Check(err)
	if got.String() != args[0] {
		ts.Fatalf("%s requests changed something, want %s", got.String(), args[0])
	}
}

// hostileCSV has a good line among lines that each go wrong in their own way.
func hostileCSV() []byte {
	hash := func(c string) string { return string(bytes.Repeat([]byte(c), 64)) }
	return []byte("\ufeffek_hash,name,model,labels\n" +
		hash("a") + ",press-7,edge-100,site=kiel;line=4\n" + // 2: good
		hash("b") + ",\x1b[2Jevil,edge-100,\n" + // 3: terminal control
		"nothex,x,edge-100,\n" + // 4
		hash("c") + ",x\n" + // 5: too few fields
		hash("a") + ",again,edge-100,\n" + // 6: twice
		hash("d") + ",x,../../etc,\n" + // 7: model
		hash("e") + ",\"two\nlines\",edge-100,\n" + // 8: a name of two lines
		hash("f") + ",x,edge-100,site\n" + // 10: label
		hash("1") + ",\xff\xfe,edge-100,\n" + // 11: not UTF-8
		hash("2") + ",a\"b,edge-100,\n") // 12: a bare quote
}
