package main

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"troth/internal/agent/install"
	"troth/internal/agent/slot"
)

// installing says how releases get onto the device.
type installing struct {
	slots     string
	devices   string
	rauc      bool
	swupdate  string
	uboot     string
	hook      string
	hookLimit time.Duration
}

func (i *installing) flags(f *flag.FlagSet) {
	f.StringVar(&i.slots, "slots", "", "`directory` of the firmware slots; without it or another way to install, nothing is installed")
	f.StringVar(&i.devices, "slot-devices", "", "block `devices` A,B that are the slots; their state is in --slots")
	f.BoolVar(&i.rauc, "rauc", false, "install bundles with RAUC, whose service runs")
	f.StringVar(&i.swupdate, "swupdate", "", "install archives with SWUpdate into two `slots`, \"ROOT:SELECTION:VARIABLE=VALUE ROOT:SELECTION:VARIABLE=VALUE\"")
	f.StringVar(&i.uboot, "swupdate-env", "", "configuration `file` of fw_setenv; needed where it is not /etc/fw_env.config")
	f.StringVar(&i.hook, "install-hook", "", "absolute path of a `program` that installs; its contract is in the guide for integrators")
	f.DurationVar(&i.hookLimit, "install-hook-limit", 30*time.Minute, "how long the hook may take to install")
}

// given reports whether anything is to be installed at all.
func (i *installing) given() bool { return i.slots != "" || i.rauc || i.swupdate != "" || i.hook != "" }

// pair is the slots that Troth keeps itself.
func (i *installing) pair() (slot.Pair, error) {
	if i.slots == "" {
		return slot.Pair{}, errors.New("--slots is missing: where are the firmware slots?")
	}
	if i.devices == "" {
		return slot.Open(i.slots), nil
	}
	a, b, ok := strings.Cut(i.devices, ",")
	if !ok || a == b || !filepath.IsAbs(a) || !filepath.IsAbs(b) {
		return slot.Pair{}, errors.New("--slot-devices needs two absolute paths, A,B")
	}
	return slot.OpenDevices(i.slots, a, b), nil
}

// installer gives nil where nothing is to be installed.
func (i *installing) installer(stateDir string) (install.Installer, error) {
	ways := 0
	for _, given := range []bool{i.slots != "", i.rauc, i.swupdate != "", i.hook != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return nil, errors.New("--slots, --rauc, --swupdate and --install-hook exclude each other")
	case i.devices != "" && i.slots == "":
		return nil, errors.New("--slot-devices needs --slots, a directory for their state")
	case ways == 0:
		return nil, nil //nolint:nilnil // nothing to install with is no error
	}
	memory := filepath.Join(stateDir, "installed.json")
	switch {
	case i.rauc:
		return install.Track(install.RAUC{}, memory), nil
	case i.swupdate != "":
		slots, err := install.ParseSWUSlots(i.swupdate)
		if err != nil {
			return nil, fmt.Errorf("--swupdate: %w", err)
		}
		return install.Track(install.SWUpdate{Slots: slots, EnvConfig: i.uboot}, memory), nil
	case i.hook != "":
		if !filepath.IsAbs(i.hook) {
			return nil, errors.New("--install-hook needs an absolute path")
		}
		return install.Track(install.Exec{Path: i.hook, Limit: i.hookLimit}, memory), nil
	}
	pair, err := i.pair()
	return install.Slots{Pair: pair}, err
}
