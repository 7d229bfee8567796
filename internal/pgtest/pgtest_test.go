package pgtest_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"troth/internal/pgtest"
)

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestNewDatabasesAreSeparate(t *testing.T) {
	a, b := pgtest.New(t), pgtest.New(t)
	if _, err := connect(t, a).Exec(t.Context(), "CREATE TABLE x (n int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, b).Exec(t.Context(), "SELECT * FROM x"); err == nil {
		t.Error("a table of one database is visible in another")
	}
}

func TestDatabaseIsDroppedUnderAnOpenConnection(t *testing.T) {
	var dsn string
	t.Run("inner", func(t *testing.T) {
		dsn = pgtest.New(t)
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn // left open on purpose: a test that leaks one must not block the rest
	})
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the database outlived its test")
	}
}

func TestServerStopsAndStartsAgain(t *testing.T) {
	s := pgtest.NewServer(t)
	dsn := s.Database()
	if _, err := connect(t, dsn).Exec(t.Context(), "CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		_ = conn.Close(t.Context())
		t.Fatal("a stopped server accepts connections")
	}
	s.Start()
	if _, err := connect(t, dsn).Exec(t.Context(), "SELECT * FROM kept"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// TestNothingIsLeftBehind starts a cluster in a child that then dies by kill -9,
// and waits for the cluster's directory to go.
func TestNothingIsLeftBehind(t *testing.T) {
	if os.Getenv("PGTEST_CHILD") == "1" {
		_, _ = os.Stdout.WriteString("dsn " + pgtest.New(t) + "\n")
		time.Sleep(time.Hour)
	}
	pgtest.New(t) // skips here, loudly, where there is no PostgreSQL
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.run=^TestNothingIsLeftBehind$")
	child.Env = append(os.Environ(), "PGTEST_CHILD=1")
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := stdout.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()

	dsn := strings.TrimSpace(strings.TrimPrefix(string(buf[:n]), "dsn "))
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	dir := u.Query().Get("host")
	if dir == "" {
		t.Fatalf("no directory in %q", dsn)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there after its owner was killed", dir)
		}
	}
}
