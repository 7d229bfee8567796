package reference

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"troth/attest"
	"troth/attest/eventlog"
)

// PCRs that boot loaders and kernels measure into.
const (
	pcrBootLoader = 4
	pcrCommands   = 8
	pcrFiles      = 9
	pcrUKI        = 11
	pcrParameters = 12
)

// Role is a part of a boot path.
type Role string

// Roles of EFI images.
const (
	Shim        Role = "shim"
	GRUB        Role = "grub"
	SystemdBoot Role = "systemd-boot"
	Kernel      Role = "kernel"
	Unified     Role = "uki"
)

// ParsePath reads a boot path: roles in the order in which they start, joined by
// "+", as "shim+grub+kernel", "systemd-boot+kernel" or "uki".
func ParsePath(text string) ([]Role, error) {
	var path []Role
	rank := map[Role]int{Shim: 1, GRUB: 2, SystemdBoot: 2, Kernel: 3, Unified: 3}
	last := 0
	for word := range strings.SplitSeq(text, "+") {
		r := Role(word)
		if rank[r] <= last {
			return nil, fmt.Errorf("parse boot path %.64q: shim, then grub or systemd-boot, then kernel or uki", text)
		}
		last = rank[r]
		path = append(path, r)
	}
	if last != 3 {
		return nil, fmt.Errorf("parse boot path %.64q: it ends with kernel or uki", text)
	}
	return path, nil
}

// Release is a firmware release by its files. What is nil is not given.
type Release struct {
	Path   []Role
	Images map[Role]Image
	Initrd Digests
	// CommandLine as /proc/cmdline shows it.
	CommandLine *string
	// Files are others that GRUB reads, by the name that it logs.
	Files map[string]Digests
	// Renames are texts in GRUB's commands that the release changes, as a kernel's
	// version; old to new, in order.
	Renames [][2]string
	// Phases are what systemd-pcrphase measures into PCR 11 after the boot, as
	// "enter-initrd".
	Phases []string
	// Inner says whether firmware measures the kernel inside of a UKI; nil: as the
	// stub's version suggests.
	Inner *bool
	// KernelEvents is how often the kernel is measured into PCR 4 behind GRUB; 0: as
	// Debian's shim and GRUB do, twice.
	KernelEvents int
}

// Prediction is what a release makes of PCRs, in both banks.
type Prediction struct {
	PCRs  attest.PCRs
	Steps []Step // by PCR, in order
	// Changed are PCRs with a digest of the release.
	Changed []int
	// Missing says of PCRs why they could not be predicted.
	Missing map[int]string
	// Notes are what a reader should know.
	Notes []string
}

// Step is one extension.
type Step struct {
	PCR     int
	Type    eventlog.EventType
	Digests Digests
	What    string
	From    Origin
}

// File is the prediction of the PCRs that the release has a part in, in one bank.
func (p Prediction) File(bank string) (File, error) { return p.file(bank, p.Changed) }

// FileOf is File of named PCRs, which may be such that the template alone explains.
func (p Prediction) FileOf(bank string, pcrs []int) (File, error) { return p.file(bank, pcrs) }

func (p Prediction) file(bank string, pcrs []int) (File, error) {
	if p.PCRs[bank] == nil {
		return File{}, fmt.Errorf("make reference values: there is no bank %.16q (there is %v)", bank, slices.Sorted(maps.Keys(p.PCRs)))
	}
	f := File{Reference: attest.Reference{Bank: bank, PCRs: map[int]attest.Digest{}}}
	for _, pcr := range pcrs {
		value, ok := p.PCRs[bank][pcr]
		if !ok {
			why := p.Missing[pcr]
			if why == "" {
				why = "nothing that was given is measured into it"
			}
			return File{}, fmt.Errorf("make reference values: PCR %d cannot be predicted: %s", pcr, why)
		}
		f.PCRs[pcr] = value
	}
	for _, s := range p.Steps {
		if _, chosen := f.PCRs[s.PCR]; chosen {
			f.Events = append(f.Events, Event{PCR: s.PCR, Type: s.Type.String(), Digest: s.Digests[bank], What: s.What, From: s.From})
		}
	}
	if len(f.PCRs) == 0 {
		return File{}, errors.New("make reference values: what was given determines no PCR")
	}
	return f, f.Valid()
}

