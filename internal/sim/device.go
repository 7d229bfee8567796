// Package sim runs simulated devices: a software TPM each, a measured boot that
// extends its PCRs as firmware and kernel do, two firmware slots, and on top of
// it the agent that runs on hardware.
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"bytes"

	"troth/attest/attesttest"
	"troth/attest/tpm"
	"troth/internal/agent"
	"troth/internal/agent/slot"
	"troth/internal/api"
	"troth/internal/version"
)

// DeviceConfig is one simulated device.
type DeviceConfig struct {
	Dir      string // everything of the device: TPM state, slots, agent state
	Name     string
	Model    string
	Image    []byte // what the factory installs
	Counter  uint64 // its release counter
	Server   string
	ServerCA string
	TUFRoot  string
	Mirrors  []string // as agent.Config's
	Log      *slog.Logger
	// Healthy says whether a version works on this device. nil: every one does.
	Healthy func(version string) error
}

// Device is a simulated device.
type Device struct {
	DeviceConfig
	tpm   *attesttest.SWTPM
	slots slot.Pair

	mu      sync.Mutex
	booted  string             // version that the measured boot ran last
	boots   int                // since it was made
	unplug  context.CancelFunc // nil: not running
	stopped chan struct{}
	err     error
}

// NewDevice manufactures a device: a TPM with the maker's EK certificate, and
// the factory's firmware in its first slot.
func NewDevice(ctx context.Context, maker *attesttest.Manufacturer, c DeviceConfig) (*Device, error) {
	image, err := attesttest.ParseImage(c.Image)
	if err != nil {
		return nil, fmt.Errorf("make device %s: %w", c.Name, err)
	}
	for _, dir := range []string{"slots", "agent", "logs"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("make device %s: %w", c.Name, err)
		}
	}
	d := &Device{DeviceConfig: c, slots: slot.Open(filepath.Join(c.Dir, "slots"))}
	if err := slot.Format(filepath.Join(c.Dir, "slots"), bytes.NewReader(c.Image), image.Version, c.Counter); err != nil {
		return nil, fmt.Errorf("make device %s: %w", c.Name, err)
	}
	if err := d.makeHost(); err != nil {
		return nil, err
	}
	if d.tpm, err = maker.NewTPM(ctx, filepath.Join(c.Dir, "tpm")); err != nil {
		return nil, fmt.Errorf("make device %s: %w", c.Name, err)
	}
	return d, nil
}

// EK is the device's endorsement key, as its TPM says.
func (d *Device) EK(ctx context.Context) (ek tpm.EK, err error) {
	err = d.useTPM(ctx, func(t *tpm.TPM) error {
		ek, err = t.EK()
		return err
	})
	return ek, err
}

// Introduction is how the device would begin an enrolment.
func (d *Device) Introduction(ctx context.Context) (r api.EnrollRequest, err error) {
	err = d.useTPM(ctx, func(t *tpm.TPM) error {
		ek, err := t.EK()
		if err != nil {
			return err
		}
		ak, err := t.CreateAK()
		if err != nil {
			return err
		}
		key, err := t.CreateTLSKey()
		r = api.EnrollRequest{EKCertificate: ek.Certificate, AKPublic: ak.Public, TLSPublic: key.Public, Model: d.Model, Name: d.Name}
		return err
	})
	return r, err
}

// useTPM powers the TPM of a device that is not running.
func (d *Device) useTPM(ctx context.Context, use func(*tpm.TPM) error) error {
	if err := d.tpm.Start(ctx); err != nil {
		return err
	}
	transport, err := tpm.Open(d.tpm.Spec())
	if err != nil {
		return err
	}
	t := tpm.New(transport)
	return errors.Join(use(t), t.Close())
}

// PowerOn boots the device and lets it run until PowerOff.
func (d *Device) PowerOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unplug != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.unplug, d.stopped = cancel, make(chan struct{})
	go func() {
		defer close(d.stopped)
		err := d.run(ctx)
		d.mu.Lock()
		d.err = err
		d.mu.Unlock()
		if err != nil {
			d.Log.Error("device stopped", "device", d.Name, "error", err)
		}
	}()
}

