package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/attest/reference"
)

// Limits on the files of a release, in bytes.
const (
	maxInitrd      = 1 << 30
	maxCommandLine = 64 << 10
)

// releaseFlags name a release's files.
type releaseFlags struct {
	referenceFlags
	path                         string
	images                       map[reference.Role]*string
	initrds, grubFiles, renames  []string
	commandLine, commandLineFile string
	phases, inner                string
	kernelEvents                 int
	template, templateDevice     string
	given                        func(flag string) bool
}

// imageRoles are the roles in the order of a boot.
func imageRoles() []reference.Role {
	return []reference.Role{reference.Shim, reference.GRUB, reference.SystemdBoot, reference.Kernel, reference.Unified}
}

func (a *app) referenceReleaseCommand() *cobra.Command {
	r := releaseFlags{images: map[reference.Role]*string{}}
	cmd := &cobra.Command{
		Use:   "from-release [--template EVENTLOG] --boot-path PATH FILES...",
		Short: "Compute reference values from a release's files",
		Long: `Compute the PCR values of a release from its EFI images, command line and initrd.

With --template, the event log of a device that runs the previous release, what the
release brings takes the place of what was measured of the old one, and the log is
replayed. This works on any firmware and is the way for updates; what is not given stays
as it was, which the answer says of each event. --template-device takes the log of the
latest verified evidence of a device that the service knows.

Without a template only PCRs are computed into which firmware measures constants: 4, and
those of boot loader and kernel (9, 11, 12). PCR 0 to 3, 5 and 7 are firmware's own.

--boot-path joins what starts, in order: uki, systemd-boot+kernel, systemd-boot+uki,
shim+uki, grub+kernel, shim+grub+kernel and so on. --cmdline is what /proc/cmdline shows.
Without --select the PCRs are taken that the release has a part in.`,
		Example: `  troth reference from-release --boot-path uki --uki edge.efi --out reference.json
  troth reference from-release --template-device golden-1 --boot-path systemd-boot+kernel \
    --kernel vmlinuz --initrd initrd.img --cmdline-file cmdline --out reference.json
  troth reference from-release --template binary_bios_measurements --boot-path shim+grub+kernel \
    --kernel vmlinuz-6.1.0-2 --initrd initrd.img-6.1.0-2 --rename 6.1.0-1=6.1.0-2 \
    --grub-file /boot/grub/grub.cfg=grub.cfg --cmdline-file cmdline -o json`,
		Args: takes(),
	}
	cmd.RunE = a.action(func(ctx context.Context, _ []string) error {
		r.given = cmd.Flags().Changed
		return a.referenceRelease(ctx, r)
	})
	r.flags(cmd)
	return cmd
}

func (r *releaseFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.path, "boot-path", "", "what starts, in `ORDER`, joined by + (default without a template: the images that are given)")
	for _, role := range imageRoles() {
		r.images[role] = f.String(string(role), "", "`FILE` of the "+string(role)+" image")
	}
	f.StringArrayVar(&r.initrds, "initrd", nil, "`FILE` of the initrd; repeated: loaded one after another")
	f.StringVar(&r.commandLine, "cmdline", "", "kernel command line, as /proc/cmdline shows it")
	f.StringVar(&r.commandLineFile, "cmdline-file", "", "`FILE` of the kernel command line")
	f.StringArrayVar(&r.grubFiles, "grub-file", nil, "`NAME=FILE` that GRUB reads, by its name in the template; repeat")
	f.StringArrayVar(&r.renames, "rename", nil, "`OLD=NEW` text in GRUB's commands, as the kernel's version; repeat")
	f.StringVar(&r.phases, "phases", "", "boot `PHASES` that systemd-pcrphase measures into PCR 11, as enter-initrd:leave-initrd:sysinit:ready")
	f.StringVar(&r.inner, "inner-kernel", "", "whether firmware measures the kernel inside of a UKI: measured or unmeasured (default: as the stub's version suggests)")
	f.IntVar(&r.kernelEvents, "kernel-events", 0, "how often the kernel is measured into PCR 4 behind GRUB (default: twice, as Debian's shim and GRUB do)")
	f.StringVar(&r.template, "template", "", "`EVENTLOG` of a device that runs the previous release")
	f.StringVar(&r.templateDevice, "template-device", "", "`ID|NAME` of a device that runs the previous release")
	r.add(cmd, "those that the release has a part in")
	complete(cmd, "inner-kernel", "measured", "unmeasured")
}