func (p *Prediction) miss(pcr int, format string, args ...any) {
	if p.Missing == nil {
		p.Missing = map[int]string{}
	}
	p.Missing[pcr] = fmt.Sprintf(format, args...)
}

// settle replays the steps into values and forgets those of missing PCRs.
func (p *Prediction) settle(banks []string, start func(bank string, pcr int) []byte) {
	p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool { _, missing := p.Missing[s.PCR]; return missing })
	slices.SortStableFunc(p.Steps, func(a, b Step) int { return a.PCR - b.PCR })
	p.PCRs = attest.PCRs{}
	for _, bank := range banks {
		values := map[int]attest.Digest{}
		for _, s := range p.Steps {
			value, begun := values[s.PCR]
			if !begun {
				value = start(bank, s.PCR)
			}
			values[s.PCR] = extend(bank, value, s.Digests[bank])
		}
		if len(values) > 0 {
			p.PCRs[bank] = values
		}
	}
	changed := map[int]bool{}
	for _, s := range p.Steps {
		if s.From != Kept && s.From != FromConstant {
			changed[s.PCR] = true
		}
	}
	p.Changed = slices.Sorted(maps.Keys(changed))
}

// Predict computes what a release's files determine. It cannot know what firmware
// measures besides: where firmware measures more into PCR 4 than the profile asks
// for, as an option that failed to start, Replace is the way.
func Predict(r Release) (Prediction, error) {
	if len(r.Path) == 0 {
		return Prediction{}, errors.New("predict PCRs: no boot path")
	}
	p := Prediction{}
	p.bootLoaders(r)
	p.unified(r)
	p.parameters(r)
	p.kernelFiles(r)
	p.settle(Banks(), func(bank string, _ int) []byte { return initial(bank) })
	if len(p.PCRs) == 0 {
		return p, errors.New("predict PCRs: " + p.whyNothing())
	}
	return p, nil
}

func (p *Prediction) whyNothing() string {
	var why []string
	for _, pcr := range slices.Sorted(maps.Keys(p.Missing)) {
		why = append(why, fmt.Sprintf("PCR %d: %s", pcr, p.Missing[pcr]))
	}
	return "what was given determines no PCR; " + strings.Join(why, "; ")
}

// bootLoaders is PCR 4: firmware's action and separator (PFP sections 3.3.4.5 and
// 10.4.1), then the images.
func (p *Prediction) bootLoaders(r Release) {
	const action = "Calling EFI Application from Boot Option"
	steps := []Step{
		{pcrBootLoader, eventlog.EFIAction, Hash([]byte(action)), action, FromConstant},
		{pcrBootLoader, eventlog.Separator, Hash(make([]byte, 4)), "separator", FromConstant},
	}
	for _, role := range r.Path {
		i, given := r.Images[role]
		if !given {
			p.miss(pcrBootLoader, "the %s is not given", role)
			return
		}
		times := 1
		if role == Kernel && slices.Contains(r.Path, GRUB) {
			times = 2
			if r.KernelEvents > 0 {
				times = r.KernelEvents
			} else if !slices.Contains(r.Path, Shim) {
				p.miss(pcrBootLoader, "whether GRUB without shim has the kernel measured depends on how it was built: give a template")
				return
			}
		}
		for range times {
			steps = append(steps, imageStep(role, i))
		}
		if role == Unified && i.UKI != nil && r.innerMeasured(*i.UKI) {
			steps = append(steps, innerStep(i))
			if r.Inner == nil {
				p.Notes = append(p.Notes, fmt.Sprintf("systemd-stub %d has firmware measure the kernel inside the image into PCR 4; with Secure Boot on, some firmware does not", i.UKI.Stub))
			}
		}
	}
	p.Steps = append(p.Steps, steps...)
}

