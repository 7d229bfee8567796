package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"troth/attest/attesttest"
)

// RunConfig is a number of simulated devices of one model.
type RunConfig struct {
	Dir      string // of the devices; made anew
	Count    int
	Model    string
	Image    string // file of the firmware that the factory installs
	Counter  uint64 // its release counter
	Server   string
	ServerCA string
	TUFRoot  string
	Out      io.Writer
	Log      *slog.Logger
}

// Run makes the devices and their TPMs' manufacturer, whose certificates it
// writes to manufacturer.pem in the directory, and runs the devices until the
// context ends.
func Run(ctx context.Context, c RunConfig) (err error) {
	image, err := os.ReadFile(c.Image)
	if err != nil {
		return fmt.Errorf("read image: %w", err)
	}
	if err := os.Mkdir(c.Dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	maker, err := attesttest.NewManufacturer(filepath.Join(c.Dir, "maker"), "simulated")
	if err != nil {
		return err
	}
	roots, err := maker.RootsPEM()
	if err != nil {
		return err
	}
	pem := filepath.Join(c.Dir, "manufacturer.pem")
	if err := os.WriteFile(pem, roots, 0o600); err != nil {
		return fmt.Errorf("write roots: %w", err)
	}
	fmt.Fprintf(c.Out, "the certificates of the TPMs' manufacturer are in %s\n", pem)
	var devices []*Device
	defer func() {
		for _, d := range devices {
			err = errors.Join(err, d.Close())
		}
	}()
	for i := range c.Count {
		name := fmt.Sprintf("%s-%d", c.Model, i+1)
		d, err := NewDevice(ctx, maker, DeviceConfig{
			Dir: filepath.Join(c.Dir, name), Name: name, Model: c.Model, Image: image, Counter: c.Counter,
			Server: c.Server, ServerCA: c.ServerCA, TUFRoot: c.TUFRoot, Log: c.Log,
		})
		if err != nil {
			return err
		}
		devices = append(devices, d)
		d.PowerOn()
		fmt.Fprintf(c.Out, "%s is on\n", name)
	}
	<-ctx.Done()
	return nil
}
