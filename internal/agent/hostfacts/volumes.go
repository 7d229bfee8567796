package hostfacts

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"troth/internal/api"
)

// mount is a line of /proc/self/mountinfo (proc(5)).
type mount struct {
	device  string // major:minor
	point   string
	options []string // of the mount and of the file system
	kind    string
}

func (h Host) mounts() []mount {
	text, err := h.text("proc/self/mountinfo")
	if err != nil {
		return nil
	}
	return parseMounts(text)
}

// parseMounts is nil where a line cannot be read.
func parseMounts(text string) []mount {
	var mounts []mount
	for line := range strings.Lines(text) {
		before, after, found := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !found || len(f) < 6 || len(g) < 3 {
			return nil
		}
		mounts = append(mounts, mount{
			device: f[2], point: unescape(f[4]), kind: short(g[0]),
			options: slices.Concat(strings.Split(f[5], ","), strings.Split(g[2], ",")),
		})
	}
	return mounts
}

// unescape undoes the octal escapes of mountinfo.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func (h Host) volumes(mounts []mount) api.VolumeFacts {
	v := api.VolumeFacts{Root: h.volume(mounts, "/"), Tmp: h.volume(mounts, "/tmp"), Boot: h.volume(mounts, "/boot")}
	if path.IsAbs(h.Data) {
		v.Data = h.volume(mounts, path.Clean(h.Data))
	}
	return v
}

// volume is what holds a directory: of the mounts above it the deepest, and of
// several at one place the last.
func (h Host) volume(mounts []mount, dir string) *api.VolumeFact {
	var found *mount
	for i, m := range mounts {
		above := m.point == "/" || m.point == dir || strings.HasPrefix(dir, m.point+"/")
		if above && (found == nil || len(m.point) >= len(found.point)) {
			found = &mounts[i]
		}
	}
	if found == nil {
		return nil
	}
	has := func(option string) bool { return slices.Contains(found.options, option) }
	return &api.VolumeFact{
		Mount: short(found.point), Filesystem: found.kind, Backing: h.backing(*found),
		ReadOnly: has("ro"), NoSUID: has("nosuid"), NoDev: has("nodev"), NoExec: has("noexec"),
	}
}

// backing follows a file system to what it is on. One without a block device of
// its own (overlay, btrfs, a network's) says nothing.
func (h Host) backing(m mount) string {
	switch {
	case slices.Contains([]string{"tmpfs", "ramfs", "rootfs"}, m.kind):
		return "memory"
	case strings.HasPrefix(m.device, "0:"):
		return ""
	}
	return h.layers("sys/dev/block/" + m.device)
}

// layers names the device-mapper targets on which a block device stands, by the
// prefix that cryptsetup gives their UUID.
func (h Host) layers(device string) string {
	crypt, verity, ok := h.below(device, 0)
	switch {
	case !ok:
		return ""
	case crypt && verity:
		return "crypt_verity"
	case crypt:
		return "crypt"
	case verity:
		return "verity"
	default:
		return "plain"
	}
}

// maxLayers bounds how deep devices stand on each other.
const maxLayers = 8

// below looks at a device and at those under it: all of them have to be what the
// whole is said to be.
func (h Host) below(device string, depth int) (crypt, verity, ok bool) {
	if depth > maxLayers || h.missing(device) {
		return false, false, false
	}
	uuid, err := h.text(device + "/dm/uuid")
	if err != nil && !h.missing(device+"/dm/uuid") {
		return false, false, false
	}
	verity = strings.HasPrefix(uuid, "CRYPT-VERITY-")
	crypt = strings.HasPrefix(uuid, "CRYPT-") && !verity && !strings.HasPrefix(uuid, "CRYPT-INTEGRITY-")
	under, err := h.list(device + "/slaves")
	if err != nil && !h.missing(device+"/slaves") {
		return false, false, false
	}
	allCrypt, allVerity := len(under) > 0, len(under) > 0
	for _, name := range under {
		c, v, ok := h.below(device+"/slaves/"+name, depth+1)
		if !ok {
			return false, false, false
		}
		allCrypt, allVerity = allCrypt && c, allVerity && v
	}
	return crypt || allCrypt, verity || allVerity, true
}

// swap reads /proc/swaps (proc(5)).
func (h Host) swap(mounts []mount) api.SwapFacts {
	text, err := h.text("proc/swaps")
	if err != nil {
		return api.SwapFacts{}
	}
	s := api.SwapFacts{Known: true, Encrypted: true}
	first := true
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if first || len(f) < 2 { // the heads of the columns
			first = false
			continue
		}
		s.Active = true
		backing := h.swapBacking(mounts, unescape(f[0]), f[1])
		if backing == "" {
			return api.SwapFacts{}
		}
		s.Encrypted = s.Encrypted && backing != "plain" && backing != "verity"
	}
	s.Encrypted = s.Encrypted && s.Active
	return s
}

func (h Host) swapBacking(mounts []mount, name, kind string) string {
	if kind == "file" {
		if v := h.volume(mounts, path.Clean(name)); v != nil {
			return v.Backing
		}
		return ""
	}
	base := path.Base(name)
	if strings.HasPrefix(base, "zram") {
		return "memory"
	}
	return h.layers("sys/class/block/" + base)
}
