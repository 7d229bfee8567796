package reference

import (
	"maps"
	"slices"
	"strings"

	"troth/attest/eventlog"
)

// Labels of what GRUB logs in PCR 8; the digest is that of the text behind.
const (
	labelCommand     = "grub_cmd"
	labelCommandLine = "kernel_cmdline"
)

// command reads an event of GRUB in PCR 8 whose digest is that of its text.
func command(e eventlog.Event) (label, text string, ok bool) {
	if e.PCR != pcrCommands || e.Type != eventlog.IPL {
		return "", "", false
	}
	label, text, ok = strings.Cut(eventText(e.Data), ": ")
	return label, text, ok && Hash([]byte(text)).equal(e.Digests)
}

// grubLine is the command line as GRUB has it: /proc/cmdline names the kernel as
// BOOT_IMAGE=, GRUB by its path alone.
func grubLine(text string) string { return strings.TrimPrefix(text, "BOOT_IMAGE=") }

// grubCommands replaces the kernel's command line and, in all of GRUB's commands,
// the texts that the release renames.
func (t *template) grubCommands() {
	old, ok := t.oldLine()
	for _, e := range t.log.Events {
		label, text, known := command(e)
		if !known {
			continue
		}
		now := text
		if t.release.CommandLine != nil && ok {
			line := grubLine(*t.release.CommandLine)
			switch {
			case label == labelCommandLine:
				now = line
			case label == labelCommand && strings.HasPrefix(text, "linux"):
				front, isLine := strings.CutSuffix(text, old)
				if !isLine {
					t.prediction.miss(pcrCommands, "GRUB's command %q does not end with the command line that it makes", text)
					return
				}
				t.puts[e.Sequence] = []Step{commandStep(label, front+line)}
				continue
			}
		}
		if label != labelCommandLine || t.release.CommandLine == nil {
			now = t.renamed(now)
		}
		if now != text {
			t.puts[e.Sequence] = []Step{commandStep(label, now)}
		}
	}
}

func commandStep(label, text string) Step {
	return Step{pcrCommands, eventlog.IPL, Hash([]byte(text)), label + ": " + text, FromText}
}

func (t *template) renamed(text string) string {
	for _, pair := range t.release.Renames {
		if pair[0] != "" {
			text = strings.ReplaceAll(text, pair[0], pair[1])
		}
	}
	return text
}

// oldLine is the command line that the template has.
func (t *template) oldLine() (string, bool) {
	for _, e := range t.log.Events {
		if label, text, ok := command(e); ok && label == labelCommandLine {
			return text, true
		}
	}
	return "", false
}

// grubFiles replaces what GRUB read, each file by the name that GRUB logged.
func (t *template) grubFiles() {
	content := map[string]Step{}
	for name, d := range t.release.Files {
		content[grubPath(name)] = Step{pcrFiles, eventlog.IPL, d, "file " + name, FromFile}
	}
	if i, given := t.release.Images[Kernel]; given {
		if old, ok := t.oldLine(); ok {
			path, _, _ := strings.Cut(old, " ")
			content[grubPath(path)] = Step{pcrFiles, eventlog.IPL, i.Content, "kernel " + i.Name, FromFile}
		}
	}
	if path := t.oldInitrd(); path != "" && t.release.Initrd != nil {
		content[grubPath(path)] = Step{pcrFiles, eventlog.IPL, t.release.Initrd, "initrd", FromFile}
	}
	for _, e := range t.log.Events {
		if e.PCR != pcrFiles || e.Type != eventlog.IPL {
			continue
		}
		name := grubPath(eventText(e.Data))
		if step, ok := content[name]; ok {
			t.puts[e.Sequence] = []Step{step}
			t.used[name] = true
		}
	}
}

// oldInitrd is the path of the initrd, where GRUB loaded one alone.
func (t *template) oldInitrd() string {
	for _, e := range t.log.Events {
		_, text, ok := command(e)
		verb, rest, _ := strings.Cut(text, " ")
		if ok && (verb == "initrd" || verb == "initrdefi" || verb == "initrd16") && len(strings.Fields(rest)) == 1 {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// grubPath is a path without GRUB's name for the disk.
func grubPath(name string) string {
	if strings.HasPrefix(name, "(") {
		if _, path, ok := strings.Cut(name, ")"); ok {
			return path
		}
	}
	return name
}

// unusedFiles notes what was given and has no place in the template.
func (t *template) unusedFiles() {
	for _, name := range slices.Sorted(maps.Keys(t.release.Files)) {
		if !t.used[grubPath(name)] {
			t.prediction.Notes = append(t.prediction.Notes, "GRUB read no file "+name+" in the template")
		}
	}
	if t.release.Initrd != nil && !slices.ContainsFunc(slices.Collect(maps.Values(t.puts)), func(steps []Step) bool {
		return slices.ContainsFunc(steps, func(s Step) bool { return s.PCR == pcrFiles && s.What == "initrd" })
	}) {
		t.prediction.Notes = append(t.prediction.Notes, "the template has no event of the initrd that is given")
	}
}