func (a *app) referenceRelease(ctx context.Context, r releaseFlags) error {
	pcrs, err := r.pcrs()
	if err != nil {
		return err
	}
	from := reference.Provenance{Method: "computed", At: a.Now().UTC().Truncate(time.Second)}
	release, err := a.readRelease(r, &from)
	if err != nil {
		return err
	}
	log, err := a.readTemplate(ctx, r, &from)
	if err != nil {
		return err
	}
	var p reference.Prediction
	if log != nil {
		p, err = reference.Replace(log, release)
	} else {
		p, err = reference.Predict(release)
	}
	if err != nil {
		return failf(exitNo, codeReference, "%s", err)
	}
	if pcrs == nil {
		pcrs = p.Changed
	}
	f, err := p.FileOf(r.bank, pcrs)
	if err != nil {
		return failf(exitNo, codeReference, "%s", err)
	}
	from.Notes = append(from.Notes, p.Notes...)
	for _, pcr := range slices.Sorted(maps.Keys(p.Missing)) {
		from.Notes = append(from.Notes, fmt.Sprintf("PCR %d is not among the values: %s", pcr, p.Missing[pcr]))
	}
	f.Provenance = &from
	return a.deliver(f, r.referenceFlags)
}

func (a *app) readTemplate(ctx context.Context, r releaseFlags, from *reference.Provenance) (*eventlog.Log, error) {
	var raw []byte
	var err error
	name := r.template
	switch {
	case r.template != "" && r.templateDevice != "":
		return nil, usagef("--template and --template-device are two ways to one thing: give one")
	case r.template != "":
		if raw, err = a.readFile(r.template, maxEventLog); err != nil {
			return nil, err
		}
	case r.templateDevice != "":
		g, err := a.goldenDevice(ctx, r.templateDevice)
		if err != nil {
			return nil, err
		}
		if g.eventLog == nil {
			return nil, failf(exitNo, codeReference, "the evidence of %s has no event log", r.templateDevice)
		}
		raw, name = g.eventLog, nameOr(g.from.Name, g.from.Device)
		from.Device, from.Name, from.VerifiedAt, from.Evidence = g.from.Device, g.from.Name, g.from.VerifiedAt, g.from.Evidence
	default:
		return nil, nil //nolint:nilnil // no template
	}
	log, err := eventlog.Parse(raw)
	if err != nil {
		return nil, failf(exitNo, attest.CodeEventLogMalformed, "%s is no event log: %s", name, err)
	}
	from.Method = "template"
	from.Template = &reference.Input{Role: "template", Name: filepath.Base(name), SHA256: hexSHA256(raw)}
	return log, nil
}

// readRelease reads the files that the flags name, and notes them in from.
func (a *app) readRelease(r releaseFlags, from *reference.Provenance) (reference.Release, error) {
	out := reference.Release{Images: map[reference.Role]reference.Image{}, KernelEvents: r.kernelEvents}
	if r.kernelEvents < 0 {
		return out, usagef("--kernel-events takes a positive number, not %d", r.kernelEvents)
	}
	note := func(role, file string, raw []byte) {
		from.Files = append(from.Files, reference.Input{Role: role, Name: filepath.Base(file), SHA256: hexSHA256(raw)})
	}
	var path []string
	for _, role := range imageRoles() {
		file := *r.images[role]
		if file == "" {
			continue
		}
		path = append(path, string(role))
		raw, err := a.readFile(file, reference.MaxImage)
		if err != nil {
			return out, err
		}
		image, err := reference.ReadImage(filepath.Base(file), raw)
		if err != nil {
			return out, failf(exitNo, codeReference, "%s", err)
		}
		if role == reference.Unified && image.UKI == nil {
			return out, failf(exitNo, codeReference, "%s is no unified kernel image: it has no section .linux", file)
		}
		out.Images[role] = image
		note(string(role), file, raw)
	}
	if err := a.readInitrd(r, &out, note); err != nil {
		return out, err
	}
	if err := r.readWords(&out); err != nil {
		return out, err
	}
	if err := a.readCommandLine(r, &out, note); err != nil {
		return out, err
	}
	return out, r.readPath(&out, path)
}

