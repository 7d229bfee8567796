package pgtest

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

//go:embed supervise.sh
var supervise string

// missingError says that PostgreSQL is not installed.
type missingError struct{ reason string }

func (e *missingError) Error() string { return e.reason }

// cluster is a running PostgreSQL cluster under a supervisor.
type cluster struct {
	bin   string // directory of the server programs
	dir   string // socket, data/ and log; removed by the supervisor
	as    *syscall.SysProcAttr
	close func() // ends the cluster and waits for it; idempotent
}

// start makes and starts a cluster.
func start() (*cluster, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	as, uid, gid, err := owner()
	if err != nil {
		return nil, err
	}
	// Not t.TempDir: a socket's path has to stay under 108 bytes, and the
	// directory has to outlive the test that happens to be the first.
	dir, err := os.MkdirTemp("", "trpg")
	if err != nil {
		return nil, fmt.Errorf("make cluster directory: %w", err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return nil, fmt.Errorf("give away cluster directory: %w", err)
	}
	c := &cluster{bin: bin, dir: dir, as: as}
	if err := c.supervise(); err != nil {
		return nil, err
	}
	return c, nil
}

// supervise starts the supervisor and waits until the server is ready.
func (c *cluster) supervise() error {
	cmd := exec.Command("sh", "-c", supervise, "supervise.sh", c.bin, c.dir)
	cmd.Dir = c.dir
	cmd.SysProcAttr = c.as
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		_ = os.RemoveAll(c.dir)
		return fmt.Errorf("start supervisor: %w", err)
	}
	c.close = sync.OnceFunc(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	said, err := readReady(stdout)
	if err != nil {
		c.close()
		return fmt.Errorf("start PostgreSQL in %s: %w\n%s", c.dir, err, said)
	}
	return nil
}

// readReady reads the supervisor's words until it says ready or failed.
func readReady(r io.Reader) (said string, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		switch lines.Text() {
		case "ready":
			return said, nil
		case "failed":
			return said, fmt.Errorf("the server did not start")
		}
		said += lines.Text() + "\n"
	}
	return said, fmt.Errorf("the supervisor ended: %w", lines.Err())
}

// control runs pg_ctl on the cluster and waits for it.
func (c *cluster) control(args ...string) error {
	cmd := exec.Command(c.bin+"/pg_ctl", append([]string{"-D", c.dir + "/data", "-w"}, args...)...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = c.as
	// No output buffer: a started server would inherit its pipe and hold it open.
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pg_ctl %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// programs finds the directory of initdb, newest version first. Debian keeps it
// out of the PATH.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if len(found) > 0 {
		return filepath.Dir(found[0]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", &missingError{"no PostgreSQL server programs (initdb) on this machine; tools/setup.sh test installs them"}
	}
	return filepath.Dir(path), nil
}

// owner says under whom the server runs. PostgreSQL refuses to be root, so root
// lends it the user postgres, or nobody. The session is new so that an interrupt
// at the terminal ends the tests and not the server under them.
func owner() (as *syscall.SysProcAttr, uid, gid int, err error) {
	as = &syscall.SysProcAttr{Setsid: true}
	if os.Getuid() != 0 {
		return as, os.Getuid(), os.Getgid(), nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, 0, 0, fmt.Errorf("find an unprivileged user for PostgreSQL: %w", err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, 0, 0, fmt.Errorf("read uid %q: %w", u.Uid, err)
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil, 0, 0, fmt.Errorf("read gid %q: %w", u.Gid, err)
	}
	as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return as, uid, gid, nil
}
