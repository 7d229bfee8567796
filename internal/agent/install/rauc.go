package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// RAUC is RAUC's command line as a Tool. Its service must run; the target is a
// bundle, which RAUC verifies too, by its own keyring.
type RAUC struct {
	Path string // of rauc; empty: "rauc"
}

func (r RAUC) program() string {
	if r.Path == "" {
		return "rauc"
	}
	return r.Path
}

func (r RAUC) env() []string {
	// Where the system bus is not at its usual place.
	if bus := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); bus != "" {
		return []string{"DBUS_SYSTEM_BUS_ADDRESS=" + bus}
	}
	return nil
}

// raucSlot is what "rauc status --detailed --output-format=json" says of a slot.
type raucSlot struct {
	Name     string `json:"-"`
	Class    string `json:"class"`
	Device   string `json:"device"`
	Type     string `json:"type"`
	Bootname string `json:"bootname"`
	State    string `json:"state"` // booted, active or inactive
	Status   *struct {
		Checksum struct {
			SHA256 string `json:"sha256"`
			Size   int64  `json:"size"`
		} `json:"checksum"`
		Installed struct {
			Count     int64  `json:"count"`
			Timestamp string `json:"timestamp"`
		} `json:"installed"`
		Status string `json:"status"`
	} `json:"slot_status"`
}

// Booted is Tool's.
func (r RAUC) Booted(ctx context.Context) (string, error) {
	slots, err := r.status(ctx)
	if err != nil {
		return "", err
	}
	for _, s := range slots {
		if s.State == "booted" {
			return parseSlot(s.Name)
		}
	}
	return "", errors.New("rauc does not know which slot runs")
}

// Write is Tool's. The bundle is named by the descriptor that was verified, so
// that RAUC's service opens that very file. RAUC's bundle is not what lies in the
// slot: its images are, and those are read back here and compared with what RAUC
// says that it wrote, where they are written as they are (type raw).
func (r RAUC) Write(ctx context.Context, image *os.File, _ Release) (string, error) {
	before, err := r.status(ctx)
	if err != nil {
		return "", err
	}
	if _, err := r.run(ctx, longTime, "install", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), image.Fd())); err != nil {
		return "", err
	}
	after, err := r.status(ctx)
	if err != nil {
		return "", err
	}
	written := 0
	for _, s := range after {
		if s.Status == nil || s.State == "booted" || s.installs() == installsOf(before, s.Name) {
			continue
		}
		written++
		if err := s.readBack(); err != nil {
			return "", errors.Join(err, r.activate(ctx, "booted"))
		}
	}
	if written == 0 {
		return "", errors.New("rauc says that it installed, and no slot changed")
	}
	return "", nil
}

func (s raucSlot) installs() int64 {
	if s.Status == nil {
		return 0
	}
	return s.Status.Installed.Count
}

func installsOf(slots []raucSlot, name string) int64 {
	for _, s := range slots {
		if s.Name == name {
			return s.installs()
		}
	}
	return 0
}

// readBack hashes what is on a slot's device.
func (s raucSlot) readBack() error {
	if s.Status.Status != "ok" {
		return fmt.Errorf("rauc says that slot %s is %.40q after the installation", s.Name, s.Status.Status)
	}
	if s.Type != "raw" {
		return nil // an archive that was unpacked, or a file system that was resized
	}
	f, err := os.Open(s.Device)
	if err != nil {
		return fmt.Errorf("read back slot %s: %w", s.Name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	sum := sha256.New()
	if _, err := io.CopyN(sum, f, s.Status.Checksum.Size); err != nil {
		return fmt.Errorf("read back slot %s: %w", s.Name, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != s.Status.Checksum.SHA256 {
		return fmt.Errorf("slot %s reads back as %s, rauc wrote %s", s.Name, got, s.Status.Checksum.SHA256)
	}
	return nil
}

// Confirm is Tool's.
func (r RAUC) Confirm(ctx context.Context) error {
	_, err := r.run(ctx, shortTime, "status", "mark-good", "booted")
	return err
}

// Revert is Tool's: the slot that runs is bad, the other one boots next.
func (r RAUC) Revert(ctx context.Context) error {
	if err := r.activate(ctx, "other"); err != nil {
		return err
	}
	_, err := r.run(ctx, shortTime, "status", "mark-bad", "booted")
	return err
}

func (r RAUC) activate(ctx context.Context, which string) error {
	_, err := r.run(ctx, shortTime, "status", "mark-active", which)
	return err
}

func (r RAUC) run(ctx context.Context, limit time.Duration, args ...string) ([]byte, error) {
	return command{argv: append([]string{r.program()}, args...), env: r.env(), limit: limit}.run(ctx)
}

func (r RAUC) status(ctx context.Context) ([]raucSlot, error) {
	out, err := r.run(ctx, shortTime, "status", "--detailed", "--output-format=json")
	if err != nil {
		return nil, err
	}
	return parseRAUC(out)
}

// parseRAUC reads a status: its slots are objects with one member each.
func parseRAUC(b []byte) ([]raucSlot, error) {
	var status struct {
		Slots []map[string]raucSlot `json:"slots"`
	}
	if err := json.Unmarshal(b, &status); err != nil {
		return nil, fmt.Errorf("parse rauc's status: %w", err)
	}
	var out []raucSlot
	for _, named := range status.Slots {
		for name, s := range named {
			s.Name = name
			out = append(out, s)
		}
	}
	return out, nil
}
