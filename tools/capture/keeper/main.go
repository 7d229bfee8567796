// Command keeper stores what tools/capture/exporter wrote to the serial port of a
// captured machine, with a manifest of what is known about the machine from
// elsewhere than its logs: the files that were booted, the variables as the
// running kernel shows them, the command line. tools/capture/capture.sh runs it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "keeper:", err)
		os.Exit(1)
	}
}

// imageFlags collects -image PACKAGE=FILE, in the order of the boot.
type imageFlags []image

func (f *imageFlags) String() string { return "" }

func (f *imageFlags) Set(value string) error {
	from, path, ok := strings.Cut(value, "=")
	if !ok {
		return errors.New("not PACKAGE=FILE")
	}
	img, err := readImage(from, path)
	*f = append(*f, img)
	return err
}

func run() error {
	var (
		m        manifest
		images   imageFlags
		export   = flag.String("export", "", "what the machine wrote to its second serial port")
		out      = flag.String("out", "", "directory of all captured evidence")
		packages = flag.String("packages", "", "file with a package and its version on each line")
		roots    = flag.String("roots", "", "PEM file with the CA certificates of the TPM's manufacturer")
	)
	flag.StringVar(&m.Name, "name", "", "name of the scenario, and of its directory")
	flag.StringVar(&m.Title, "title", "", "what the machine was like")
	flag.StringVar(&m.Nonce, "nonce", "", "qualifying data of the quotes, hex")
	flag.Var(&images, "image", "PACKAGE=FILE of an EFI image that was started; repeat in order")
	flag.Parse()
	text, err := os.ReadFile(*export)
	if err != nil {
		return err
	}
	blocks, err := readBlocks(text)
	if err != nil {
		return err
	}
	if m.Roots, err = readText(*roots); err != nil {
		return err
	}
	versions, err := readText(*packages)
	if err != nil {
		return err
	}
	m.Packages = strings.Split(versions, "\n")
	m.Images = images
	m.CapturedAt = time.Now().UTC().Truncate(time.Second)
	if err := m.observe(blocks); err != nil {
		return err
	}
	return store(filepath.Join(*out, m.Name), m, blocks)
}

func readText(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}
