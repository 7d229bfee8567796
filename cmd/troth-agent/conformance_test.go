package main

// The cases of the TUF community's client conformance suite
// (github.com/theupdateframework/tuf-conformance, its CLIENT-CLI.md), written anew:
// the suite itself is Python and is run where it can be had. Each drives the program
// as it is built, by its command line, against a simulated repository's server, and
// looks at what the suite looks at: exit status, the trusted metadata, what was
// downloaded, and what was asked for. Only where a case moves the clock does the test
// program stand in for the built one: a static program takes its time from nobody.
//
//	suite's file                       here (subtests have the suite's names)
//	test_basic.py                      TestConformanceBasic
//	test_expiration.py                 TestConformanceExpiration
//	test_delegated_expiration.py       TestConformanceExpiration
//	test_rollback.py                   TestConformanceRollback
//	test_keys.py                       TestConformanceKeys
//	test_updater_key_rotations.py      TestConformanceRootRotation, TestConformanceNonRootRotations
//	test_updater_delegation_graphs.py  TestConformanceDelegations
//	test_file_download.py              TestConformanceDownload
//	test_quoting_issues.py             TestConformanceQuoting
//	test_static_repositories.py        TestConformanceStaticRepository (another repository's files)
//	test_repository_simulator.py       none: it tests the suite's own server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"encoding/json"

	"troth/tuf/client"
)

// atTime is the clock of the test program, where it stands in for the built one.
const atTime = "TROTH_TEST_TIME"

// builtAgent is the program as it is released, built once.
var builtAgent = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // what all tests share
	dir, err := os.MkdirTemp("", "tragent")
	if err != nil {
		return "", err
	}
	builtDir = dir
	out := filepath.Join(dir, "troth-agent")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build troth-agent: %w\n%s", err, said)
	}
	return out, nil
})

var builtDir string //nolint:gochecknoglobals // TestMain removes it

// tufAt is the command line at another time.
func tufAt(args []string, at string, stdout, stderr io.Writer) int {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return usedWrong
	}
	return client.Conformance(args, stdout, stderr, func() time.Time { return t })
}

// conforming is a client with its directories, and the repository that it is of.
type conforming struct {
	*simulated
	t       *testing.T
	program string
	dir     string
	said    string // by the last run
}

func newConforming(t *testing.T) *conforming {
	t.Helper()
	program, err := builtAgent()
	if err != nil {
		t.Fatal(err)
	}
	c := &conforming{simulated: newSimulated(t), t: t, program: program, dir: t.TempDir()}
	for _, dir := range []string{"metadata", "targets"} {
		if err := os.Mkdir(filepath.Join(c.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// run gives the exit status, which is 0 or 1 and nothing else.
func (c *conforming) run(at time.Time, args ...string) int {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), c.program, append([]string{"tuf", "--metadata-dir", filepath.Join(c.dir, "metadata")}, args...)...)
	if !at.IsZero() {
		cmd.Path = os.Args[0]
		cmd.Env = append(os.Environ(), asAgent+"=1", atTime+"="+at.UTC().Format(time.RFC3339))
	}
	out, err := cmd.CombinedOutput()
	c.said = string(out)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return 1
	}
	c.t.Fatalf("%v: %v: %s", args, err, out)
	return -1
}

func (c *conforming) init(root []byte) int {
	c.t.Helper()
	file := filepath.Join(c.dir, "initial_root.json")
	if err := os.WriteFile(file, root, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return c.run(time.Time{}, "init", file)
}

// begin trusts the repository's first root; no request is made.
func (c *conforming) begin() {
	c.t.Helper()
	if c.init(c.published[rootRole][0]) != 0 {
		c.t.Fatalf("init: %s", c.said)
	}
	c.wantAsked()
}

func (c *conforming) refreshAt(at time.Time) int {
	c.t.Helper()
	return c.run(at, "--metadata-url", c.url+"/metadata", "refresh")
}

// refresh requires an exit status.
func (c *conforming) refresh(want int) {
	c.t.Helper()
	if got := c.refreshAt(time.Time{}); got != want {
		c.t.Fatalf("refresh ends with %d, want %d: %s", got, want, c.said)
	}
}

func (c *conforming) download(name string, want int) {
	c.t.Helper()
	c.downloadAt(time.Time{}, name, want)
}

func (c *conforming) downloadAt(at time.Time, name string, want int) {
	c.t.Helper()
	got := c.run(at, "--metadata-url", c.url+"/metadata", "--target-name", name,
		"--target-base-url", c.url+"/targets", "--target-dir", filepath.Join(c.dir, "targets"), "download")
	if got != want {
		c.t.Fatalf("download of %s ends with %d, want %d: %s", name, got, want, c.said)
	}
}

// version of a role that the client trusts; 0 if none.
func (c *conforming) version(role string) int64 {
	c.t.Helper()
	return versionIn(c.t, filepath.Join(c.dir, "metadata", role+".json"))
}

func versionIn(t *testing.T, file string) int64 {
	t.Helper()
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	var md struct {
		Signed struct {
			Version int64 `json:"version"`
		} `json:"signed"`
	}
	if err := json.Unmarshal(data, &md); err != nil {
		t.Fatal(err)
	}
	return md.Signed.Version
}

// trusts requires exactly these files in the metadata directory: "root 1".
func (c *conforming) trusts(want ...string) {
	c.t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.dir, "metadata"))
	if err != nil {
		c.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		role := strings.TrimSuffix(e.Name(), ".json")
		got = append(got, fmt.Sprint(role, " ", c.version(role)))
	}
	if !slices.Equal(got, want) {
		c.t.Errorf("trusts %q, want %q", got, want)
	}
}

// holds requires that the client stored the newest published bytes of roles.
func (c *conforming) holds(roles ...string) {
	c.t.Helper()
	for _, role := range roles {
		got, err := os.ReadFile(filepath.Join(c.dir, "metadata", role+".json"))
		if err != nil || string(got) != string(c.last(role)) {
			c.t.Errorf("%s is not kept as it was published: %v", role, err)
		}
	}
}

// has requires exactly these contents in the targets directory.
func (c *conforming) has(want ...string) {
	c.t.Helper()
	var got []string
	err := filepath.WalkDir(filepath.Join(c.dir, "targets"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		got = append(got, string(content))
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		c.t.Errorf("downloaded %q, want %q", got, want)
	}
}

// conform runs cases, each on a repository and with a client of its own.
func conform(t *testing.T, cases map[string]func(*conforming)) {
	t.Helper()
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newConforming(t))
		})
	}
}

const day = 24 * time.Hour

func past() time.Time { return time.Now().UTC().Add(-5 * day).Truncate(time.Second) }

func in(d time.Duration) time.Time { return time.Now().UTC().Add(d).Truncate(time.Second) }
