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

// options say where the pieces are.
type options struct {
	export, out, packages, roots string
	images                       imageFlags
}

func main() {
	var m manifest
	var o options
	flag.StringVar(&o.export, "export", "", "what the machine wrote to its second serial port")
	flag.StringVar(&o.out, "out", "", "directory of all captured evidence")
	flag.StringVar(&o.packages, "packages", "", "file with a package and its version on each line")
	flag.StringVar(&o.roots, "roots", "", "PEM file with the CA certificates of the TPM's manufacturer")
	flag.Var(&o.images, "image", "PACKAGE=FILE of an EFI image that was started; repeat in order")
	flag.StringVar(&m.Name, "name", "", "name of the scenario, and of its directory")
	flag.StringVar(&m.Title, "title", "", "what the machine was like")
	flag.StringVar(&m.Nonce, "nonce", "", "qualifying data of the quotes, hex")
	flag.Parse()
	if err := keep(o, m); err != nil {
		fmt.Fprintln(os.Stderr, "keeper:", err)
		os.Exit(1)
	}
}

// keep reads what the machine wrote and stores it below o.out.
func keep(o options, m manifest) error {
	text, err := os.ReadFile(o.export)
	if err != nil {
		return err
	}
	blocks, err := readBlocks(text)
	if err != nil {
		return err
	}
	if m.Roots, err = readText(o.roots); err != nil {
		return err
	}
	versions, err := readText(o.packages)
	if err != nil {
		return err
	}
	m.Packages = strings.Split(versions, "\n")
	m.Images = o.images
	m.CapturedAt = time.Now().UTC().Truncate(time.Second)
	if err := m.observe(blocks); err != nil {
		return err
	}
	return store(filepath.Join(o.out, m.Name), m, blocks)
}

func readText(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}
