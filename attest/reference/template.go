package reference

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"troth/attest/eventlog"
)

// Tags of the kernel's EFI stub in EV_EVENT_TAG.
const (
	tagInitrd      = 0x8f3b22ec
	tagLoadOptions = 0x8f3b22ed
)

// Replace predicts the PCRs of a release from the event log of a device that ran
// another release of the same model: what the release brings takes the place of
// what was measured of the old one, and everything else stays. Parts that are not
// given stay as well, and their steps say so. Nothing here verifies the log: take
// one from evidence that a verifier accepted.
func Replace(log *eventlog.Log, r Release) (Prediction, error) {
	if len(r.Path) == 0 {
		return Prediction{}, errors.New("predict PCRs: no boot path")
	}
	banks := slices.DeleteFunc(Banks(), func(bank string) bool { return !slices.Contains(log.Banks, bank) })
	if len(banks) == 0 {
		return Prediction{}, fmt.Errorf("predict PCRs: the template has neither of the banks %v", Banks())
	}
	t := template{log: log, release: r, puts: map[int][]Step{}, used: map[string]bool{}}
	t.bootLoaders()
	t.unified()
	t.parameters()
	t.kernelFiles()
	t.grubFiles()
	t.grubCommands()
	t.unusedFiles()
	p := &t.prediction
	images := imageNames(log)
	for _, e := range log.Events {
		if e.Type == eventlog.NoAction {
			continue
		}
		if steps, replaced := t.puts[e.Sequence]; replaced {
			p.Steps = append(p.Steps, steps...)
			continue
		}
		p.Steps = append(p.Steps, keptStep(e, images))
	}
	p.Steps = append(p.Steps, t.puts[afterAll]...)
	p.settle(banks, log.Initial)
	if len(p.Changed) == 0 {
		return *p, errors.New("predict PCRs: nothing that was given takes the place of anything in the template" + t.reasons())
	}
	return *p, nil
}

// afterAll is the place of steps behind the template's events.
const afterAll = -1

type template struct {
	log        *eventlog.Log
	release    Release
	puts       map[int][]Step // by the sequence of the event that they replace
	used       map[string]bool
	prediction Prediction
}

func (t *template) reasons() string {
	if len(t.prediction.Missing) == 0 {
		return ""
	}
	return ": " + t.prediction.whyNothing()
}

func keptStep(e eventlog.Event, images map[int]string) Step {
	digests := Digests{}
	for _, bank := range Banks() {
		if d := e.Digests.In(bank); d != nil {
			digests[bank] = d
		}
	}
	return Step{e.PCR, e.Type, digests, describe(e, images), Kept}
}

// imageNames are the paths of images, as the log claims them, by event.
func imageNames(log *eventlog.Log) map[int]string {
	names := map[int]string{}
	for _, i := range log.Facts().BootLoaders {
		if i.Path != "" {
			names[i.Sequence] = "image " + i.Path
		}
	}
	return names
}

// describe names an event in a few words. Its text is what the log claims.
func describe(e eventlog.Event, images map[int]string) string {
	if name, ok := images[e.Sequence]; ok {
		return name
	}
	switch e.Type {
	case eventlog.Separator:
		return "separator"
	case eventlog.IPL, eventlog.Action, eventlog.EFIAction:
		return eventText(e.Data)
	case eventlog.EventTag:
		if _, data, ok := tagged(e); ok {
			return eventText(data)
		}
	}
	return e.Type.String()
}

// applications are the images behind firmware's last attempt to boot.
func (t *template) applications() (apps []eventlog.Event) {
	for _, e := range t.log.Events {
		switch {
		case e.PCR != pcrBootLoader:
		case e.Type == eventlog.EFIAction && strings.HasPrefix(eventText(e.Data), "Calling EFI Application"):
			apps = nil
		case e.Type == eventlog.EFIBootServicesApplication:
			apps = append(apps, e)
		}
	}
	return apps
}

// bootLoaders replaces the images of PCR 4, one role of the boot path after the
// other.
func (t *template) bootLoaders() {
	apps := t.applications()
	all := len(apps)
	for _, role := range t.release.Path {
		if len(apps) == 0 {
			if role == Kernel && slices.Contains(t.release.Path, GRUB) && !slices.Contains(t.release.Path, Shim) {
				continue // GRUB by itself may start a kernel past firmware
			}
			t.prediction.miss(pcrBootLoader, "the template has %d images, too few for the boot path %v", all, t.release.Path)
			return
		}
		apps = t.role(role, apps)
	}
	if len(apps) > 0 {
		t.prediction.miss(pcrBootLoader, "the template has %d images, too many for the boot path %v", all, t.release.Path)
	}
}