func (r releaseFlags) readPath(out *reference.Release, given []string) (err error) {
	text := r.path
	if text == "" {
		if r.template != "" || r.templateDevice != "" {
			return usagef("--boot-path says how the template's device boots, as shim+grub+kernel")
		}
		if text = strings.Join(given, "+"); text == "" {
			return usagef("reference from-release needs the images of a release, and --boot-path")
		}
	}
	if out.Path, err = reference.ParsePath(text); err != nil {
		return usagef("--boot-path %s: %s", text, err)
	}
	for _, role := range given {
		if !slices.Contains(out.Path, reference.Role(role)) {
			return usagef("--%s has no place in the boot path %s", role, text)
		}
	}
	return nil
}

func (a *app) readInitrd(r releaseFlags, out *reference.Release, note func(role, file string, raw []byte)) error {
	var parts [][]byte
	for _, file := range r.initrds {
		raw, err := a.readFile(file, maxInitrd)
		if err != nil {
			return err
		}
		parts = append(parts, raw)
		note("initrd", file, raw)
	}
	if len(parts) > 0 {
		out.Initrd = reference.HashAll(parts...)
	}
	for _, pair := range r.grubFiles {
		name, file, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return usagef("--grub-file takes NAME=FILE, not %q", pair)
		}
		raw, err := a.readFile(file, maxInitrd)
		if err != nil {
			return err
		}
		if out.Files == nil {
			out.Files = map[string]reference.Digests{}
		}
		out.Files[name] = reference.Hash(raw)
		note("grub-file "+name, file, raw)
	}
	return nil
}

// readCommandLine takes the text to the end of its line: the kernel's own has none.
func (a *app) readCommandLine(r releaseFlags, out *reference.Release, note func(role, file string, raw []byte)) error {
	switch {
	case r.given("cmdline") && r.given("cmdline-file"):
		return usagef("--cmdline and --cmdline-file are two ways to one thing: give one")
	case r.given("cmdline"):
		out.CommandLine = &r.commandLine
	case r.commandLineFile != "":
		raw, err := a.readFile(r.commandLineFile, maxCommandLine)
		if err != nil {
			return err
		}
		text := strings.TrimRight(string(raw), "\r\n")
		if strings.ContainsAny(text, "\n\x00") {
			return failf(exitUsage, codeFile, "%s holds more than one line", r.commandLineFile)
		}
		out.CommandLine = &text
		note("cmdline", r.commandLineFile, raw)
	}
	return nil
}

func (r releaseFlags) readWords(out *reference.Release) error {
	for _, pair := range r.renames {
		from, to, ok := strings.Cut(pair, "=")
		if !ok || from == "" {
			return usagef("--rename takes OLD=NEW, not %q", pair)
		}
		out.Renames = append(out.Renames, [2]string{from, to})
	}
	if r.phases != "" {
		out.Phases = strings.Split(r.phases, ":")
		if slices.Contains(out.Phases, "") {
			return usagef("--phases takes words joined by colons, not %q", r.phases)
		}
	}
	switch r.inner {
	case "":
	case "measured", "unmeasured":
		measured := r.inner == "measured"
		out.Inner = &measured
	default:
		return usagef("--inner-kernel takes measured or unmeasured, not %q", r.inner)
	}
	return nil
}

func hexSHA256(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
