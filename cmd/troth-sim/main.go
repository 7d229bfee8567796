// Command troth-sim runs simulated devices on software TPMs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
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
  troth-sim run --dir DIR --model M --image FILE --server URL --server-ca FILE --tuf-root FILE [--count N]
        N devices of a model, until told to stop
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
	case "run":
		err = devices(ctx, args, stdout, stderr)
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

func devices(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := sim.RunConfig{Out: stdout, Log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	f := flag.NewFlagSet("troth-sim run", flag.ContinueOnError)
	f.StringVar(&c.Dir, "dir", "", "`directory` of the devices; must not exist")
	f.IntVar(&c.Count, "count", 1, "`number` of devices")
	f.StringVar(&c.Model, "model", "", "hardware `model`")
	f.StringVar(&c.Image, "image", "", "`file` of the firmware that the factory installs")
	f.Uint64Var(&c.Counter, "counter", 1, "release counter of that firmware")
	f.StringVar(&c.Server, "server", "", "base `URL` of trothd")
	f.StringVar(&c.ServerCA, "server-ca", "", "PEM `file` of the CA of trothd's certificate")
	f.StringVar(&c.TUFRoot, "tuf-root", "", "`file` of the first TUF root to trust")
	if err := parse(f, args, stderr); err != nil {
		return err
	}
	for _, v := range []string{c.Dir, c.Model, c.Image, c.Server, c.ServerCA, c.TUFRoot} {
		if v == "" {
			fmt.Fprintln(stderr, "troth-sim run: --dir, --model, --image, --server, --server-ca and --tuf-root are needed")
			return errUsage
		}
	}
	return sim.Run(ctx, c)
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