// role replaces the events of a role, and returns those after them. shim and GRUB
// may both measure a kernel; systemd-stub may have the kernel inside measured.
func (t *template) role(role Role, apps []eventlog.Event) []eventlog.Event {
	i, given := t.release.Images[role]
	n := 1
	for role == Kernel && n < len(apps) && apps[n].Digests.Equal(apps[0].Digests) {
		n++
	}
	if given {
		for _, e := range apps[:n] {
			t.puts[e.Sequence] = []Step{imageStep(role, i)}
		}
	}
	apps = apps[n:]
	if role != Unified || len(apps) == 0 {
		return apps
	}
	if given && i.UKI != nil {
		t.inner(apps[0], i)
	}
	return apps[1:]
}

// inner replaces the kernel inside of a UKI, unless the new stub starts it past
// firmware.
func (t *template) inner(e eventlog.Event, i Image) {
	if t.release.Inner == nil && i.UKI.Stub >= stubCallsKernel || t.release.Inner != nil && !*t.release.Inner {
		t.puts[e.Sequence] = nil
		t.prediction.Notes = append(t.prediction.Notes, "the template has the kernel inside the image measured into PCR 4; the new stub starts it without")
		return
	}
	t.puts[e.Sequence] = []Step{innerStep(i)}
}

// unified replaces PCR 11 as a whole: sections come and go with a release.
func (t *template) unified() {
	i, given := t.release.Images[Unified]
	if !given || i.UKI == nil {
		if len(t.release.Phases) > 0 {
			t.puts[afterAll] = append(t.puts[afterAll], phaseSteps(t.release.Phases)...)
		}
		return
	}
	place, expectName := afterAll, true
	for _, e := range t.log.Events {
		if e.PCR != pcrUKI || e.Type == eventlog.NoAction {
			continue
		}
		if e.Type != eventlog.IPL || expectName && !Hash([]byte(eventText(e.Data)+"\x00")).equal(e.Digests) {
			t.prediction.miss(pcrUKI, "event %d of the template is not one of systemd-stub", e.Sequence)
			return
		}
		expectName = !expectName
		t.puts[e.Sequence] = nil
		if place == afterAll {
			place = e.Sequence
		}
	}
	t.puts[place] = append(t.puts[place], sectionSteps(i)...)
	t.puts[afterAll] = append(t.puts[afterAll], phaseSteps(t.release.Phases)...)
}

// parameters replaces the command line that systemd-boot or systemd-stub measured.
func (t *template) parameters() {
	if t.release.CommandLine == nil {
		return
	}
	var lines []eventlog.Event
	for _, e := range t.log.Events {
		if e.PCR == pcrParameters && e.Type == eventlog.IPL && Hash(e.Data).equal(e.Digests) && isUTF16(e.Data) {
			lines = append(lines, e)
		}
	}
	switch {
	case len(lines) == 1:
		text := *t.release.CommandLine
		t.puts[lines[0].Sequence] = []Step{{pcrParameters, eventlog.IPL, Hash(loadOptions(text)), "command line: " + text, FromText}}
	case len(lines) > 1:
		t.prediction.miss(pcrParameters, "the template has %d texts, any of which could be the command line", len(lines))
	}
}

// kernelFiles replaces what the kernel's EFI stub measured.
func (t *template) kernelFiles() {
	text, initrd, why := t.release.CommandLine, t.release.Initrd, ""
	if i, given := t.release.Images[Unified]; given && i.UKI != nil {
		if text == nil {
			text = i.UKI.CommandLine
		}
		if initrd == nil {
			initrd, why = i.UKI.Initrd, i.UKI.InitrdWhy
		}
	}
	for _, e := range t.log.Events {
		id, _, ok := tagged(e)
		if e.PCR != pcrFiles || !ok {
			continue
		}
		switch {
		case id == tagLoadOptions && text != nil:
			t.puts[e.Sequence] = []Step{lineStep(*text)}
		case id == tagInitrd && initrd != nil:
			t.puts[e.Sequence] = []Step{initrdStep(initrd)}
		case id == tagInitrd && why != "":
			t.prediction.miss(pcrFiles, "%s", why)
		}
	}
}

// tagged reads a TCG_PCClientTaggedEvent (PFP section 10.4.2.1).
func tagged(e eventlog.Event) (id uint32, data []byte, ok bool) {
	if e.Type != eventlog.EventTag || len(e.Data) < 8 {
		return 0, nil, false
	}
	if uint64(binary.LittleEndian.Uint32(e.Data[4:])) != uint64(len(e.Data)-8) {
		return 0, nil, false
	}
	return binary.LittleEndian.Uint32(e.Data), e.Data[8:], true
}

// eventText decodes UTF-16LE where the bytes can only be that, without trailing
// NULs. It is hostile text.
func eventText(data []byte) string {
	if !isUTF16(data) {
		return strings.ToValidUTF8(string(bytes.TrimRight(data, "\x00")), "\ufffd")
	}
	units := make([]uint16, 0, len(data)/2)
	for i := 0; i+1 < len(data); i += 2 {
		units = append(units, binary.LittleEndian.Uint16(data[i:]))
	}
	return strings.TrimRight(string(utf16.Decode(units)), "\x00")
}

func isUTF16(data []byte) bool { return len(data) >= 2 && len(data)%2 == 0 && data[1] == 0 }
