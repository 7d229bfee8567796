package client

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Conformance is the command line that the TUF community's client conformance
// suite drives (its CLIENT-CLI.md):
//
//	--metadata-dir D init ROOT
//	--metadata-url U --metadata-dir D refresh
//	--metadata-url U --metadata-dir D --target-name T --target-dir X --target-base-url B download
//
// It returns the exit status: 0 if all of it was done, else 1. A download is
// stored in X under its target name, URL-escaped to one file name.
func Conformance(args []string, stdout, stderr io.Writer, now func() time.Time) int {
	if err := conformance(args, stdout, stderr, now); err != nil {
		fmt.Fprintf(stderr, "tuf: %v\n", err)
		return 1
	}
	return 0
}

func conformance(args []string, stdout, stderr io.Writer, now func() time.Time) error {
	flags := flag.NewFlagSet("tuf", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("metadata-dir", "", "`directory` of trusted metadata")
	metadataURL := flags.String("metadata-url", "", "base `address` of the repository's metadata")
	name := flags.String("target-name", "", "`path` of the target to download")
	targetDir := flags.String("target-dir", "", "`directory` to store the target in")
	targetURL := flags.String("target-base-url", "", "base `address` of the repository's targets")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("--metadata-dir is required")
	}
	verb := flags.Arg(0)
	if (verb == "init") != (flags.NArg() == 2) || flags.NArg() < 1 {
		return errors.New("usage: [options] init ROOT | refresh | download")
	}
	if verb == "init" {
		return initDir(*dir, flags.Arg(1))
	}
	if verb != "refresh" && verb != "download" {
		return fmt.Errorf("unknown command %q", verb)
	}
	c, err := New(Config{Dir: *dir, MetadataURL: *metadataURL, TargetsURL: *targetURL, Now: now})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := c.Refresh(ctx); err != nil {
		return err
	}
	if verb == "refresh" {
		return nil
	}
	if *name == "" || *targetDir == "" || *targetURL == "" {
		return errors.New("download needs --target-name, --target-dir and --target-base-url")
	}
	dest := filepath.Join(*targetDir, url.PathEscape(*name))
	if err := c.Download(ctx, *name, dest, nil); err != nil {
		return err
	}
	fmt.Fprintln(stdout, dest)
	return nil
}

// initDir makes the given root the trusted one. No network.
func initDir(dir, rootFile string) error {
	f, err := os.Open(rootFile)
	if err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	defer f.Close()
	limit := withDefaults(Config{}).Limits.Root
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	if int64(len(data)) > limit {
		return failf(CodeTooLarge, metadata.ROOT, "more than %d bytes", limit)
	}
	if _, err := parseRoot(data); err != nil {
		return classify(metadata.ROOT, err)
	}
	s := store{dir: dir}
	if err := s.init(); err != nil {
		return err
	}
	return s.write(metadata.ROOT, data)
}
