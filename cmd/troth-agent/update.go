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
	"strings"
	"syscall"
	"time"

	"troth/internal/agent"
	"troth/internal/agent/install"
	"troth/internal/agent/slot"
	"troth/internal/version"
	"troth/tuf/client"
)

// updateOnce installs a release without a service.
func updateOnce(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("troth-agent update", flag.ContinueOnError)
	var by installing
	by.flags(f)
	o := agent.Once{UserAgent: "troth-agent/" + version.String(), Now: time.Now}
	f.StringVar(&o.StateDir, "state-dir", defaultStateDir, "the agent's own `directory`")
	f.StringVar(&o.TUFRoot, "tuf-root", "", "`file` of the first TUF root to trust")
	f.StringVar(&o.Model, "model", "", "hardware `model`")
	f.StringVar(&o.Target, "target", "", "`name` of the target; without it the newest release of the model")
	f.Func("from", "base `URL` of the repository, https://… or file:///…; more than once for mirrors", func(s string) error {
		o.From = append(o.From, strings.TrimRight(s, "/"))
		return nil
	})
	f.Func("bundle", "exported repository, a `file` as \"troth tuf export\" writes it, or a directory; more than once, and beside --from", func(s string) error {
		from, err := bundleURL(s)
		o.From = append(o.From, from)
		return err
	})
	f.SetOutput(stderr)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return done
	} else if err != nil {
		return usedWrong
	}
	var err error
	o.Installer, err = by.installer(o.StateDir)
	switch {
	case err != nil:
	case f.NArg() > 0 || o.TUFRoot == "" || o.Model == "" || len(o.From) == 0:
		err = errors.New("update needs --tuf-root, --model and --from or --bundle, and takes no arguments")
	case o.Installer == nil:
		err = errors.New("update needs --slots, --rauc, --swupdate or --install-hook")
	}
	if err != nil {
		fmt.Fprintln(stderr, "troth-agent:", err)
		return usedWrong
	}
	o.Downloaded = func(took client.Transfer) { printTransfer(took, stdout, stderr) }
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	installed, err := o.Update(ctx)
	switch {
	case errors.Is(err, agent.ErrNothingNew):
		fmt.Fprintln(stdout, "nothing to do:", err)
		return done
	case err != nil:
		fmt.Fprintln(stderr, "troth-agent:", err)
		return failed
	}
	fmt.Fprintf(stdout, "release %s is installed and boots next, on trial\n", installed.Version)
	return done
}

// bundleURL is the address of a repository that somebody brought.
func bundleURL(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return "file://" + path, nil
	}
	return "bundle://" + path, nil
}

// printTransfer says what was saved, and what was not.
func printTransfer(took client.Transfer, stdout, stderr io.Writer) {
	if took.Trouble != nil {
		fmt.Fprintln(stderr, "troth-agent: more is downloaded than what changed:", took.Trouble)
	}
	fmt.Fprintf(stdout, "fetched %d bytes for a release of %d; %d were here\n", took.Fetched, took.Length, took.Reused)
}

const slotsUsage = `Usage: troth-agent slots VERB FLAGS

  status    which slot runs, what is in it, and whether it is on trial
  confirm   what runs works: it boots from now on
  revert    what runs, on trial, is given up: the other one boots next

For slots that Troth keeps itself (--slots, --slot-devices):
  boot      for an initramfs or boot script: decide what boots now, print its path
  format    write --image to slot a, which boots
  adopt     slot --slot holds --length bytes that run already

`

// slotsOptions is what the verbs of slots take.
type slotsOptions struct {
	by       installing
	stateDir string
	image    string
	slot     string
	length   int64
	version  string
	counter  uint64
}

func (o *slotsOptions) parse(args []string, stderr io.Writer) error {
	f := flag.NewFlagSet("troth-agent slots", flag.ContinueOnError)
	o.by.flags(f)
	f.StringVar(&o.stateDir, "state-dir", defaultStateDir, "the agent's own `directory`")
	f.StringVar(&o.image, "image", "", "`file` to format slot a with")
	f.StringVar(&o.slot, "slot", "a", "`slot` to adopt, a or b")
	f.Int64Var(&o.length, "length", 0, "`bytes` of the image to adopt; 0: all there are")
	f.StringVar(&o.version, "version", "", "`version` of the release to format with or to adopt")
	f.Uint64Var(&o.counter, "counter", 0, "its release `counter`")
	f.SetOutput(stderr)
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return errors.New("slots takes one verb, then flags")
	}
	return nil
}

// slots looks at the firmware slots, and does what a boot script needs.
func slots(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		fmt.Fprint(stderr, slotsUsage)
		return usedWrong
	}
	var o slotsOptions
	err := o.parse(args[1:], stderr)
	if errors.Is(err, flag.ErrHelp) {
		return done
	}
	var use install.Installer
	if err == nil {
		use, err = o.by.installer(o.stateDir)
	}
	if err == nil && use == nil {
		err = errors.New("slots needs --slots, --rauc, --swupdate or --install-hook")
	}
	if err != nil {
		fmt.Fprintln(stderr, "troth-agent:", err)
		return usedWrong
	}
	switch args[0] {
	case "status":
		err = printStatus(use, stdout)
	case "confirm":
		err = use.Confirm()
	case "revert":
		err = use.Revert()
	case "boot":
		err = boot(&o.by, stdout, stderr)
	case "format":
		err = format(&o.by, o.image, o.version, o.counter)
	case "adopt":
		err = adopt(&o)
	default:
		fmt.Fprint(stderr, slotsUsage)
		return usedWrong
	}
	if err != nil {
		fmt.Fprintln(stderr, "troth-agent:", err)
		return failed
	}
	return done
}

func adopt(o *slotsOptions) error {
	pair, err := o.by.pair()
	if err != nil {
		return err
	}
	return pair.Adopt(o.slot, o.length, o.version, o.counter)
}

func printStatus(use install.Installer, stdout io.Writer) error {
	s, name, trial, err := use.Running()
	if err != nil && !errors.Is(err, slot.ErrGivenUp) {
		return err
	}
	state := "good"
	switch {
	case err != nil:
		state = "given up"
	case trial:
		state = "on trial"
	}
	if s.Version == "" {
		s.Version = "unknown"
	}
	_, err = fmt.Fprintf(stdout, "slot %s runs release %s, counter %d: %s\n", name, s.Version, s.Counter, state)
	return err
}

// boot prints a path wherever there is one: whatever else is wrong, it boots.
func boot(by *installing, stdout, stderr io.Writer) error {
	pair, err := by.pair()
	if err != nil {
		return err
	}
	path, err := pair.Boot()
	if errors.Is(err, slot.ErrUncounted) {
		fmt.Fprintln(stderr, "troth-agent:", err)
		err = nil
	}
	if err == nil {
		_, err = fmt.Fprintln(stdout, path)
	}
	return err
}

func format(by *installing, image, release string, counter uint64) error {
	pair, err := by.pair()
	if err != nil {
		return err
	}
	f, err := os.Open(image)
	if err != nil {
		return fmt.Errorf("open --image: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	return pair.Format(f, release, counter)
}
