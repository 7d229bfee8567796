// Package hostfacts reads what a Linux system says of its own configuration, from
// /proc, /sys and /etc (proc(5), sysfs(5), Documentation/admin-guide/sysctl), for
// controls that no measurement can decide. It needs no privilege: what it may not
// read it leaves out, and what is left out is not known.
//
// It reads names below a root, runs nothing, and asks nobody. Nothing that it
// reads changes from one check-in to the next while the system stays as it is.
package hostfacts

import (
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"troth/internal/api"
)

// Host is where to read, and what no file tells. A function that is nil, or that
// fails, leaves its fact out.
type Host struct {
	Root         fs.FS  // of the system: os.DirFS("/")
	Data         string // the directory whose file system holds the agent's state: absolute
	Superuser    func() (bool, error)
	Synchronised func() (bool, error)                      // the clock (adjtimex(2))
	Free         func(dir string) (percent int, err error) // of the file system that holds the directory
}

// The bounds of what is read and reported.
const (
	maxFile    = 1 << 20 // bytes of one file
	maxSockets = 256
	maxNames   = 16
	maxText    = 128 // bytes of a name
)

// Read gathers the facts.
func (h Host) Read() *api.HostFacts {
	mounts := h.mounts()
	f := api.HostFacts{
		Kernel: h.kernel(), Network: h.network(), Sockets: h.sockets(), Volumes: h.volumes(mounts), Swap: h.swap(mounts),
		Accounts: h.accounts(), SSH: h.ssh(), Consoles: h.consoles(), USB: h.usb(), Upkeep: h.upkeep(),
	}
	if h.Superuser != nil {
		f.Agent.Root = known(h.Superuser())
	}
	return &f
}

func (h Host) upkeep() api.UpkeepFacts {
	var u api.UpkeepFacts
	if h.Synchronised != nil {
		u.TimeSynchronised = known(h.Synchronised())
	}
	if h.Free != nil && h.Data != "" {
		u.FreePercent = known(h.Free(h.Data))
	}
	if text, err := h.text("proc/uptime"); err == nil {
		seconds, _, _ := strings.Cut(text, ".")
		if n, err := strconv.ParseUint(seconds, 10, 40); err == nil {
			days := int(n / (24 * 60 * 60))
			u.UptimeDays = &days
		}
	}
	return u
}

// known is the value, or nothing where there is an error.
func known[T any](value T, err error) *T {
	if err != nil {
		return nil
	}
	return &value
}

var errTooLarge = errors.New("the file is too large")

// text is a file's content without space around it.
func (h Host) text(name string) (string, error) {
	f, err := h.Root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = errTooLarge
	}
	return strings.TrimSpace(string(content)), err
}

// number is the value of a sysctl or of a file like one.
func (h Host) number(name string) *int {
	text, err := h.text(name)
	if err != nil {
		return nil
	}
	return known(strconv.Atoi(text))
}

// missing reports whether there certainly is no such file.
func (h Host) missing(name string) bool {
	_, err := fs.Stat(h.Root, name)
	return errors.Is(err, fs.ErrNotExist)
}

// list are the names in a directory.
func (h Host) list(dir string) ([]string, error) {
	entries, err := fs.ReadDir(h.Root, dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func short(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "\ufffd")
}