// PowerOff stops the device and waits until it is off.
func (d *Device) PowerOff() error {
	d.mu.Lock()
	unplug, stopped := d.unplug, d.stopped
	d.unplug = nil
	d.mu.Unlock()
	if unplug == nil {
		return nil
	}
	unplug()
	<-stopped
	return d.tpm.PowerOff()
}

// Close powers the device off and ends its TPM.
func (d *Device) Close() error { return errors.Join(d.PowerOff(), d.tpm.Close()) }

// Booted is the firmware version that runs, and how often the device booted.
func (d *Device) Booted() (version string, boots int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.booted, d.boots
}

// Err is why the device stopped by itself; nil while it runs.
func (d *Device) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// run boots, again each time that the agent asks for it.
func (d *Device) run(ctx context.Context) error {
	for ctx.Err() == nil {
		image, err := d.boot(ctx)
		if err != nil {
			return err
		}
		err = agent.Run(ctx, d.agent(image))
		switch {
		case errors.Is(err, agent.ErrReboot):
			d.Log.Info("reboot", "device", d.Name)
		case err != nil:
			return err
		}
	}
	return nil
}

// boot is a power-on: the TPM resets, the boot loader chooses a slot, firmware
// and kernel measure what they run.
func (d *Device) boot(ctx context.Context) (attesttest.Image, error) {
	if err := d.tpm.PowerCycle(ctx); err != nil {
		return attesttest.Image{}, fmt.Errorf("power on TPM: %w", err)
	}
	path, err := d.slots.Boot()
	if err != nil {
		return attesttest.Image{}, fmt.Errorf("choose slot: %w", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return attesttest.Image{}, fmt.Errorf("read slot: %w", err)
	}
	image, err := attesttest.ParseImage(content)
	if err != nil {
		return attesttest.Image{}, fmt.Errorf("read slot: %w", err)
	}
	transport, err := tpm.Open(d.tpm.Spec())
	if err != nil {
		return attesttest.Image{}, fmt.Errorf("open TPM: %w", err)
	}
	logs, err := attesttest.Boot(transport, attesttest.PlatformFor(d.Model), image)
	if err = errors.Join(err, transport.Close()); err != nil {
		return attesttest.Image{}, fmt.Errorf("measured boot: %w", err)
	}
	for path, content := range map[string][]byte{d.log("event_log"): logs.EventLog, d.log("ima"): logs.IMA} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return attesttest.Image{}, fmt.Errorf("export log: %w", err)
		}
	}
	d.mu.Lock()
	d.booted, d.boots = image.Version, d.boots+1
	d.mu.Unlock()
	return image, nil
}

func (d *Device) log(name string) string { return filepath.Join(d.Dir, "logs", name) }

func (d *Device) agent(image attesttest.Image) agent.Config {
	return agent.Config{
		Server: d.Server, ServerCA: d.ServerCA, StateDir: filepath.Join(d.Dir, "agent"), TPM: d.tpm.Spec(),
		Model: d.Model, Name: d.Name, EventLog: d.log("event_log"), IMA: d.log("ima"),
		SlotDir: filepath.Join(d.Dir, "slots"), TUFRoot: d.TUFRoot, Mirrors: d.Mirrors, Version: version.String(), Host: d.host(),
		HealthCheck: func(context.Context) error {
			if d.Healthy == nil {
				return nil
			}
			return d.Healthy(image.Version)
		},
		Log: d.Log.With("device", d.Name), Now: time.Now,
	}
}

// AlterBootLoader does what an attacker with a moment at the device does: it
// replaces the boot loader in the running slot. The next boot runs it.
func (d *Device) AlterBootLoader() error {
	_, name, _, err := d.slots.Running()
	if err != nil {
		return err
	}
	path := filepath.Join(d.Dir, "slots", name, "image")
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read slot: %w", err)
	}
	image, err := attesttest.ParseImage(content)
	if err != nil {
		return fmt.Errorf("read slot: %w", err)
	}
	image.BootLoader = append(bytes.Clone(image.BootLoader), []byte("\x90\x90 implant")...)
	return os.WriteFile(path, image.Bytes(), 0o600) //nolint:gosec // the slot is one of two names of our own
}
