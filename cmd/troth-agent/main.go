// Command troth-agent runs on a device: it enrols, checks in and updates it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"troth/internal/agent"
	"troth/internal/agent/hostfacts"
	"troth/internal/version"
	"troth/tuf/client"
)

// Exit statuses.
const (
	done      = 0
	usedWrong = 2
	failed    = 3
	reboot    = 10 // --reboot was not given, and the device is to boot again
)

const usage = `troth-agent proves a device's state to a Troth service, and keeps its firmware current.

Usage:
  troth-agent run FLAGS       enrol where needed, then check in until told to stop
  troth-agent id [FLAGS]      the device's id: what "troth device register --ek-hash" takes
  troth-agent update FLAGS    install a release without a service, from a mirror or a USB stick
  troth-agent slots VERB      which firmware slot runs; confirm, revert, boot
  troth-agent tuf FLAGS VERB  a TUF client alone: init ROOT, refresh, download
  troth-agent version

Run "troth-agent run -h" for its flags.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "run":
		return runAgent(args, stderr)
	case "id":
		return printID(args, stdout, stderr)
	case "update":
		return updateOnce(args, stdout, stderr)
	case "slots":
		return slots(args, stdout, stderr)
	case "tuf":
		return client.Conformance(args, stdout, stderr, time.Now)
	case "version", "--version":
		fmt.Fprintln(stdout, "troth-agent", version.String())
		return done
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return done
	default:
		fmt.Fprint(stderr, usage)
		return usedWrong
	}
}

// printID says which device this TPM is.
func printID(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("troth-agent id", flag.ContinueOnError)
	spec := f.String("tpm", agent.DefaultTPM, "TPM `device`, or unix:PATH of a software TPM's socket")
	state := f.String("state-dir", defaultStateDir, "the agent's own `directory`: the id is that of the key it goes by")
	f.SetOutput(stderr)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return done
	} else if err != nil || f.NArg() > 0 {
		return usedWrong
	}
	id, err := agent.DeviceID(*spec, *state)
	if err != nil {
		fmt.Fprintln(stderr, "troth-agent:", err)
		return failed
	}
	fmt.Fprintln(stdout, id)
	return done
}

const defaultStateDir = "/var/lib/troth-agent"

type options struct {
	agent       agent.Config
	installing  installing
	healthCheck string
	reboot      string
	level       slog.Level
}

func flags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("troth-agent run", flag.ContinueOnError)
	f.StringVar(&o.agent.Server, "server", "", "base `URL` of the service, https://…")
	f.StringVar(&o.agent.ServerCA, "server-ca", "", "PEM `file` of the CA that the service's certificate comes from")
	f.StringVar(&o.agent.StateDir, "state-dir", defaultStateDir, "the agent's own `directory`")
	f.StringVar(&o.agent.TPM, "tpm", agent.DefaultTPM, "TPM `device`, or unix:PATH of a software TPM's socket")
	f.StringVar(&o.agent.Model, "model", "", "hardware `model`")
	f.StringVar(&o.agent.Name, "name", "", "what the device calls itself")
	f.StringVar(&o.agent.EventLog, "event-log", "/sys/kernel/security/tpm0/binary_bios_measurements", "`file` of the firmware's event log")
	f.StringVar(&o.agent.IMA, "ima", agent.DefaultIMA(), "`file` of the IMA measurement list, in binary or as text")
	f.StringVar(&o.agent.UserspaceLog, "userspace-log", agent.DefaultUserspaceLog(), "`file` of systemd's log of its own measurements, which continues the event log")
	o.installing.flags(f)
	f.StringVar(&o.agent.TUFRoot, "tuf-root", "", "`file` of the first TUF root to trust; needed to install")
	f.Func("mirror", "base `URL` of a copy of the service's repository, https://… or file:///…, with metadata/ and targets/ below it; images are fetched from there before the service is asked; more than once for several", func(s string) error {
		o.agent.Mirrors = append(o.agent.Mirrors, s)
		return nil
	})
	f.StringVar(&o.agent.ResultFile, "result-file", "", "`file` for the device's signed attestation result, written after each check-in; relative to --state-dir")
	f.StringVar(&o.agent.IDevIDChain, "idevid-chain", "", "`file` with the manufacturer's certificates for an IDevID or IAK, PEM or DER; without it those in the TPM's NV memory, if any, are shown")
	f.Func("idevid-handle", "persistent `handle` of that key; by default 0x81020000 and 0x81020001", func(s string) error {
		n, err := strconv.ParseUint(s, 0, 32)
		o.agent.IDevIDHandle = uint32(n)
		return err
	})
	f.DurationVar(&o.agent.ConfirmWithin, "confirm-within", 15*time.Minute, "how long a new slot has to prove itself")
	f.StringVar(&o.healthCheck, "health-check", "", "`command` that exits 0 if what booted works")
	f.StringVar(&o.reboot, "reboot", "", "`command` that reboots; without it the agent exits with status 10")
	f.TextVar(&o.level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	return f
}

func runAgent(args []string, stderr io.Writer) int {
	o := options{}
	f := flags(&o)
	f.SetOutput(stderr)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return done
	} else if err != nil {
		return usedWrong
	}
	if problem := check(o, f.Args()); problem != "" {
		fmt.Fprintln(stderr, "troth-agent:", problem)
		return usedWrong
	}
	installer, err := o.installing.installer(o.agent.StateDir)
	if err != nil {
		fmt.Fprintln(stderr, "troth-agent:", err)
		return usedWrong
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := o.agent
	c.Installer = installer
	c.Host = hostfacts.Local(o.agent.StateDir)
	c.Version, c.Now = version.String(), time.Now
	c.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.level}))
	if o.healthCheck != "" {
		c.HealthCheck = func(ctx context.Context) error { return shell(ctx, o.healthCheck) }
	}
	err = agent.Run(ctx, c)
	switch {
	case err == nil:
		return done
	case errors.Is(err, agent.ErrReboot) && o.reboot == "":
		return reboot
	case errors.Is(err, agent.ErrReboot):
		err = shell(context.WithoutCancel(ctx), o.reboot)
		if err == nil {
			return done
		}
	}
	c.Log.Error("agent stopped", "error", err)
	return failed
}

func check(o options, rest []string) string {
	switch {
	case len(rest) > 0:
		return "run takes no arguments, only flags"
	case o.agent.Server == "":
		return "--server is missing: which service should the device prove itself to?"
	case o.agent.ServerCA == "":
		return "--server-ca is missing: whom may the device believe as that service?"
	case o.agent.Model == "":
		return "--model is missing"
	case o.installing.given() && o.agent.TUFRoot == "":
		return "--tuf-root is missing: whose signatures may firmware carry?"
	}
	return ""
}

// hookTime bounds a command of the integrator.
const hookTime = 5 * time.Minute

// shell runs a command of the integrator's configuration.
func shell(ctx context.Context, command string) error {
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/bin/sh", "-c", command).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %.200s", err, out)
	}
	return nil
}
