// Command troth-sim runs simulated devices on software TPMs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"troth/internal/sim"
)

const usage = `troth-sim runs simulated devices: a software TPM each, measured boot, two slots, the real agent.

Usage:
  troth-sim demo [--dir DIR] [--bin DIR] [--keep]
        the main job, start to end; the exit status says whether all of it held
  troth-sim image --model M --version V --out FILE
        a firmware image, and its reference values in FILE.pcrs.json
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit status: 0 done, 1 something did not hold, 2 used wrongly,
// 3 could not be decided.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	var err error
	switch verb {
	case "demo":
		err = demo(ctx, args, stdout, stderr)
	case "image":
		err = image(args, stderr)
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	default:
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintln(stderr, "troth-sim:", err)
	if errors.Is(err, sim.ErrDemo) {
		return 1
	}
	return 3
}

// errUsage was already told.
var errUsage = errors.New("usage")

func parse(f *flag.FlagSet, args []string, stderr io.Writer) error {
	f.SetOutput(stderr)
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil || f.NArg() > 0:
		return errUsage
	}
	return nil
}

func demo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := sim.DemoConfig{Out: stdout}
	f := flag.NewFlagSet("troth-sim demo", flag.ContinueOnError)
	f.StringVar(&c.Dir, "dir", "demo-data", "`directory` of everything that the demo leaves; made anew")
	f.StringVar(&c.Bin, "bin", besides(), "`directory` of trothd and troth")
	f.BoolVar(&c.Keep, "keep", false, "leave everything running at the end")
	if err := parse(f, args, stderr); err != nil {
		return err
	}
	return sim.Demo(ctx, c)
}

// besides is the directory of this program.
func besides() string {
	self, err := os.Executable()
	if err != nil {
		return "."
	}
	return filepath.Dir(self)
}

func image(args []string, stderr io.Writer) error {
	var model, version, out string
	f := flag.NewFlagSet("troth-sim image", flag.ContinueOnError)
	f.StringVar(&model, "model", "", "hardware `model`")
	f.StringVar(&version, "version", "", "release `version`")
	f.StringVar(&out, "out", "", "`file` to write")
	if err := parse(f, args, stderr); err != nil {
		return err
	}
	if model == "" || version == "" || out == "" {
		fmt.Fprintln(stderr, "troth-sim image: --model, --version and --out are needed")
		return errUsage
	}
	content, reference, err := sim.Image(model, version)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, content, 0o600); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	if err := os.WriteFile(out+".pcrs.json", reference, 0o600); err != nil {
		return fmt.Errorf("write reference values: %w", err)
	}
	return nil
}
