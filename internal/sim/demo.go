package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"troth/attest/attesttest"
	"troth/internal/api"
)

// DemoConfig is the demonstration.
type DemoConfig struct {
	Dir  string // made anew; holds everything that the demonstration leaves
	Bin  string // directory of trothd and troth
	Keep bool   // leave everything running at the end
	Out  io.Writer
}

// The fleet of the demonstration.
const (
	meter   = "meter-m1"
	gateway = "gateway-g2"
)

var demoFleet = []struct{ name, model string }{
	{"meter-1", meter}, {"meter-2", meter}, {"meter-3", meter}, {"meter-4", meter}, {"meter-5", meter}, {"meter-6", meter},
	{"gateway-1", gateway}, {"gateway-2", gateway},
}

// altered is the device whose boot loader is replaced.
const altered = "meter-3"

// ErrDemo says that something did not hold that the demonstration shows.
var ErrDemo = errors.New("something that the demo shows did not hold")

// demo is a running demonstration.
type demo struct {
	DemoConfig
	*story
	service *Service
	maker   *attesttest.Manufacturer
	devices map[string]*Device
	client  *api.Client
	// unhealthy is the device that the patch does not work on. It is chosen to be
	// in the second wave: alone in the first, it would stop the rollout.
	unhealthy atomic.Value // string
	log       *slog.Logger
	logFile   *os.File
}

// Demo runs the demonstration. It returns ErrDemo where something did not hold.
func Demo(ctx context.Context, c DemoConfig) (err error) {
	d := &demo{DemoConfig: c, story: newStory(c.Out), devices: map[string]*Device{}}
	d.unhealthy.Store("")
	if err := os.RemoveAll(c.Dir); err != nil {
		return fmt.Errorf("clear %s: %w", c.Dir, err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", c.Dir, err)
	}
	if d.Dir, err = filepath.Abs(c.Dir); err != nil {
		return fmt.Errorf("find %s: %w", c.Dir, err)
	}
	if d.Bin, err = filepath.Abs(c.Bin); err != nil {
		return fmt.Errorf("find %s: %w", c.Bin, err)
	}
	if d.logFile, err = os.Create(d.path("devices.log")); err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	d.log = slog.New(slog.NewTextHandler(d.logFile, nil))
	defer func() { err = errors.Join(err, d.close()) }()
	for _, act := range []func(context.Context) error{
		d.startService, d.publishFirst, d.knowDevices, d.enrolFleet, d.refuseStranger,
		d.alterBootLoader, d.publishPatch, d.rollOut, d.showFleet, d.writeReport,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	d.summary()
	if c.Keep {
		d.explain()
		<-ctx.Done()
	}
	if d.failed > 0 {
		return ErrDemo
	}
	return nil
}

func (d *demo) path(elem ...string) string {
	return filepath.Join(append([]string{d.Dir}, elem...)...)
}

// close ends every process that the demonstration started.
func (d *demo) close() error {
	var errs []error
	done := make(chan error)
	for _, device := range d.devices {
		go func() { done <- device.Close() }()
	}
	for range d.devices {
		errs = append(errs, <-done)
	}
	if d.service != nil {
		errs = append(errs, d.service.Stop())
	}
	return errors.Join(append(errs, d.logFile.Close())...)
}

// configuration of the demonstration's service: the defaults, only faster.
const configuration = `# The embedded defaults, with devices that check in every two seconds.
data_dir: %s
listen: 127.0.0.1:0
check_in: {interval: 2s, fresh: 20s, sweep: 1s}
firmware: {refresh: 1s}
`

func (d *demo) startService(ctx context.Context) error {
	d.act("Start the service", "One program, no set-up: an embedded database, a CA in a file, built-in policies.")
	config := fmt.Sprintf(configuration, d.path("trothd"))
	if err := os.WriteFile(d.path("troth.yaml"), []byte(config), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	var err error
	d.service, err = StartService(ctx, filepath.Join(d.Bin, "trothd"), d.path("trothd.log"), "serve", "--config", d.path("troth.yaml"))
	if err != nil {
		return err
	}
	d.say("trothd serves %s", d.service.URL)
	if err := d.troth(ctx, quiet, "login", "--server", d.service.URL, "--ca", d.service.CAFile, "--token", d.service.Token, "--operator", "demo"); err != nil {
		return err
	}
	d.holds(d.troth(ctx, quiet, "login", "--server", d.service.URL, "--ca", d.service.CAFile, "--token", d.service.Token, "--operator", "thief") != nil,
		"the bootstrap token works once")
	return d.connect()
}

func (d *demo) publishFirst(ctx context.Context) error {
	d.act("Publish firmware 1.0.0", "Signed by TUF, with the PCR values that a device must show once it runs it.")
	repo, keys := d.path("trothd", "tuf"), d.path("trothd", "tuf-keys")
	if err := d.troth(ctx, quiet, "tuf", "init", "--repo", repo, "--keys", keys); err != nil {
		return err
	}
	for _, model := range []string{meter, gateway} {
		if err := d.publish(ctx, model, "1.0.0", "1"); err != nil {
			return err
		}
	}
	err := d.until(ctx, "the service reads the repository as a TUF client", 20*time.Second, func() (string, bool) {
		var list api.ReleaseList
		err := d.get(ctx, api.PathReleases, &list)
		return fmt.Sprintf("%d of 2 releases", len(list.Releases)), err == nil && len(list.Releases) == 2
	})
	if err != nil {
		return err
	}
	return d.troth(ctx, shown, "firmware", "list")
}

// publish makes an image of a model and publishes it.
func (d *demo) publish(ctx context.Context, model, version, counter string, more ...string) error {
	image, reference, err := Image(model, version)
	if err != nil {
		return err
	}
	base := d.path("firmware-" + model + "-" + version)
	if err := os.WriteFile(base+".img", image, 0o600); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	if err := os.WriteFile(base+".pcrs.json", reference, 0o600); err != nil {
		return fmt.Errorf("write reference values: %w", err)
	}
	args := append([]string{
		"firmware", "publish", base + ".img", "--repo", d.path("trothd", "tuf"), "--keys", d.path("trothd", "tuf-keys"),
		"--model", model, "--version", version, "--counter", counter, "--reference", base + ".pcrs.json",
	}, more...)
	return d.troth(ctx, quiet, args...)
}

type visibility bool

const (
	quiet visibility = false
	shown visibility = true
)

// troth runs the command line, as a person would.
func (d *demo) troth(ctx context.Context, v visibility, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(d.Bin, "troth"), args...)
	cmd.Env = append(os.Environ(), "TROTH_CONFIG="+d.path("cli.yaml"))
	out, err := cmd.CombinedOutput()
	if v == shown {
		d.command(args, out)
	}
	if err != nil {
		return fmt.Errorf("troth %v: %w: %s", args, err, out)
	}
	return nil
}
