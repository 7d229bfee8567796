package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// SWUpdate is SWUpdate's client, and U-Boot's environment, as a Tool. Its daemon
// must run; the target is a .swu archive, which SWUpdate verifies too. It is not
// read back: SWUpdate does not tell where it wrote what.
type SWUpdate struct {
	Slots [2]SWUSlot
	// EnvConfig is fw_setenv's configuration; empty: its own default.
	EnvConfig string
}

// SWUSlot is one of two copies.
type SWUSlot struct {
	Root      string // its root device, as "swupdate -g" prints it
	Selection string // the software collection and mode that installs into it, as in "stable,copy2"
	Boot      string // the U-Boot variable that boots it, as in "mmcpart=2"
}

// ParseSWUSlots reads two slots: ROOT:SELECTION:VARIABLE=VALUE, twice, with a
// space between.
func ParseSWUSlots(s string) (out [2]SWUSlot, err error) {
	words := strings.Fields(s)
	if len(words) != 2 {
		return out, errors.New("two slots are needed, each ROOT:SELECTION:VARIABLE=VALUE, with a space between")
	}
	for i, w := range words {
		parts := strings.Split(w, ":")
		if len(parts) != 3 || parts[0] == "" || !strings.Contains(parts[1], ",") || strings.Index(parts[2], "=") < 1 {
			return out, fmt.Errorf("slot %q is not ROOT:SELECTION:VARIABLE=VALUE, as in /dev/mmcblk0p2:stable,copy1:mmcpart=2", w)
		}
		out[i] = SWUSlot{Root: parts[0], Selection: parts[1], Boot: parts[2]}
	}
	if out[0].Root == out[1].Root || out[0].Selection == out[1].Selection || out[0].Boot == out[1].Boot {
		return out, errors.New("the two slots must differ in root, selection and variable")
	}
	return out, nil
}

// Booted is Tool's.
func (u SWUpdate) Booted(ctx context.Context) (string, error) {
	out, err := command{argv: []string{"swupdate", "-g"}, limit: shortTime}.run(ctx)
	if err != nil {
		return "", err
	}
	return parseSlot(string(bytes.TrimSpace(out)))
}

// other gives the slot that does not run.
func (u SWUpdate) other(booted string) (SWUSlot, error) {
	switch booted {
	case u.Slots[0].Root:
		return u.Slots[1], nil
	case u.Slots[1].Root:
		return u.Slots[0], nil
	}
	return SWUSlot{}, fmt.Errorf("swupdate says that %s runs, which is neither %s nor %s", booted, u.Slots[0].Root, u.Slots[1].Root)
}

// Write is Tool's. The archive goes to SWUpdate through the descriptor that was
// verified, as the client's standard input. Only then is the boot loader told to
// try the other slot, with its boot count on.
func (u SWUpdate) Write(ctx context.Context, image *os.File, _ Release) (string, error) {
	booted, err := u.Booted(ctx)
	if err != nil {
		return "", err
	}
	return "", u.writeBeside(ctx, booted, image)
}

func (u SWUpdate) writeBeside(ctx context.Context, booted string, image *os.File) error {
	other, err := u.other(booted)
	if err != nil {
		return err
	}
	var env []string
	if dir := os.Getenv("TMPDIR"); dir != "" { // where SWUpdate's sockets may be
		env = append(env, "TMPDIR="+dir)
	}
	_, err = command{argv: []string{"swupdate-client", "-q", "-e", other.Selection, "-"}, env: env, stdin: image, limit: longTime}.run(ctx)
	if err != nil {
		return err
	}
	return u.set(ctx, other.Boot, "bootcount=0", "upgrade_available=1")
}

// Confirm is Tool's: U-Boot stops counting boots (SWUpdate's manual, "Bootloader
// interfaces"; U-Boot's, "Boot Count Limit").
func (u SWUpdate) Confirm(ctx context.Context) error {
	return u.set(ctx, "bootcount=0", "upgrade_available=0", "ustate=0")
}

// Revert is Tool's. It is only called from the slot on trial.
func (u SWUpdate) Revert(ctx context.Context) error {
	booted, err := u.Booted(ctx)
	if err != nil {
		return err
	}
	return u.revertFrom(ctx, booted)
}

func (u SWUpdate) revertFrom(ctx context.Context, booted string) error {
	other, err := u.other(booted)
	if err != nil {
		return err
	}
	return u.set(ctx, other.Boot, "bootcount=0", "upgrade_available=0", "ustate=3")
}

// set changes U-Boot's environment once, so that a power cut leaves all of it or
// nothing where the environment is redundant.
func (u SWUpdate) set(ctx context.Context, variables ...string) error {
	script, err := os.CreateTemp("", "troth-env-*")
	if err != nil {
		return fmt.Errorf("write U-Boot variables: %w", err)
	}
	defer os.Remove(script.Name())
	defer script.Close() //nolint:errcheck // what matters is the write
	for _, v := range variables {
		if _, err := fmt.Fprintln(script, v); err != nil {
			return fmt.Errorf("write U-Boot variables: %w", err)
		}
	}
	argv := []string{"fw_setenv", "-s", script.Name()}
	if u.EnvConfig != "" {
		argv = []string{"fw_setenv", "-c", u.EnvConfig, "-s", script.Name()}
	}
	_, err = command{argv: argv, limit: shortTime}.run(ctx)
	return err
}