func (r Release) innerMeasured(u UKI) bool {
	if r.Inner != nil {
		return *r.Inner
	}
	return u.Stub > 0 && u.Stub < stubCallsKernel
}

func imageStep(role Role, i Image) Step {
	return Step{pcrBootLoader, eventlog.EFIBootServicesApplication, i.Authenticode, fmt.Sprintf("%s: Authenticode digest of %s", role, i.Name), FromFile}
}

func innerStep(i Image) Step {
	return Step{pcrBootLoader, eventlog.EFIBootServicesApplication, i.UKI.Inner, "kernel inside of " + i.Name + ": Authenticode digest", FromFile}
}

// unified is PCR 11.
func (p *Prediction) unified(r Release) {
	i, given := r.Images[Unified]
	if !given || i.UKI == nil {
		if slices.Contains(r.Path, Unified) {
			p.miss(pcrUKI, "the unified kernel image is not given")
		}
		return
	}
	p.Steps = append(p.Steps, sectionSteps(i)...)
	p.Steps = append(p.Steps, phaseSteps(r.Phases)...)
}

// sectionSteps: the name with its NUL, then the contents (systemd-stub(7)).
func sectionSteps(i Image) []Step {
	var steps []Step
	for _, s := range i.UKI.Sections {
		steps = append(steps,
			Step{pcrUKI, eventlog.IPL, Hash([]byte(s.Name + "\x00")), "name of section " + s.Name, FromFile},
			Step{pcrUKI, eventlog.IPL, s.Content, "section " + s.Name + " of " + i.Name, FromFile})
	}
	return steps
}

func phaseSteps(phases []string) []Step {
	var steps []Step
	for _, phase := range phases {
		steps = append(steps, Step{pcrUKI, eventlog.IPL, Hash([]byte(phase)), "boot phase " + phase + " (systemd-pcrphase)", FromText})
	}
	return steps
}

// parameters is PCR 12, where systemd-boot measures a kernel's options.
func (p *Prediction) parameters(r Release) {
	if !slices.Contains(r.Path, SystemdBoot) || !slices.Contains(r.Path, Kernel) {
		return
	}
	if r.CommandLine == nil {
		p.miss(pcrParameters, "the command line is not given")
		return
	}
	p.Steps = append(p.Steps, Step{pcrParameters, eventlog.IPL, Hash(loadOptions(*r.CommandLine)), "command line: " + *r.CommandLine, FromText})
}

// kernelFiles is PCR 9 as the kernel's EFI stub extends it: its load options, then
// the initrd. GRUB's part of PCR 8 and 9 follows its configuration step by step,
// which only a template knows.
func (p *Prediction) kernelFiles(r Release) {
	if slices.Contains(r.Path, GRUB) {
		p.miss(pcrCommands, "what GRUB executes follows from its configuration: give a template")
		p.miss(pcrFiles, "what GRUB reads follows from its configuration: give a template")
		return
	}
	line, initrd, why := r.stubMeasures()
	if why != "" {
		p.miss(pcrFiles, "%s", why)
		return
	}
	p.Steps = append(p.Steps, line, initrd)
}

// stubMeasures are the EFI stub's two events, or why they are not known.
func (r Release) stubMeasures() (line, initrd Step, why string) {
	text, digests := r.CommandLine, r.Initrd
	if i, given := r.Images[Unified]; given && i.UKI != nil {
		if text == nil {
			text = i.UKI.CommandLine
		}
		if digests == nil {
			digests, why = i.UKI.Initrd, i.UKI.InitrdWhy
		}
	} else if digests == nil {
		why = "the initrd is not given"
	}
	switch {
	case text == nil:
		return line, initrd, "the command line is not given"
	case digests == nil:
		return line, initrd, why
	}
	return lineStep(*text), initrdStep(digests), ""
}

func lineStep(text string) Step {
	return Step{pcrFiles, eventlog.EventTag, Hash(loadOptions(text)), "kernel's load options: " + text, FromText}
}

func initrdStep(d Digests) Step {
	return Step{pcrFiles, eventlog.EventTag, d, "initrd", FromFile}
}
